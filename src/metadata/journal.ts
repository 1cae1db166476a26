/**
 * The primary's end of the replicated journal: groups transactions into entries, sends them to every member of the ensemble, and knows
 * what is committed.
 *
 * - An entry is committed when every member has it on disk. `sync` resolves then.
 * - Transactions stream out in groups: after GROUP_DELAY_MS, at GROUP_BYTES, or in this very turn when somebody waits and no append is on its
 *   way; those that wait while one is, share the next.
 * - When a member fails, appends stop until `Ensemble` (its owner) has formed a new ensemble and calls `resume`.
 * - A journal that was stopped stays so: everything rejects.
 */
import { assert } from '../base/assert.ts';
import { KIB, MIB } from '../base/units.ts';
import { GroupEncoder } from '../format/journal-entry.ts';
import type { Checksum } from '../format/metadata-records.ts';
import type { Timers } from '../platform/platform.ts';
import { isMemberFailure, type MemberClient } from './member-client.ts';
import type { MetadataUnavailable } from './metadata.ts';
import type { RetainedEntries } from './retained-entries.ts';

const GROUP_BYTES = 256 * KIB;
const GROUP_DELAY_MS = 10;
/** Appends on their way to a member at once, while nobody waits for each of them. */
const MAX_IN_FLIGHT = 4;
/** Bytes not yet committed at which mutating callers are asked to wait, and at which they are refused. */
const BACKLOG_BYTES = 8 * MIB;
export const MAX_UNCOMMITTED_BYTES = 32 * MIB;

export interface Member {
  readonly client: MemberClient;
  durableSequence: number;
  /** Calls of `append` that are not answered. */
  unanswered: number;
}

interface Waiter {
  readonly sequence: number;
  readonly resolve: () => void;
  readonly reject: (reason: Error) => void;
}

export interface JournalEvents {
  /** Appends to the member fail. The journal has stopped sending. */
  memberFailed(member: Member, error: Error): void;
  committed(sequence: number): void;
}

export class Journal {
  readonly encoder: GroupEncoder;
  readonly retained: RetainedEntries;
  readonly #timers: Timers;
  readonly #events: JournalEvents;
  term: number;
  members: readonly Member[] = [];
  #running = false;
  #stopped: MetadataUnavailable | undefined;
  #sentSequence: number;
  #committedSequence: number;
  #uncommittedBytes = 0;
  /** Last sequence of each append on its way, in order. */
  #inFlight: number[] = [];
  /** Somebody waits for the open group. */
  #wanted = false;
  #timerArmed = false;
  /** Members' answers are waited for awake: as soon as somebody waits for them, or is expected to. */
  #isAwake = false;
  #waiters: Waiter[] = [];
  #backlog: { promise: Promise<void>; resolve: () => void } | undefined;
  #quiet: (() => void) | undefined;
  /** Entries' bytes since this was last reset. */
  bytesSinceCheckpoint = 0;

  constructor(
    timers: Timers,
    crc32c: Checksum,
    term: number,
    retained: RetainedEntries,
    events: JournalEvents,
  ) {
    this.#timers = timers;
    this.#events = events;
    this.encoder = new GroupEncoder(crc32c);
    this.term = term;
    this.retained = retained;
    this.bytesSinceCheckpoint = retained.lengthBytes;
    this.#sentSequence = retained.lastSequence;
    this.#committedSequence = retained.baseSequence;
  }

  get committedSequence(): number {
    return this.#committedSequence;
  }

  /** Sequence of the last closed group. */
  get lastSequence(): number {
    return this.retained.lastSequence;
  }

  get isRunning(): boolean {
    return this.#running;
  }

  get uncommittedBytes(): number {
    return this.#uncommittedBytes + this.encoder.lengthBytes;
  }

  get stopped(): MetadataUnavailable | undefined {
    return this.#stopped;
  }

