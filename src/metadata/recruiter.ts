/**
 * Brings the ensemble back to its size and its replicas back to completeness: when members are missing and other nodes live, it fills a node with a
 * snapshot and the entries since, and lets it join; a member whose replica lost its contents gets a snapshot; one on a node that is to be emptied is let
 * go once enough others are there. One node at a time, in the background; what fails is tried again when a link changes or after a while.
 *
 * It does so too when no member is left: the primary holds every entry itself, so nodes that are filled by it can go on without any of the old ones.
 */
import type { Coordinator } from '../cluster/coordinator.ts';

import type { DrainingNodes } from '../cluster/draining-nodes.ts';
import { type NodeLinks, upNodes } from '../cluster/nodes.ts';
import { chooseEnsemble } from '../cluster/placement.ts';
import type { ReplicaStore } from '../cluster/replica-store.ts';
import type { Platform } from '../platform/platform.ts';
import type { Checkpointer } from './checkpointer.ts';
import type { Ensemble } from './ensemble.ts';
import { EnsembleWatch, type MemberReport } from './ensemble-watch.ts';
import type { Member } from './journal.ts';
import { isMemberFailure, MemberError } from './member-client.ts';
import { installSnapshot } from './snapshot.ts';

const RETRY_MS = 2000;
/** A node that just came up often goes again, and others come up right after it. */
const SETTLE_MS = 100;

export interface RecruiterParts {
  readonly platform: Platform;
  readonly coordinator: Coordinator;
  readonly links: NodeLinks;
  readonly ensemble: Ensemble;
  readonly checkpointer: Checkpointer;
  readonly store: ReplicaStore;
  /** They are members only while others are too few for so much parity. */
  readonly draining: DrainingNodes;
  readonly parityFragments: () => number;
  /** Members wanted. */
  readonly size: () => number;
  /** Members whose replicas were found damaged. */
  readonly damagedReplicas: readonly number[];
}

export class Recruiter {
  readonly #parts: RecruiterParts;
  readonly #unsubscribe: readonly (() => void)[];
  readonly #watch: EnsembleWatch;
  readonly #damaged: Set<number>;
  #running = false;
  #armed = false;
  #closed = false;

