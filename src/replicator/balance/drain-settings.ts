/**
 * Which nodes are to be emptied, durable in the metadata beside the other settings of balancing, and told to all who choose nodes.
 *
 * A node leaves the volume in two steps. Draining: it gets nothing new, and what it holds is moved. Released, once it holds nothing: it gets nothing at all, whatever
 * happens, so that it may be struck off the volume's file. Released is durable before anybody acts on it, and holds from the first write after a restart.
 */
import type { DrainingNodes } from '../../cluster/draining-nodes.ts';
import type { NodeLinks } from '../../cluster/nodes.ts';
import {
  type BalanceSettings,
  decodeBalanceSettings,
  encodeBalanceSettings,
} from '../../format/maintenance-state.ts';
import type { PrimaryManager } from '../../metadata/manager.ts';
import type { Platform } from '../../platform/platform.ts';
import { SavedState } from '../saved-state.ts';

const NOTHING_SET: BalanceSettings = { paused: false, limitBytesPerSecond: 0, draining: [], released: [] };

export function loadBalanceSettings(platform: Platform, metadata: PrimaryManager): BalanceSettings {
  return new SavedState(platform, metadata).load('balance', decodeBalanceSettings) ?? NOTHING_SET;
}

export interface DrainSettingsParts {
  readonly metadata: PrimaryManager;
  readonly links: NodeLinks;
  readonly draining: DrainingNodes;
}

export class DrainSettings {
  readonly #parts: DrainSettingsParts;
  readonly #saved: SavedState;
  readonly #unsubscribe: () => void;
  #settings: BalanceSettings;

  constructor(platform: Platform, parts: DrainSettingsParts) {
    this.#parts = parts;
    this.#saved = new SavedState(platform, parts.metadata);
    this.#settings = loadBalanceSettings(platform, parts.metadata);
    parts.draining.replace(this.#settings);
    this.#unsubscribe = parts.links.onChange((link) => {
      const hasLeft = !parts.links.links.has(link.id) && parts.draining.has(link.id);
      if (hasLeft) this.#apply(this.#settings.draining, this.#settings.released);
    });
  }

  get settings(): BalanceSettings {
    return this.#settings;
  }

  /** Throws MetadataUnavailable. */
  change(changes: Partial<BalanceSettings>): void {
    const settings = { ...this.#settings, ...changes };
    this.#saved.save('balance', encodeBalanceSettings(settings));
    this.#settings = settings;
  }

  /** These nodes, and no others, are draining. */
  drain(nodeIds: readonly number[]): void {
    const { draining, released } = this.#listed(nodeIds, this.#settings.released);
    this.change({ draining, released });
    this.#parts.draining.replace({ draining, released });
  }

  release(nodeId: number): void {
    const { draining, released } = this.#settings;
    const changed = this.#listed([...draining, nodeId], [...released, nodeId]);
    this.change(changed);
    this.#parts.draining.replace(changed);
  }

  /** It did not come to leaving. */
  takeBack(nodeId: number, isDraining: boolean): void {
    const { draining, released } = this.#settings;
    this.#apply(
      draining.filter((id) => isDraining || id !== nodeId),
      released.filter((id) => id !== nodeId),
    );
  }

  /** Also while it cannot be made durable. */
  #apply(nodeIds: readonly number[], releasedIds: readonly number[]): void {
    const changed = this.#listed(nodeIds, releasedIds);
    this.#settings = { ...this.#settings, ...changed };
    this.#saved.saveIfAble('balance', encodeBalanceSettings(this.#settings));
    this.#parts.draining.replace(changed);
  }

  /** Nodes that have left the volume are forgotten. */
  #listed(
    nodeIds: readonly number[],
    releasedIds: readonly number[],
  ): { draining: readonly number[]; released: readonly number[] } {
    const { links } = this.#parts.links;
    const draining = [...new Set(nodeIds)].filter((id) => links.has(id)).sort((a, b) => a - b);
    return { draining, released: draining.filter((id) => releasedIds.includes(id)) };
  }

  close(): void {
    this.#unsubscribe();
  }
}
