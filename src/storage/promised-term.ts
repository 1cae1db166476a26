/**
 * Which primaries a fragment store has promised to refuse: all of terms before the one in its slot file. Owns that file.
 *
 * The term only grows, and has grown in memory before it is durable: refusing too early does no harm. A store whose state was lost has no slot until a
 * primary has shown that it reigned after the store was opened (`renew`; docs/metadata-protocol.md says why). Whose calls are refused meanwhile, and what
 * is waited for, is for fragment-store.ts to say.
 */
import { encodeStorageSlotState, type StorageSlotState, slotKinds } from '../format/storage-slot.ts';
import type { Platform } from '../platform/platform.ts';
import { slotPathOf } from './fragment-store-parts.ts';
import { SlotFile } from './slot-file.ts';
import { refusalOf, StorageError } from './storage-error.ts';

export class PromisedTerm {
  readonly #platform: Platform;
  readonly #directory: string;
  /** undefined: the term was forgotten. */
  #slot: SlotFile | undefined;
  #state: StorageSlotState;
  /** Behind the term only until its write is over, or as long as writes fail. */
  #durableTerm: number;
  /** Of this opening: who knows it has spoken with the store since. */
  readonly #challenge: number;
  #renewing: Promise<void> | undefined;

  constructor(platform: Platform, directory: string, slot: SlotFile | undefined, state: StorageSlotState) {
    this.#platform = platform;
    this.#directory = directory;
    this.#slot = slot;
    this.#state = state;
    this.#durableTerm = state.term;
    this.#challenge = platform.random.bytes(6).readUIntLE(0, 6);
  }

  get term(): number {
    return this.#state.term;
  }

  /** Refuses older terms with fenced. */
  admit(term: number): void {
    const known = this.#state.term;
    if (term < known) {
      throw new StorageError({ reason: 'fenced', term: known }, `term ${term} is older than ${known}`);
    }
  }

  /** For what must not be undone by who may have been deposed long ago. Refuses with busy. */
  mustBeKnown(): void {
    if (this.#slot !== undefined) return;
    const message = 'the node has forgotten its term: what it holds stays until a primary renews it';
    throw new StorageError({ reason: 'busy' }, message);
  }

  /**
   * Not to one before. Older ones are refused from this turn on, and after a restart once it resolves; undefined: they are already.
   * Refuses with forgotten; rejects with what the machine said.
   */
  raise(term: number): Promise<void> | undefined {
    const slot = this.#slot;
    if (slot === undefined) {
      const refusal = { reason: 'forgotten', challenge: this.#challenge } as const;
      throw new StorageError(refusal, 'the node has forgotten its term');
    }
    if (term === this.#durableTerm) return undefined;
    this.#state = { ...this.#state, term };
    return this.#store(slot, this.#state);
  }

  async #store(slot: SlotFile, state: StorageSlotState): Promise<void> {
    await slot.write(encodeStorageSlotState(state));
    this.#durableTerm = Math.max(this.#durableTerm, state.term);
  }

  /** What was forgotten is known again. Refuses with forgotten unless the challenge is the one of this opening. */
  renew(term: number, challenge: number): Promise<void> | undefined {
    if (this.#slot !== undefined) return undefined;
    if (challenge !== this.#challenge) {
      throw new StorageError({ reason: 'forgotten', challenge: this.#challenge }, 'the node was restarted');
    }
    this.#renewing ??= this.#makeSlot(term).finally(() => {
      this.#renewing = undefined;
    });
    return this.#renewing;
  }

  async #makeSlot(term: number): Promise<void> {
    const state = { ...this.#state, term };
    try {
      const path = slotPathOf(this.#directory);
      const payload = encodeStorageSlotState(state);
      const slot = await SlotFile.create(this.#platform, path, slotKinds.storage, payload);
      this.#state = state;
      this.#durableTerm = term;
      this.#slot = slot;
      this.#platform.log.info('storage-state-renewed', { term });
    } catch (error) {
      throw refusalOf(error, 'storing the term');
    }
  }

  async close(): Promise<void> {
    await this.#renewing?.catch(() => undefined); // its caller was told
    await this.#slot?.close();
  }
}
