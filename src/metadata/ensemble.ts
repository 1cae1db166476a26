/**
 * Keeps the journal on an ensemble of nodes that can commit: drops members that fail, takes members in.
 *
 * A change of members is a new term, won by compare-and-swap in the coordinator. The order keeps the promise that any single member
 * named there has every committed entry: appends come to rest; every member of the new ensemble is brought to the last entry;
 * the coordinator's record changes; the members are fenced with the new term; appends go on. A primary that finds another's
 * record was deposed, and stops for good.
 */
import {
  type Coordinator,
  type CoordinatorEntry,
  CoordinatorUnavailable,
  coordinatorKeys,
  type ManagerRecord,
} from '../cluster/coordinator.ts';
import { decodeManagerRecord, encodeRecord } from '../cluster/node-record.ts';
import type { NodeLinks } from '../cluster/nodes.ts';
import type { JournalState } from '../format/journal-messages.ts';
import type { Checksum } from '../format/metadata-records.ts';
import type { Platform, Timer } from '../platform/platform.ts';
import { Journal, type Member } from './journal.ts';
import { isMemberFailure, MemberClient, MemberError } from './member-client.ts';
import { Deposed, MetadataUnavailable } from './metadata.ts';
import type { RetainedEntries } from './retained-entries.ts';

/** Without an ensemble for so long, waiting calls fail. */
const TROUBLE_AFTER_MS = 3000;
const RETRY_MS = 100;
/** How often the time of a change is counted, and the most that counts at once: a process that was stopped has waited for nobody meanwhile. */
const TICK_MS = 100;
const LONGEST_TICK_MS = 2 * TICK_MS;

export interface EnsembleOptions {
  readonly platform: Platform;
  readonly coordinator: Coordinator;
  readonly links: NodeLinks;
  /** Who this primary is, unlike any other process. */
  readonly primary: string;
}

export class Ensemble {
  readonly journal: Journal;
  readonly #options: EnsembleOptions;
  readonly #onCommitted: (sequence: number) => void;
  #changing: Promise<void> | undefined;
  #joining: readonly Member[] = [];
  #leaving: { readonly member: Member; readonly leastOthers: number } | undefined;
  #coordinatorIsAway = false;
  /** When nobody could be blamed but the coordinator, or a node was being filled, for the last time. */
  /** Time that this process spent in changes, as far as it was running. */
  #awakeMs = 0;
  /** By that clock. */
  #excusedMs = Number.NEGATIVE_INFINITY;
  #filling = 0;
  #lacksMembers = false;
  /** Who waits for the end of the attempt under way. */
  readonly #attempts: (() => void)[] = [];
  trouble: MetadataUnavailable | undefined;
  /** Called when an ensemble was formed, or none of its members was found. */
  onAttempt: () => void = () => undefined;
  onDeposed: (deposed: Deposed) => void = () => undefined;

  constructor(
    options: EnsembleOptions,
    crc32c: Checksum,
    term: number,
    retained: RetainedEntries,
    onCommitted: (sequence: number) => void,
  ) {
    this.#options = options;
    this.#onCommitted = onCommitted;
    this.journal = new Journal(options.platform.timers, crc32c, term, retained, {
      memberFailed: (member, error) => this.#memberFailed(member, error),
      committed: (sequence) => this.#onCommitted(sequence),
    });
  }

