/** What background work remembers in the metadata. What cannot be read is as if it had never been written, and said in the log. */
import { FormatError } from '../format/fields.ts';
import { maintenanceKey } from '../format/metadata-keys.ts';
import { encodePlain } from '../format/metadata-records.ts';
import type { PrimaryManager } from '../metadata/manager.ts';
import { MetadataUnavailable } from '../metadata/metadata.ts';
import type { Platform } from '../platform/platform.ts';

type StateName = Parameters<typeof maintenanceKey>[0];

export class SavedState {
  readonly #platform: Platform;
  readonly #metadata: PrimaryManager;

  constructor(platform: Platform, metadata: PrimaryManager) {
    this.#platform = platform;
    this.#metadata = metadata;
  }

  load<T>(name: StateName, decode: (bytes: Buffer) => T): T | undefined {
    const bytes = this.#metadata.repair((_, state) => state.value(maintenanceKey(name)));
    if (bytes === undefined) return undefined;
    try {
      return decode(bytes);
    } catch (error) {
      if (!(error instanceof FormatError)) throw error;
      this.#platform.log.warn('maintenance-state-unusable', { name, why: error.message });
      return undefined;
    }
  }

  /** Throws MetadataUnavailable. */
  save(name: StateName, bytes: Buffer): void {
    const record = encodePlain(bytes, this.#platform.kernels.crc32c);
    this.#metadata.repair((redo) => redo.setRecord(maintenanceKey(name), record));
  }

  /** False: the metadata takes nothing now. */
  saveIfAble(name: StateName, bytes: Buffer): boolean {
    try {
      this.save(name, bytes);
      return true;
    } catch (error) {
      if (!(error instanceof MetadataUnavailable)) throw error;
      return false;
    }
  }
}
