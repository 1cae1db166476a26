/**
 * Looks after the ensemble while nothing else does: asks every member from time to time how it is, and watches the coordinator's record. So a primary
 * that has nothing to append also learns that a member is gone, lost or damaged its journal or its replica, or that it was deposed.
 *
 * It only finds out. Members that fail are handed to the journal as if an append had failed; replicas that lack something are told to the recruiter.
 * What members last said is kept for reports.
 */
import { type Coordinator, coordinatorKeys } from '../cluster/coordinator.ts';
import { decodeManagerRecord } from '../cluster/node-record.ts';
import type { JournalState } from '../format/journal-messages.ts';
import type { ReplicaState } from '../format/replica-messages.ts';
import type { Platform, Timer } from '../platform/platform.ts';
import type { Ensemble } from './ensemble.ts';
import type { Member } from './journal.ts';
import { isMemberFailure, MemberError } from './member-client.ts';

const BEAT_MS = 1000;
/** A member that restarts is back by then. */
const FAILED_BEATS = 2;

export interface MemberReport {
  readonly journal: JournalState;
  readonly replica: ReplicaState;
}

export interface EnsembleWatchParts {
  readonly platform: Platform;
  readonly coordinator: Coordinator;
  readonly ensemble: Ensemble;
  readonly onReport: () => void;
}

export class EnsembleWatch {
  readonly #parts: EnsembleWatchParts;
  readonly #unwatch: () => void;
  readonly #reports = new Map<number, MemberReport>();
  readonly #failedBeats = new Map<number, number>();
  #timer: Timer | undefined;
  #closed = false;

  constructor(parts: EnsembleWatchParts) {
    this.#parts = parts;
    const { coordinator, ensemble } = parts;
    this.#unwatch = coordinator.watch(coordinatorKeys.manager, (event) => {
      if (event.kind !== 'put' || event.entry.key !== coordinatorKeys.manager) return;
      const record = decodeManagerRecord(event.entry.value);
      if (record !== undefined) ensemble.noteRecord(record);
    });
    this.#schedule();
  }

  /** What the member last said; undefined: nothing since it joined. */
  report(nodeId: number): MemberReport | undefined {
    return this.#reports.get(nodeId);
  }

  /** Its report is outdated. */
  async askAgain(nodeId: number): Promise<void> {
    const member = this.#parts.ensemble.journal.members.find(({ client }) => client.nodeId === nodeId);
    if (member !== undefined) await this.#ask(member);
  }

  #schedule(): void {
    this.#timer = this.#parts.platform.timers.after(BEAT_MS, () => void this.#beat());
  }

  async #beat(): Promise<void> {
    const { journal } = this.#parts.ensemble;
    const { members } = journal;
    const present = new Set(members.map(({ client }) => client.nodeId));
    for (const id of [...this.#reports.keys()]) if (!present.has(id)) this.#reports.delete(id);
    for (const id of [...this.#failedBeats.keys()]) if (!present.has(id)) this.#failedBeats.delete(id);
    if (journal.isRunning) await Promise.all(members.map((member) => this.#ask(member)));
    if (this.#closed || journal.stopped !== undefined) return;
    this.#parts.onReport();
    this.#schedule();
  }

  async #ask(member: Member): Promise<void> {
    const { journal } = this.#parts.ensemble;
    const { client, durableSequence } = member;
    const { nodeId } = client;
    try {
      if (!client.isUp) throw new MemberError('unreachable', `node ${nodeId} does not answer`);
      if (!client.keepsPromise) {
        journal.fail(member, new MemberError('unreachable', `node ${nodeId} is connected anew`));
        return;
      }
      const [state, replica] = [await client.journalState(), await client.replicaState()];
      if (this.#closed || !journal.members.includes(member)) return;
      this.#failedBeats.delete(nodeId);
      this.#reports.set(nodeId, { journal: state, replica });
      if (state.term > journal.term) {
        journal.fail(member, new MemberError('fenced', `node ${nodeId} promised a newer term`, state.term));
      } else if (state.blank || state.damagedSequence !== 0 || state.lastSequence < durableSequence) {
        journal.fail(member, new MemberError('refused', `node ${nodeId} lost entries of its journal`));
      }
    } catch (error) {
      if (!isMemberFailure(error)) throw error;
      const failed = (this.#failedBeats.get(nodeId) ?? 0) + 1;
      this.#failedBeats.set(nodeId, failed);
      this.#reports.delete(nodeId);
      if (failed >= FAILED_BEATS && !this.#closed) journal.fail(member, error);
    }
  }

  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
    this.#unwatch();
  }
}
