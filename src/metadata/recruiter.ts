/**
 * Brings the ensemble back to its size: when members are missing and other nodes live, it fills a node with a snapshot and the entries since, and
 * lets it join. One node at a time, in the background; what fails is tried again when a link changes or after a while.
 */

import type { NodeLinks } from '../cluster/nodes.ts';
import { chooseEnsemble } from '../cluster/placement.ts';
import type { ReplicaStore } from '../cluster/replica-store.ts';
import type { Platform } from '../platform/platform.ts';
import type { Checkpointer } from './checkpointer.ts';
import type { Ensemble } from './ensemble.ts';
import type { Member } from './journal.ts';
import { isMemberFailure, MemberError } from './member-client.ts';
import { installSnapshot } from './snapshot.ts';

const RETRY_MS = 2000;
/** A node that just came up often goes again, and others come up right after it. */
const SETTLE_MS = 100;

export interface RecruiterParts {
  readonly platform: Platform;
  readonly links: NodeLinks;
  readonly ensemble: Ensemble;
  readonly checkpointer: Checkpointer;
  readonly store: ReplicaStore;
  /** Members wanted. */
  readonly size: () => number;
}

export class Recruiter {
  readonly #parts: RecruiterParts;
  readonly #unsubscribe: () => void;
  #running = false;
  #armed = false;
  #closed = false;

  constructor(parts: RecruiterParts) {
    this.#parts = parts;
    this.#unsubscribe = parts.links.onChange(() => this.check());
    parts.ensemble.onFormed = () => this.check();
  }

  check(delayMs = SETTLE_MS): void {
    if (this.#armed || this.#running || this.#closed || this.#candidate() === undefined) return;
    this.#armed = true;
    this.#parts.platform.timers.after(delayMs, () => {
      this.#armed = false;
      if (!this.#closed && !this.#running) this.#recruitNext();
    });
  }

  /** A node that should be a member and is not. */
  #candidate(): number | undefined {
    const { links, ensemble, size } = this.#parts;
    const live = [...links.links.values()].filter((link) => link.state === 'up');
    const current = ensemble.journal.members.map((member) => member.client.nodeId);
    const missing = size() - current.length;
    if (missing <= 0) return undefined;
    const reachable = live.map(({ id, domain, freeBytes }) => ({ id, domain, freeBytes }));
    return chooseEnsemble(reachable, current, size()).find((id) => !current.includes(id));
  }

  #recruitNext(): void {
    const nodeId = this.#candidate();
    if (nodeId === undefined || !this.#parts.ensemble.journal.isRunning) return;
    this.#running = true;
    const { log } = this.#parts.platform;
    this.#recruit(nodeId)
      .then(
        () => log.info('journal-member-joined', { nodeId }),
        (error: unknown) => {
          if (!isMemberFailure(error) && this.#parts.ensemble.journal.stopped === undefined) throw error;
          log.warn('journal-member-not-joined', { nodeId, why: String(error) });
        },
      )
      .finally(() => {
        this.#running = false;
        this.check(RETRY_MS);
      });
  }

  async #recruit(nodeId: number): Promise<void> {
    const { ensemble, checkpointer } = this.#parts;
    const release = await checkpointer.hold();
    try {
      const member = ensemble.member(nodeId);
      await this.#fill(member);
      await ensemble.change([member]);
      if (!ensemble.journal.members.includes(member)) {
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
    if (!replica.complete || replica.appliedSequence !== appliedSequence) {
      await installSnapshot(client, journal.term, store);
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
    this.#unsubscribe();
  }
}