  /** To be called after each transaction. */
  transactionEnded(): void {
    if (this.encoder.lengthBytes >= GROUP_BYTES) {
      this.closeGroup();
      this.#pump();
    } else if (!this.#timerArmed) {
      this.#timerArmed = true;
      this.#timers.after(GROUP_DELAY_MS, () => {
        this.#timerArmed = false;
        this.#wanted = true;
        this.#pump();
      });
    }
  }

  /** Closes the open group, if it holds anything. Returns the last sequence. */
  closeGroup(): number {
    this.#wanted = false;
    if (this.encoder.operations > 0) {
      const lengthBytes = this.retained.close(this.term, this.encoder);
      this.#uncommittedBytes += lengthBytes;
      this.bytesSinceCheckpoint += lengthBytes;
    }
    return this.lastSequence;
  }

  /** Resolves when all transactions so far are committed. */
  sync(): Promise<void> {
    if (this.encoder.operations === 0) return this.whenCommitted(this.lastSequence);
    this.#wanted = true;
    return this.whenCommitted(this.lastSequence + 1);
  }

  /** The same without waiting: it goes now if the way is free, or with the next append. */
  hasten(): void {
    if (this.encoder.operations === 0) return;
    this.#wanted = true;
    this.#waitAwake(true);
    this.#pump();
  }

  whenCommitted(sequence: number): Promise<void> {
    if (this.#stopped !== undefined) return Promise.reject(this.#stopped);
    if (sequence <= this.#committedSequence) return Promise.resolve();
    const committed = new Promise<void>((resolve, reject) => {
      this.#waiters.push({ sequence, resolve, reject });
    });
    this.#waitAwake(true);
    this.#pump();
    return committed;
  }

  /** undefined: go on. Otherwise resolves when less is waiting to be committed. */
  backlog(): Promise<void> | undefined {
    if (this.uncommittedBytes < BACKLOG_BYTES) return undefined;
    if (this.#backlog === undefined) {
      let resolve = () => {};
      const promise = new Promise<void>((done) => {
        resolve = done;
      });
      this.#backlog = { promise, resolve };
    }
    return this.#backlog.promise;
  }

  #pump(): void {
    while (this.#running && this.#inFlight.length < MAX_IN_FLIGHT) {
      if (this.#sentSequence === this.lastSequence) {
        // An open group that is wanted goes at once if the way is free, and otherwise collects who else comes.
        if (!this.#wanted || this.encoder.operations === 0 || !this.#isFree) return;
        this.closeGroup();
      }
      this.#send();
    }
  }

  #waitAwake(isWaiting: boolean): void {
    if (isWaiting === this.#isAwake) return;
    this.#isAwake = isWaiting;
    this.#timers.waitAwake(isWaiting);
  }

  /** Nothing is on its way, or nothing that anybody waits for, while somebody waits for the open group. */
  get #isFree(): boolean {
    if (this.#inFlight.length === 0) return true;
    return this.#waiters.length > 0 && this.#waiters.every(({ sequence }) => sequence > this.#sentSequence);
  }

  #send(): void {
    const { body, toSequence } = this.retained.request(this.term, this.#sentSequence);
    const { term } = this;
    this.#sentSequence = toSequence;
    this.#inFlight.push(toSequence);
    for (const member of this.members) {
      member.unanswered++;
      member.client.appendThen(
        body,
        (lastSequence) => this.#answered(member, lastSequence),
        (error) => this.#failed(member, error, term),
      );
    }
  }

  #answered(member: Member, lastSequence: number): void {
    member.unanswered--;
    member.durableSequence = Math.max(member.durableSequence, lastSequence);
    if (this.#running) this.#advance();
    this.#checkQuiet();
  }

  #failed(member: Member, error: unknown, term: number): void {
    if (!isMemberFailure(error)) throw error;
    member.unanswered--;
    // One of an earlier term was refused, or given up, by a member that has all of it since.
    if (term === this.term) this.fail(member, error);
    this.#checkQuiet();
  }

  /** The member cannot be counted on any more: appends stop until `resume`. */
  fail(member: Member, error: Error): void {
    if (this.#stopped !== undefined || !this.members.includes(member)) return;
    this.#running = false;
    this.#events.memberFailed(member, error);
  }

  /** Stops sending. Resolves when no append is unanswered by a member that answers at all. */
  quiesce(): Promise<void> {
    this.#running = false;
    return new Promise((resolve) => {
      this.#quiet = resolve;
      this.#checkQuiet();
    });
  }

  #checkQuiet(): void {
    if (this.#quiet === undefined) return;
    // What a member that hangs was sent is in the log, so it may come late; its time-outs are not waited for one by one.
    if (this.members.some((member) => member.unanswered > 0 && member.client.isUp)) return;
    const resolve = this.#quiet;
    this.#quiet = undefined;
    resolve();
  }

  /** A new ensemble, all of whose members have every entry up to `sequence`. Appends go on with it from there. */
  resume(term: number, members: readonly Member[], sequence: number): void {
    assert(members.length > 0, 'an ensemble has members');
    for (const member of members) {
      assert(member.durableSequence >= sequence, 'members of a new ensemble have every entry');
    }
    this.term = term;
    this.members = members;
    if (this.#stopped !== undefined) return;
    this.#sentSequence = sequence;
    this.#inFlight = [];
    this.#running = true;
    this.#advance();
    this.#pump();
  }

  #advance(): void {
    let durable = this.lastSequence;
    for (const member of this.members) durable = Math.min(durable, member.durableSequence);
    if (durable <= this.#committedSequence) return;
    while (this.#inFlight.length > 0 && this.#inFlight[0]! <= durable) this.#inFlight.shift();
    for (let at = this.#committedSequence + 1; at <= durable; at++) {
      this.#uncommittedBytes -= this.retained.bytesOf(at).length;
    }
    this.#committedSequence = durable;
    this.#release(durable);
    this.#events.committed(durable);
    this.#pump();
  }

  #release(sequence: number): void {
    if (this.#waiters.length > 0) {
      const waiters = this.#waiters;
      this.#waiters = [];
      for (const waiter of waiters) {
        if (waiter.sequence <= sequence) waiter.resolve();
        else this.#waiters.push(waiter);
      }
    }
    this.#waitAwake(this.#waiters.length > 0);
    if (this.#backlog !== undefined && this.uncommittedBytes < BACKLOG_BYTES) {
      this.#backlog.resolve();
      this.#backlog = undefined;
    }
  }

  /** Everybody who waits is told; what they wait for may still happen. */
  rejectWaiters(reason: MetadataUnavailable): void {
    const waiters = this.#waiters;
    this.#waiters = [];
    this.#waitAwake(false);
    for (const waiter of waiters) waiter.reject(reason);
    this.#backlog?.resolve();
    this.#backlog = undefined;
  }

  /** For good: this primary was deposed, is broken, or closes. */
  stop(reason: MetadataUnavailable): void {
    if (this.#stopped !== undefined) return;
    this.#stopped = reason;
    this.#running = false;
    this.rejectWaiters(reason);
  }
}
