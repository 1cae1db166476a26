/**
 * Every change of the metadata passes through here: one transaction in one turn, issued to journal and state at once (transaction.ts).
 *
 * Whoever brings an operation checks its rules first; one that fails before it has issued anything has done nothing. An unexpected failure after that
 * leaves journal and state apart: no change is taken from then on, for good, and nothing wrong was committed.
 */
import type { RedoSink } from '../format/journal-entry.ts';
import type { Logger } from '../platform/platform.ts';
import type { Checkpointer } from './checkpointer.ts';
import type { Ensemble } from './ensemble.ts';
import { MAX_UNCOMMITTED_BYTES } from './journal.ts';
import { MetadataUnavailable } from './metadata.ts';
import type { SegmentDeaths } from './segment-deaths.ts';
import type { MetadataState } from './state.ts';
import { Transaction } from './transaction.ts';

export interface MutationsParts {
  readonly log: Logger;
  readonly state: MetadataState;
  readonly ensemble: Ensemble;
  readonly checkpointer: Checkpointer;
  readonly deaths: SegmentDeaths;
}

export class Mutations {
  readonly #log: Logger;
  readonly #state: MetadataState;
  readonly #ensemble: Ensemble;
  readonly #checkpointer: Checkpointer;
  readonly #deaths: SegmentDeaths;
  readonly #redo: Transaction;
  #broken: MetadataUnavailable | undefined;

  constructor({ log, state, ensemble, checkpointer, deaths }: MutationsParts) {
    this.#log = log;
    this.#state = state;
    this.#ensemble = ensemble;
    this.#checkpointer = checkpointer;
    this.#deaths = deaths;
    this.#redo = new Transaction(ensemble.journal.encoder, state);
    checkpointer.onFailure = (error) => this.breakDown(error);
  }

  /** Why none is taken, or not for long. */
  get trouble(): MetadataUnavailable | undefined {
    return this.#broken ?? this.#ensemble.journal.stopped ?? this.#ensemble.trouble;
  }

  /** One transaction in this turn. */
  run<T>(operation: (redo: RedoSink) => T): T {
    const { journal } = this.#ensemble;
    const refused = this.#broken ?? journal.stopped;
    if (refused !== undefined) throw refused;
    if (journal.uncommittedBytes > MAX_UNCOMMITTED_BYTES) {
      throw this.trouble ?? new MetadataUnavailable('the journal does not keep up');
    }
    const before = journal.encoder.operations;
    let result: T;
    try {
      result = operation(this.#redo);
    } catch (error) {
      if (journal.encoder.operations !== before) this.breakDown(error);
      throw error;
    }
    if (this.#state.segments.died.length > 0) this.#deaths.note(journal.lastSequence + 1);
    if (journal.encoder.operations !== before) {
      journal.transactionEnded();
      this.#checkpointer.noteChange();
    }
    return result;
  }

  /** State and journal may differ: nothing more must be journaled. */
  breakDown(error: unknown): void {
    if (this.#broken !== undefined || this.#ensemble.journal.stopped !== undefined) return;
    this.#log.error('metadata-broken', {
      why: error instanceof Error ? (error.stack ?? error.message) : String(error),
    });
    this.#broken = new MetadataUnavailable('the metadata manager failed: mount again');
    this.#ensemble.journal.stop(this.#broken);
  }

  /** undefined: go on. Otherwise resolves when less waits to be journaled and checkpointed. */
  backlog(): Promise<void> | undefined {
    return this.#ensemble.journal.backlog() ?? this.#checkpointer.backlog();
  }
}
