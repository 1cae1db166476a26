/**
 * The metadata replica of a storage node as remote callers see it: checkpoints that arrive in parts, snapshots read in pages of a view that stays
 * open between calls, snapshots installed in pages.
 *
 * Bounds: one checkpoint is gathered at a time, in a batch of the database of up to MAX_CHECKPOINT_BYTES; a few views are open, each for as long
 * as it is used.
 */

import { MIB } from '../base/units.ts';
import {
  type GatheredCheckpoint,
  ReplicaConflict,
  type ReplicaStore,
  type ReplicaView,
} from '../cluster/replica-store.ts';
import type {
  CheckpointPart,
  ReplicaState,
  SnapshotInstallRequest,
  SnapshotPage,
  SnapshotReadRequest,
} from '../format/replica-messages.ts';
import { replicaOperationBytes } from '../format/replica-messages.ts';
import type { Platform, Timer } from '../platform/platform.ts';
import { StorageError } from './storage-error.ts';

export const MAX_CHECKPOINT_BYTES = 32 * MIB;
const MAX_VIEWS = 4;
const VIEW_IDLE_MS = 60_000;

interface Gathering {
  readonly fromSequence: number;
  readonly toSequence: number;
  readonly term: number;
  readonly checkpoint: GatheredCheckpoint;
  bytes: number;
  nextPart: number;
}

interface OpenView {
  readonly view: ReplicaView;
  timer: Timer;
  /** Calls using it now. */
  users: number;
}

export class ReplicaService {
  readonly #platform: Platform;
  readonly #store: ReplicaStore;
  readonly #views = new Map<number, OpenView>();
  #nextViewId = 1;
  #gathering: Gathering | undefined;

  constructor(platform: Platform, store: ReplicaStore) {
    this.#platform = platform;
    this.#store = store;
  }

  get state(): ReplicaState {
    return this.#store.state;
  }

  /** The caller has checked the term. */
  async checkpoint(part: CheckpointPart): Promise<void> {
    const { fromSequence, toSequence, term } = part;
    if (part.part === 0) await this.#begin(part);
    const gathering = this.#gathering;
    if (
      gathering === undefined ||
      gathering.fromSequence !== fromSequence ||
      gathering.toSequence !== toSequence ||
      gathering.term !== term ||
      gathering.nextPart !== part.part
    ) {
      throw new ReplicaConflict(`part ${part.part} of a checkpoint is out of order`);
    }
    gathering.nextPart++;
    for (const operation of part.operations) gathering.bytes += replicaOperationBytes(operation);
    if (gathering.bytes > MAX_CHECKPOINT_BYTES) {
      await this.#drop();
      throw new StorageError({ reason: 'invalid' }, `a checkpoint of over ${MAX_CHECKPOINT_BYTES} bytes`);
    }
    gathering.checkpoint.add(part.operations);
    if (!part.final) return;
    this.#gathering = undefined;
    await gathering.checkpoint.apply(fromSequence, toSequence);
  }

  async #begin({ fromSequence, toSequence, term }: CheckpointPart): Promise<void> {
    if (toSequence < fromSequence) throw new ReplicaConflict('a checkpoint goes forward');
    await this.#mend();
    const dropped = this.#gathering;
    const checkpoint = this.#store.gatherCheckpoint();
    this.#gathering = { fromSequence, toSequence, term, checkpoint, bytes: 0, nextPart: 0 };
    await dropped?.checkpoint.close();
  }

  async #drop(): Promise<void> {
    const gathering = this.#gathering;
    this.#gathering = undefined;
    await gathering?.checkpoint.close();
  }

  async readSnapshot(request: SnapshotReadRequest): Promise<SnapshotPage> {
    const { viewId, opened } = request.viewId === 0 ? this.#openView() : this.#findView(request.viewId);
    opened.users++;
    let page: Awaited<ReturnType<ReplicaView['read']>>;
    try {
      page = await opened.view.read(request.afterKey, request.maxBytes);
    } finally {
      opened.users--;
      this.#restartTimer(viewId, opened);
    }
    if (page.end && opened.users === 0) await this.#closeView(viewId);
    return { viewId, appliedSequence: opened.view.appliedSequence, ...page };
  }

  #openView(): { viewId: number; opened: OpenView } {
    if (this.#views.size >= MAX_VIEWS)
      throw new StorageError({ reason: 'busy' }, 'too many snapshots are being read');
    const view = this.#store.openView();
    if (view === undefined) throw new StorageError({ reason: 'missing' }, 'the replica is not complete');
    const viewId = this.#nextViewId++;
    const opened: OpenView = { view, users: 0, timer: this.#expiry(viewId) };
    this.#views.set(viewId, opened);
    return { viewId, opened };
  }

  #findView(viewId: number): { viewId: number; opened: OpenView } {
    const opened = this.#views.get(viewId);
    if (opened === undefined)
      throw new StorageError({ reason: 'missing' }, `view ${viewId} is gone: start over`);
    return { viewId, opened };
  }

  #expiry(viewId: number): Timer {
    return this.#platform.timers.after(VIEW_IDLE_MS, () => {
      const opened = this.#views.get(viewId);
      if (opened === undefined || opened.users > 0) return;
      this.#closeView(viewId).catch((error: unknown) => {
        this.#platform.log.warn('snapshot-view-not-closed', { viewId, why: String(error) });
      });
    });
  }

  #restartTimer(viewId: number, opened: OpenView): void {
    opened.timer.cancel();
    opened.timer = this.#expiry(viewId);
  }

  async #closeView(viewId: number): Promise<void> {
    const opened = this.#views.get(viewId);
    if (opened === undefined) return;
    this.#views.delete(viewId);
    opened.timer.cancel();
    await opened.view.close();
  }

  /** The caller has checked the term. */
  async install(request: SnapshotInstallRequest): Promise<void> {
    switch (request.phase) {
      case 'begin':
        await this.#mend();
        await this.#store.beginInstall();
        break;
      case 'page':
        await this.#store.installPage(request.page, request.operations);
        break;
      case 'end':
        await this.#store.endInstall(request.appliedSequence);
        break;
    }
  }

  /** Whatever was wrong with the disk may be over. Who reads a snapshot starts over. */
  async #mend(): Promise<void> {
    if (!this.#store.failed) return;
    await this.#letGo();
    try {
      await this.#store.mend();
    } catch (error) {
      if (error instanceof ReplicaConflict) throw error;
      throw new StorageError({ reason: 'ioError' }, `the replica cannot be written: ${String(error)}`);
    }
  }

  async #letGo(): Promise<void> {
    for (const viewId of [...this.#views.keys()]) await this.#closeView(viewId);
    await this.#drop();
  }

  async close(): Promise<void> {
    await this.#letGo();
    await this.#store.close();
  }
}
