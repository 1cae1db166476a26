/** The copies of the metadata: a replica that says something else than the primary is found and replaced. */
import { afterEach, describe, expect, test } from 'vitest';
import { inodeKey, keyBytes } from '../../../src/format/metadata-keys.ts';
import { encodeCheckpointPart } from '../../../src/format/replica-messages.ts';
import { MemberClient } from '../../../src/metadata/member-client.ts';
import { type CheckWorld, populated } from './world.ts';

let world: CheckWorld;
afterEach(() => world.close());

describe.each(['mounted', 'at rest'] as const)('%s', (how) => {
  test('a replica with other records is found when they are compared, and replaced', async () => {
    ({ world } = await populated());
    if (how === 'at rest') await world.rest();
    await (await world.metadata.openView()).close();
    const { nodeId } = world.metadata.ensemble[1]!;
    const client = new MemberClient(world.links, nodeId);
    const { appliedSequence } = await client.replicaState();
    const { term } = await client.journalState();
    const sequences = { fromSequence: appliedSequence, toSequence: appliedSequence };
    const operations = [
      { key: keyBytes(inodeKey(2)), value: undefined },
      { key: keyBytes(inodeKey(77)), value: Buffer.from('stray') },
    ];
    const part = { term, ...sequences, part: 0, final: true, operations };
    await client.applyCheckpoint(encodeCheckpointPart(part));
    expect((await world.check({ data: true })).findings).toMatchObject([
      { kind: 'replica-differs', ids: { nodeId }, detail: expect.stringContaining('2 records') },
    ]);
    expect((await world.check({ data: true, repair: true })).summary).toMatchObject({
      repaired: 1,
      errors: 0,
    });
    expect((await world.check({ data: true })).findings).toEqual([]);
  });
});

test('a coordinator that names other members than the primary writes to is found', async () => {
  ({ world } = await populated());
  await world.tellCoordinator({ term: world.metadata.term, primary: 'x', members: [4] });
  expect((await world.check()).findings).toMatchObject([{ kind: 'coordinator-record-wrong' }]);
});
