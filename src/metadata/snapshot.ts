/**
 * Copies of the whole checkpointed state: from the own store to a member's replica, and from a member's replica into the own store.
 */

import { assert } from '../base/assert.ts';
import type { ReplicaStore } from '../cluster/replica-store.ts';
import { asBuffer, FormatError } from '../format/fields.ts';
import { MAX_REPLICA_PART_BYTES } from '../format/journal-messages.ts';
import { isSoundRecord } from '../format/metadata-records.ts';
import type { ReplicaOperation } from '../format/replica-messages.ts';
import type { MemberClient } from './member-client.ts';

const PAGE_BYTES = MAX_REPLICA_PART_BYTES - 4096;
const FROM_THE_START = new Uint8Array(0);

/** Replaces the member's replica with the own store's state. The own store must not be changed meanwhile. */
export async function installSnapshot(
  client: MemberClient,
  term: number,
  store: ReplicaStore,
): Promise<void> {
  const view = store.openView();
  assert(view !== undefined, 'the own store is complete and at rest');
  try {
    const { appliedSequence } = view;
    await client.installSnapshot({ term, phase: 'begin', page: 0, appliedSequence, operations: [] });
    let after: Uint8Array = FROM_THE_START;
    for (let page = 0; ; page++) {
      const { operations, end } = await view.read(after, PAGE_BYTES);
      mustBeSound(operations, store, 'the own copy of the metadata');
      await client.installSnapshot({ term, phase: 'page', page, appliedSequence, operations });
      if (end) break;
      after = operations[operations.length - 1]!.key;
    }
    await client.installSnapshot({ term, phase: 'end', page: 0, appliedSequence, operations: [] });
  } finally {
    await view.close();
  }
}

/** Damage is not copied: the databases do not notice it themselves. */
function mustBeSound(operations: readonly ReplicaOperation[], { crc32c }: ReplicaStore, what: string): void {
  for (const { value } of operations) {
    if (value !== undefined && !isSoundRecord(asBuffer(value), crc32c))
      throw new FormatError(`${what} is damaged`);
  }
}

/** Replaces the own store with the member's replica. */
export async function fetchSnapshot(client: MemberClient, store: ReplicaStore): Promise<void> {
  await store.beginInstall();
  let after: Uint8Array = FROM_THE_START;
  let viewId = 0;
  for (let page = 0; ; page++) {
    const read = await client.readSnapshot(viewId, after);
    mustBeSound(read.operations, store, `the copy of the metadata on node ${client.nodeId}`);
    await store.installPage(page, read.operations);
    if (read.end) return store.endInstall(read.appliedSequence);
    viewId = read.viewId;
    after = read.operations[read.operations.length - 1]!.key;
  }
}