  member(nodeId: number): Member {
    const client = new MemberClient(this.#options.links, nodeId);
    return { client, durableSequence: 0, unanswered: 0 };
  }

  #memberFailed(member: Member, error: Error): void {
    this.#options.platform.log.warn('journal-member-failed', {
      nodeId: member.client.nodeId,
      term: this.journal.term,
      why: error.message,
    });
    if (error instanceof MemberError && error.reason === 'fenced' && error.term > this.journal.term) {
      this.#deposed(error.term);
      return;
    }
    this.#startChange();
  }

  /**
   * Forms an ensemble of the present members that can be reached, and of those that join. Resolves when the journal runs again, or has stopped for
   * good. Joining members that cannot be brought up to date are left out.
   */
  change(): Promise<void> {
    return this.#startChange();
  }

  /** Forms an ensemble with one more member. False if the member could not be brought up to date, though the change may still be under way. */
  async join(member: Member): Promise<boolean> {
    this.#joining = [...this.#joining, member];
    void this.#startChange();
    while (this.#joining.includes(member) && this.journal.stopped === undefined) {
      await new Promise<void>((resolve) => this.#attempts.push(resolve));
    }
    return this.journal.members.includes(member);
  }

  /** Forms an ensemble without a member, if so many others are up to date. False if it is still in it. */
  async leave(member: Member, leastOthers: number): Promise<boolean> {
    this.#leaving = { member, leastOthers };
    try {
      await this.#startChange();
    } finally {
      this.#leaving = undefined;
    }
    return !this.journal.members.includes(member);
  }

  #startChange(): Promise<void> {
    this.#changing ??= this.#change().finally(() => {
      this.#changing = undefined;
      // A member may have failed, or a new one come, between the last step and this one.
      if (this.#needsChange) this.#startChange();
    });
    return this.#changing;
  }

  get #needsChange(): boolean {
    const { journal } = this;
    return journal.stopped === undefined && (!journal.isRunning || this.#joining.length > 0);
  }

  async #change(): Promise<void> {
    const { timers } = this.#options.platform;
    const patience = this.#watchPatience();
    try {
      for (;;) {
        await this.journal.quiesce();
        if (this.journal.stopped !== undefined) break;
        const isChanged = await this.#tryChange();
        this.#tellAttempt();
        if (isChanged) break;
        await timers.sleep(RETRY_MS);
      }
    } finally {
      patience.cancel();
      this.#tellAttempt();
    }
  }

  /** Whoever waits is told when there is no ensemble for too long. */
  #watchPatience(): Timer {
    const { timers, clock } = this.#options.platform;
    let seenMs = clock.monotonicMs();
    let lookAtMs = this.#awakeMs + TROUBLE_AFTER_MS;
    const tick = (): void => {
      const nowMs = clock.monotonicMs();
      this.#awakeMs += Math.min(nowMs - seenMs, LONGEST_TICK_MS);
      seenMs = nowMs;
      if (this.#awakeMs >= lookAtMs) {
        const waitMs = this.#patienceMs();
        if (waitMs <= 0) {
          this.trouble = new MetadataUnavailable('no ensemble of storage nodes can take the journal');
          this.#options.platform.log.warn('journal-without-ensemble', { why: this.trouble.message });
          this.journal.rejectWaiters(this.trouble);
          return;
        }
        lookAtMs = this.#awakeMs + waitMs;
      }
      timer = timers.after(TICK_MS, tick);
    };
    let timer = timers.after(TICK_MS, tick);
    return { cancel: () => timer.cancel() };
  }

  #tellAttempt(): void {
    for (const resolve of this.#attempts.splice(0)) resolve();
  }

  /**
   * How much longer nothing fails, though there is no ensemble. A coordinator that is away is no loss of nodes: while one of the members can be
   * reached, whoever waits goes on waiting until it is back, and has the whole time for the change from then on.
   */
  #patienceMs(): number {
    const isAnyUp = [...this.journal.members, ...this.#joining].some((member) => member.client.isUp);
    if (this.#filling === 0 && !isAnyUp) return 0;
    if (this.#filling > 0 || this.#coordinatorIsAway) this.#excuse();
    return this.#excusedMs + TROUBLE_AFTER_MS - this.#awakeMs;
  }

  #excuse(): void {
    this.#excusedMs = this.#awakeMs;
  }

  /** The last attempt found none of the members: only nodes that are filled anew can go on. */
  get lacksMembers(): boolean {
    return this.#lacksMembers && !this.journal.isRunning;
  }

  /** While a node is filled that is to join, whoever waits goes on waiting. */
  async whileFilling<T>(work: Promise<T>): Promise<T> {
    this.#filling++;
    try {
      return await work;
    } finally {
      this.#filling--;
      this.#excuse();
    }
  }

  /** Every call to the coordinator. It counts as away from before it is asked until it answers. */
  async #asked<T>(call: Promise<T>): Promise<T> {
    const { clock } = this.#options.platform;
    const wasAway = this.#coordinatorIsAway;
    const askedMs = clock.monotonicMs();
    this.#coordinatorIsAway = true;
    try {
      const answer = await call;
      if (wasAway || clock.monotonicMs() - askedMs > RETRY_MS) this.#excuse();
      this.#coordinatorIsAway = false;
      return answer;
    } catch (error) {
      // Once for each outage: there are many attempts.
      if (!wasAway && error instanceof CoordinatorUnavailable) {
        this.#options.platform.log.warn('coordinator-unavailable', { why: error.message });
      }
      throw error;
    }
  }

  /** False: not yet. */
  async #tryChange(): Promise<boolean> {
    const { journal } = this;
    const joining = this.#joining;
    try {
      const lastSequence = journal.closeGroup();
      const entry = await this.#ownRecord();
      if (entry === undefined) return true;
      const ready = this.#withoutLeaving(await this.#bringUp([...journal.members, ...joining], lastSequence));
      if (journal.stopped !== undefined) return true;
      this.#joining = this.#joining.filter((member) => !joining.includes(member) || ready.includes(member));
      this.#lacksMembers = ready.length === 0;
      if (this.#lacksMembers) {
        this.onAttempt();
        return false;
      }
      const term = journal.term + 1;
      if (!(await this.#claim(entry, term, ready))) return false;
      journal.term = term;
      journal.members = ready;
      this.#joining = this.#joining.filter((member) => !ready.includes(member));
      if (!(await this.#fence(ready, term))) return false;
      this.trouble = undefined;
      journal.resume(term, ready, lastSequence);
      this.#options.platform.log.info('journal-ensemble-formed', {
        term,
        members: ready.map((member) => member.client.nodeId).join(','),
      });
      this.onAttempt();
      return true;
    } catch (error) {
      if (!(error instanceof CoordinatorUnavailable)) throw error;
      return false;
    }
  }

  /** The coordinator's record, if it is this primary's. A term that was won without hearing of it is taken over. */
  async #ownRecord(): Promise<CoordinatorEntry | undefined> {
    const { journal } = this;
    const entry = await this.#asked(this.#options.coordinator.get(coordinatorKeys.manager));
    const record = entry && decodeManagerRecord(entry.value);
    if (entry === undefined || record === undefined || record.primary !== this.#options.primary) {
      this.#deposed(record?.term ?? journal.term);
      return undefined;
    }
    if (record.term < journal.term) {
      // The coordinator lost a record that it had acknowledged. Nobody else has reigned since, so a newer one of our own mends it.
      this.#options.platform.log.error('coordinator-went-back', { to: record.term, from: journal.term });
    } else if (record.term > journal.term) {
      journal.term = record.term;
      const known = new Map([...journal.members, ...this.#joining].map((each) => [each.client.nodeId, each]));
      journal.members = record.members.map((id) => known.get(id) ?? this.member(id));
    }
    return entry;
  }

  /** Whether the coordinator names this primary now. Changes nothing: a change of members may be under way. */
  async reigns(): Promise<boolean | 'unknown'> {
    const { coordinator, primary } = this.#options;
    try {
      const entry = await coordinator.get(coordinatorKeys.manager);
      return entry !== undefined && decodeManagerRecord(entry.value)?.primary === primary;
    } catch (error) {
      if (error instanceof CoordinatorUnavailable) return 'unknown';
      throw error;
    }
  }

  /** The coordinator's record as it was heard of, maybe late. */
  noteRecord({ primary, term }: ManagerRecord): void {
    if (primary !== this.#options.primary && term > this.journal.term) this.#deposed(term);
  }

  #deposed(term: number): void {
    if (this.journal.stopped !== undefined) return;
    this.#options.platform.log.error('deposed', { ownTerm: this.journal.term, newTerm: term });
    const deposed = new Deposed(`another mount took over the volume (term ${term})`);
    this.trouble = deposed;
    this.journal.stop(deposed);
    this.onDeposed(deposed);
  }

  /** Those of the candidates that can be reached and have every entry up to lastSequence when it resolves. */
  async #bringUp(candidates: readonly Member[], lastSequence: number): Promise<Member[]> {
    const { journal } = this;
    // One after the other, as each may hold entries that the next has lost, and repairing one cuts it first.
    let repairs: Promise<unknown> = Promise.resolve();
    const results = await Promise.all(
      candidates.map(async (member) => {
        // One that failed counts again once its link is well.
        if (!member.client.isUp) return false;
        try {
          const state = await member.client.fence(journal.term);
          if (state.damagedSequence === 0) return await this.#catchUp(member, state, lastSequence);
          this.#options.platform.log.warn('journal-being-repaired', { nodeId: member.client.nodeId });
          const repaired = repairs.then(() => this.#catchUp(member, state, lastSequence));
          repairs = repaired.catch(() => undefined); // whoever waits for it hears of it
          return await repaired;
        } catch (error) {
          if (!isMemberFailure(error)) throw error;
          if (error instanceof MemberError && error.reason === 'fenced' && error.term > journal.term) {
            // Either this primary was deposed, which the coordinator's record tells, or the member heard of a term that was never won.
            this.#options.platform.log.warn('member-fenced', {
              nodeId: member.client.nodeId,
              term: error.term,
            });
          }
          return false;
        }
      }),
    );
    return candidates.filter((_, index) => results[index]);
  }

  /**
   * Sends what the member lacks and cuts what it has beyond: then its log is the primary's. A tail that were left there would be counted as entries of
   * the same numbers that are made later, and come back with the next recovery. Damaged entries are written again. False: it needs more than is retained.
   */
  async #catchUp(member: Member, state: JournalState, lastSequence: number): Promise<boolean> {
    const { retained, term } = this.journal;
    if (state.blank || state.lastSequence < retained.baseSequence) return false;
    const isPrefix = retained.termOf(state.lastSequence) === state.lastTerm;
    let at = isPrefix ? state.lastSequence : retained.baseSequence;
    let { endSequence } = state;
    while (at < lastSequence || endSequence > at) {
      const { body, toSequence } = retained.request(term, at);
      ({ endSequence } = await member.client.append(body));
      at = toSequence;
    }
    member.durableSequence = at;
    return true;
  }

  /** Whoever leaves is up to date like the others: it is left out only when enough of them are there. */
  #withoutLeaving(ready: Member[]): Member[] {
    if (this.#leaving === undefined) return ready;
    const { member, leastOthers } = this.#leaving;
    const others = ready.filter((each) => each !== member);
    return others.length >= leastOthers ? others : ready;
  }

  async #claim(entry: CoordinatorEntry, term: number, members: readonly Member[]): Promise<boolean> {
    const record: ManagerRecord = {
      term,
      primary: this.#options.primary,
      members: members.map((member) => member.client.nodeId),
    };
    const { coordinator } = this.#options;
    const swapped = await this.#asked(
      coordinator.compareAndSwap(coordinatorKeys.manager, entry.version, encodeRecord(record)),
    );
    return swapped !== undefined;
  }

  /** True if all members promised the term. */
  async #fence(members: readonly Member[], term: number): Promise<boolean> {
    const promised = await Promise.all(
      members.map((member) =>
        member.client.fence(term).then(
          () => true,
          (error: unknown) => {
            if (!isMemberFailure(error)) throw error;
            return false;
          },
        ),
      ),
    );
    return !promised.includes(false);
  }
}
