/** The writer under random failures: whatever happens to the nodes, what is handed over is whole, and in the end everything is. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { BLOCK_BYTES } from '../../../src/base/units.ts';
import type { SegmentRecord } from '../../../src/format/segment-record.ts';
import { LogUnwritable } from '../../../src/log/log.ts';
import { LogFixture } from './log-fixture.ts';

const step = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({ kind: fc.constant('append' as const), blocks: fc.integer({ min: 1, max: 30 }) }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('seal' as const) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('inline' as const) }) },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constantFrom('kill' as const, 'freeze' as const, 'return' as const),
      node: fc.nat(),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({ kind: fc.constant('pass' as const), ms: fc.integer({ min: 1, max: 2500 }) }),
  },
);

/** Every fragment that a record names lies on its node, in the record's generation. */
function mustBeWhole(log: LogFixture, record: SegmentRecord): void {
  expect(new Set(record.nodes).size).toBe(record.dataFragments + record.parityFragments);
  record.nodes.forEach((id, position) => {
    const stored = log.cluster.node(id).fragments.get(`${record.segmentId}/${position}`);
    expect(stored?.description).toMatchObject({
      generation: record.generation,
      position,
      fragmentBlocks: record.fragmentBlocks,
    });
  });
}

function break_(log: LogFixture, kind: 'kill' | 'freeze' | 'return', pick: number): void {
  const node = log.cluster.nodes[pick % log.cluster.nodes.length]!;
  if (kind === 'kill' && node.state !== 'down') node.kill();
  else if (kind === 'freeze' && node.state === 'up' && node.frozen === undefined) node.freeze();
  else if (kind === 'return') {
    if (node.state === 'down') node.restart();
    else if (node.frozen !== undefined) node.thaw();
  }
}

test('segments handed over are whole at that moment, in order, and all data survives once nodes return', async () => {
  const scenario = fc.record({
    data: fc.integer({ min: 1, max: 4 }),
    parity: fc.integer({ min: 0, max: 2 }),
    spare: fc.integer({ min: 0, max: 2 }),
    steps: fc.array(step, { minLength: 5, maxLength: 40 }),
  });
  await fc.assert(
    fc.asyncProperty(scenario, async ({ data, parity, spare, steps }) => {
      const log = new LogFixture({
        nodes: data + parity + spare,
        data,
        parity,
        segmentBlocks: 16,
        slotCount: 40,
      });
      try {
        const handOver = log.writer.onDurable!;
        log.writer.onDurable = (segment) => {
          mustBeWhole(log, segment.record);
          expect(segment.record.parityFragments).toBe(parity);
          handOver(segment);
        };
        let fileBlock = 0;
        for (const action of steps) {
          if (action.kind === 'append') {
            try {
              if (log.writer.landing() !== undefined) log.append(1, fileBlock, action.blocks);
            } catch (error) {
              expect(error).toBeInstanceOf(LogUnwritable);
            }
            fileBlock += action.blocks + 1;
          } else if (action.kind === 'seal') log.writer.seal(true);
          else if (action.kind === 'inline') log.writer.takeInline();
          else if (action.kind === 'pass') await log.platform.time.pass(action.ms);
          else break_(log, action.kind, action.node);
        }
        for (const node of log.cluster.nodes) {
          if (node.state === 'down') node.restart();
          else if (node.frozen !== undefined) node.thaw();
        }
        log.writer.seal(true);
        await log.platform.time.pass(3000);
        expect(log.writer.trouble).toBeUndefined();
        expect(log.writer.statistics()).toMatchObject({ inFlight: 0, freeSlots: 40 });
        const ids = log.durable.map(({ record }) => record.segmentId);
        expect(ids).toEqual([...ids].sort((a, b) => a - b));
        for (const { record } of log.durable) mustBeWhole(log, record);
        await log.verifyAll();
      } finally {
        log.close();
      }
    }),
    { numRuns: 120 },
  );
});

test('memory is bounded by the slots however long nodes are away', async () => {
  const log = new LogFixture({ segmentBlocks: 1024, slotCount: 4 });
  try {
    for (const node of log.cluster.nodes) node.freeze();
    let accepted = 0;
    for (let attempt = 0; attempt < 200; attempt++) {
      if (log.writer.landing() === undefined) {
        await log.platform.time.pass(20);
        continue;
      }
      log.append(1, accepted, 128);
      accepted += 128;
    }
    expect(accepted * BLOCK_BYTES).toBeLessThanOrEqual(log.slab.slab.lengthBytes);
    expect(log.writer.trouble?.reason).toBe('unavailable');
    for (const node of log.cluster.nodes) node.thaw();
    await log.platform.time.pass(2000);
    expect(log.writer.trouble).toBeUndefined();
    expect(log.writer.landing()).toBeDefined();
    log.writer.seal(true);
    await log.platform.time.pass(500);
    await log.verifyAll();
  } finally {
    log.close();
  }
});
