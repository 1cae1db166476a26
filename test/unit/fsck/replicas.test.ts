/** The copies of the metadata: a replica that says something else than the primary is found and replaced. */
import { afterEach, describe, expect, test } from 'vitest';
import { inodeKey, keyBytes, keyLetters } from '../../../src/format/metadata-keys.ts';
import { encodeTotals } from '../../../src/format/metadata-records.ts';
import { encodeCheckpointPart } from '../../../src/format/replica-messages.ts';
import { MemberClient } from '../../../src/metadata/member-client.ts';
import { StorageError } from '../../../src/storage/storage-error.ts';
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

/** At rest nobody but the test makes entries. Returns a member and how to speak to it. */
async function openAtRest() {
  ({ world } = await populated());
  await world.rest();
  await (await world.metadata.openView()).close();
  const { nodeId } = world.metadata.ensemble[1]!;
  const client = new MemberClient(world.links, nodeId);
  return { nodeId, client, node: world.nodes.get(nodeId)!, term: (await client.journalState()).term };
}

const full = () => Promise.reject(new StorageError({ reason: 'full' }, 'the disk is full'));

test('a member that lost its replica and cannot be filled is found, and the next mount fills it', async () => {
  const { nodeId, client, node, term } = await openAtRest();
  const install = node.replica.install.bind(node.replica);
  node.replica.install = (request) => (request.phase === 'begin' ? install(request) : full());
  await client.installSnapshot({ term, phase: 'begin', page: 0, appliedSequence: 0, operations: [] });
  const found = await world.check({ repair: true });
  expect(found.findings).toMatchObject([
    { kind: 'replica-incomplete', severity: 'warning', ids: { nodeId }, repairable: false },
  ]);
  expect(found.summary).toMatchObject({ errors: 0, warnings: 1, repaired: 0 });
  node.replica.install = install;
  await world.remount();
  const filled = new MemberClient(world.links, nodeId);
  while (!(await filled.replicaState()).complete) await world.platform.timers.sleep(20);
  expect((await world.check({ data: true })).findings).toEqual([]);
});

test('a replica that ends before its journal begins is found, and the next checkpoint fills it', async () => {
  const { nodeId, client, term } = await openAtRest();
  const { firstSequence } = await client.journalState();
  const at = { term, page: 0, appliedSequence: firstSequence - 2, operations: [] };
  await client.installSnapshot({ ...at, phase: 'begin' });
  await client.installSnapshot({ ...at, phase: 'end' });
  expect((await world.check()).findings).toMatchObject([
    { kind: 'replica-incomplete', ids: { nodeId }, detail: expect.stringContaining('its replica ends at') },
  ]);
  anotherEntry();
  expect((await world.check({ data: true })).findings).toEqual([]);
});

function anotherEntry(): void {
  world.damage((redo, state) => {
    redo.setRecord(keyLetters.totals, encodeTotals(state.totalsRecord(), world.platform.kernels.crc32c));
  });
}

/** An entry that journals do not let go of, as if the calls that tell them to were lost; on one member it is another one. */
async function plantEntry() {
  const opened = await openAtRest();
  const { nodeId, client, node, term } = opened;
  for (const { journal } of world.nodes.values()) journal.trim = full;
  anotherEntry();
  await world.metadata.sync();
  const { lastSequence, lastTerm } = await client.journalState();
  const [entry] = await client.read(lastSequence);
  const { firstSequence, previousTerm } = await client.journalState();
  const [before] = lastSequence > firstSequence ? await client.read(lastSequence - 1) : [];
  const bytes = Buffer.from(entry!.bytes);
  bytes[bytes.length - 1]! ^= 1;
  await node.journal.append({
    ...{ term, previousSequence: lastSequence - 1, previousTerm: before?.term ?? previousTerm },
    entries: [{ term: lastTerm - 1, bytes }],
  });
  return { nodeId, lastSequence };
}

const releaseJournals = () => {
  for (const { journal } of world.nodes.values()) Reflect.deleteProperty(journal, 'trim');
};

test('members whose journals do not say the same are found, and --repair makes an end of it', async () => {
  const { nodeId, lastSequence } = await plantEntry();
  expect((await world.check()).findings).toMatchObject([
    { kind: 'journal-differs', ids: { nodeId }, detail: expect.stringContaining(`entry ${lastSequence} is`) },
  ]);
  releaseJournals();
  const repaired = await world.check({ repair: true });
  expect(repaired.findings).toMatchObject([{ kind: 'journal-differs', repaired: true }]);
  expect(repaired.summary).toMatchObject({ errors: 0, repaired: 1 });
  expect((await world.check({ data: true })).findings).toEqual([]);
  await world.remount();
  expect((await world.check({ data: true })).findings).toEqual([]);
});

test('a coordinator that names other members than the primary writes to is found', async () => {
  ({ world } = await populated());
  await world.tellCoordinator({ term: world.metadata.term, primary: 'x', members: [4] });
  expect((await world.check()).findings).toMatchObject([{ kind: 'coordinator-record-wrong' }]);
});
