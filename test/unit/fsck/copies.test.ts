/** Copies of fragments that are missing, damaged or others than the fragment are found and struck off; good ones are left alone. */
import { afterEach, describe, expect, test } from 'vitest';
import { segmentKey } from '../../../src/format/metadata-keys.ts';
import { encodeSegmentRecord, type SegmentRecord } from '../../../src/format/segment-record.ts';
import type { Finding } from '../../../src/fsck/findings.ts';
import { type CheckWorld, populated } from './world.ts';

let world: CheckWorld;
afterEach(() => world.close());

const kinds = (findings: readonly Finding[]) => findings.map(({ kind }) => kind);

/** A segment whose first fragment the record says there is a copy of, put there by `put`. */
async function copied(
  how: 'mounted' | 'at rest',
  put: (segment: SegmentRecord, nodeId: number) => Promise<void>,
): Promise<{ segment: SegmentRecord; nodeId: number }> {
  ({ world } = await populated());
  // At rest nobody makes or drops any.
  world.volume!.upkeep.changeCopies({ windowSeconds: 100_000 });
  if (how === 'at rest') await world.rest();
  const [segment] = await world.segments();
  const nodeId = [1, 2, 3, 4].find((id) => !segment!.nodes.includes(id))!;
  await put(segment!, nodeId);
  const { crc32c } = world.platform.kernels;
  world.damage((redo, state) => {
    const now = state.segments.records.get(segment!.segmentId)!;
    const copies = [{ position: 0, nodeId }];
    redo.setRecord(segmentKey(now.segmentId), encodeSegmentRecord({ ...now, copies }, crc32c));
  });
  return { segment: world.metadata.segment(segment!.segmentId)!, nodeId };
}

const putCopy = (segment: SegmentRecord, nodeId: number) => world.copyFragment(segment, 0, nodeId);

async function expectStruckOff(
  segmentId: number,
  nodeId: number,
  options: { data?: boolean } = {},
): Promise<void> {
  const found = await world.check(options);
  expect(found.findings).toMatchObject([{ kind: 'copy-bad', ids: { segmentId, position: 0, nodeId } }]);
  expect(found.summary).toMatchObject({ errors: 0, warnings: 1 });
  const repaired = await world.check({ ...options, repair: true });
  expect(repaired.findings).toMatchObject([{ kind: 'copy-bad', repaired: true }]);
  expect(world.metadata.segment(segmentId)!.copies).toBeUndefined();
  expect((await world.check({ data: true })).findings).toEqual([]);
}

describe.each(['mounted', 'at rest'] as const)('%s', (how) => {
  test('a good copy is no finding, and is not freed', async () => {
    const { segment } = await copied(how, putCopy);
    expect((await world.check({ data: true, repair: true })).findings).toEqual([]);
    expect(world.metadata.segment(segment.segmentId)!.copies).toHaveLength(1);
  });

  test('a copy that is not there is struck off', async () => {
    const { segment, nodeId } = await copied(how, () => Promise.resolve());
    await expectStruckOff(segment.segmentId, nodeId);
  });

  test('a damaged copy is found by reading, and struck off', async () => {
    const { segment, nodeId } = await copied(how, putCopy);
    await world.corrupt(nodeId, segment.segmentId, 0);
    expect((await world.check()).findings).toEqual([]);
    await expectStruckOff(segment.segmentId, nodeId, { data: true });
  });
});

// A mount would find it missing by itself, and be quicker on a busy machine.
test('a missing fragment is replaced by its copy', async () => {
  const { segment, nodeId } = await copied('at rest', putCopy);
  await world.freeFragment(segment.nodes[0]!, segment.segmentId, 0);
  const { findings } = await world.check({ repair: true });
  expect(findings).toMatchObject([{ kind: 'fragment-missing', repaired: true }]);
  expect(world.metadata.segment(segment.segmentId)!.nodes[0]).toBe(nodeId);
  expect((await world.check({ data: true })).findings).toEqual([]);
});

test('a copy is an orphan once the record does not name it', async () => {
  const { segment } = await copied('at rest', putCopy);
  const { crc32c } = world.platform.kernels;
  world.damage((redo, state) => {
    const { copies: _, ...plain } = state.segments.records.get(segment.segmentId)!;
    redo.setRecord(segmentKey(plain.segmentId), encodeSegmentRecord(plain, crc32c));
  });
  const { findings } = await world.check({ repair: true });
  expect(kinds(findings)).toEqual(['fragment-orphan']);
  expect((await world.check({ data: true })).findings).toEqual([]);
});