  constructor(parts: RecruiterParts) {
    this.#parts = parts;
    this.#unsubscribe = [
      parts.links.onChange(() => this.check()),
      parts.draining.onChange(() => this.check()),
    ];
    parts.ensemble.onAttempt = () => this.check();
    this.#damaged = new Set(parts.damagedReplicas);
    const { platform, coordinator, ensemble } = parts;
    this.#watch = new EnsembleWatch({ platform, coordinator, ensemble, onReport: () => this.check() });
  }

  /** Members wanted. */
  get size(): number {
    return this.#parts.size();
  }

  /** What a member last said of itself. */
  report(nodeId: number): MemberReport | undefined {
    return this.#watch.report(nodeId);
  }

  check(delayMs = SETTLE_MS): void {
    if (this.#armed || this.#running || this.#closed) return;
    const isComplete = this.#incomplete() === undefined && this.#leaver() === undefined;
    if (isComplete && this.#candidate() === undefined) return;
    this.#armed = true;
    this.#parts.platform.timers.after(delayMs, () => {
      this.#armed = false;
      if (!this.#closed && !this.#running) this.#next();
    });
  }

  /** A member whose replica holds no state, or a damaged one: never filled, or lost. Those that are only behind take the next checkpoint. */
  #incomplete(): Member | undefined {
    return this.#parts.ensemble.journal.members.find(
      ({ client: { nodeId } }) =>
        this.#damaged.has(nodeId) || this.#watch.report(nodeId)?.replica.complete === false,
    );
  }

  /** A node that should be a member and is not. */
  #candidate(): number | undefined {
    const { links, ensemble, draining, parityFragments, size } = this.#parts;
    const current = ensemble.lacksMembers ? [] : this.#memberIds();
    const staying = current.filter((id) => !this.#isToLeave(id));
    if (staying.length >= size()) return undefined;
    const able = draining.placeable(upNodes(links), parityFragments());
    return chooseEnsemble(able, staying, size()).find((id) => !current.includes(id));
  }

  /** A member that is not needed for the ensemble's size, on a node that is to be emptied. */
  #leaver(): Member | undefined {
    const { ensemble, size } = this.#parts;
    const { members } = ensemble.journal;
    const leaving = members.filter(({ client }) => this.#isToLeave(client.nodeId));
    return members.length - leaving.length >= size() ? leaving[0] : undefined;
  }

  #isToLeave(nodeId: number): boolean {
    const { links, draining, parityFragments } = this.#parts;
    if (!draining.has(nodeId)) return false;
    const meant = draining.placeable([...links.links.values()], parityFragments());
    return meant.every(({ id }) => id !== nodeId);
  }

  #memberIds(): number[] {
    return this.#parts.ensemble.journal.members.map(({ client }) => client.nodeId);
  }

  #next(): void {
    const nodeId = this.#candidate();
    const { ensemble } = this.#parts;
    if (!ensemble.journal.isRunning && !ensemble.lacksMembers) return;
    const incomplete = ensemble.journal.isRunning ? this.#incomplete() : undefined;
    const leaver = ensemble.journal.isRunning ? this.#leaver() : undefined;
    if (nodeId !== undefined) this.#run(this.#recruit(nodeId), 'journal-member-joined', nodeId);
    else if (incomplete !== undefined) {
      this.#run(this.#refill(incomplete), 'replica-refilled', incomplete.client.nodeId, RETRY_MS);
    } else if (leaver !== undefined) {
      this.#run(this.#letGo(leaver), 'journal-member-left', leaver.client.nodeId);
    }
  }

  #run(work: Promise<void>, event: string, nodeId: number, nextMs = SETTLE_MS): void {
    this.#running = true;
    let checkMs = RETRY_MS;
    const { log } = this.#parts.platform;
    work
      .then(
        () => {
          log.info(event, { nodeId });
          checkMs = nextMs;
        },
        (error: unknown) => {
          if (!isMemberFailure(error) && this.#parts.ensemble.journal.stopped === undefined) throw error;
          log.warn(`not-${event}`, { nodeId, why: String(error) });
        },
      )
      .finally(() => {
        this.#running = false;
        this.check(checkMs);
      });
  }

  async #refill({ client }: Member): Promise<void> {
    const { ensemble, checkpointer, store } = this.#parts;
    const release = await checkpointer.hold();
    try {
      // A checkpoint that ended meanwhile may have done it.
      const { complete } = await client.replicaState();
      if (!complete || this.#damaged.has(client.nodeId)) {
        await installSnapshot(client, ensemble.journal.term, store);
        this.#damaged.delete(client.nodeId);
      }
      await this.#watch.askAgain(client.nodeId);
    } finally {
      release();
    }
  }

  async #letGo(member: Member): Promise<void> {
    const { ensemble, size } = this.#parts;
    if (await ensemble.leave(member, size())) return;
    throw new MemberError('unreachable', 'too few others are up to date');
  }

  async #recruit(nodeId: number): Promise<void> {
    const { ensemble, checkpointer } = this.#parts;
    const release = await checkpointer.hold();
    try {
      const member = ensemble.member(nodeId);
      await ensemble.whileFilling(this.#fill(member));
      if (!(await ensemble.join(member))) {
        throw new MemberError('unreachable', `node ${nodeId} did not keep up`);
      }
    } finally {
      release();
    }
  }

  /** The own store is at the base of the retained entries, and stays there while checkpoints are held. */
  async #fill(member: Member): Promise<void> {
    const { ensemble, store } = this.#parts;
    const { journal } = ensemble;
    const { retained } = journal;
    const { client } = member;
    const { appliedSequence } = store.state;
    await client.fence(journal.term);
    const replica = await client.replicaState();
    if (
      !replica.complete ||
      replica.appliedSequence !== appliedSequence ||
      this.#damaged.has(client.nodeId)
    ) {
      await installSnapshot(client, journal.term, store);
      this.#damaged.delete(client.nodeId);
    }
    await client.reset(journal.term, appliedSequence, retained.termOf(appliedSequence)!);
    let at = appliedSequence;
    while (at < journal.committedSequence) {
      const { body, toSequence } = retained.request(journal.term, at);
      await client.append(body);
      at = toSequence;
    }
  }

  close(): void {
    this.#closed = true;
    for (const unsubscribe of this.#unsubscribe) unsubscribe();
    this.#watch.close();
  }
}
