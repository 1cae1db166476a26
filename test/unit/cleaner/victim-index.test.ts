import fc from 'fast-check';
import { expect, test } from 'vitest';
import { VictimIndex } from '../../../src/cleaner/victim-index.ts';
import { costBenefit, greedy } from '../../../src/cleaner/victims.ts';

const none = () => false;

test('an index is a map from segments to what they hold, whatever comes in which order', () => {
  const step = fc.record({
    segmentId: fc.integer({ min: 1, max: 400 }),
    action: fc.constantFrom('put', 'put', 'live', 'remove'),
    live: fc.integer({ min: 0, max: 100 }),
    more: fc.integer({ min: 1, max: 50 }),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 3000, minLength: 500 }), (steps) => {
      const index = new VictimIndex();
      const model = new Map<number, { live: number; blocks: number; at: number }>();
      steps.forEach(({ segmentId, action, live, more }, at) => {
        const known = model.get(segmentId);
        if (action === 'put') {
          index.put(segmentId, live, live + more, at);
          model.set(segmentId, { live, blocks: live + more, at });
        } else if (action === 'live') {
          index.setLive(segmentId, live);
          if (known !== undefined) known.live = live;
        } else {
          index.remove(segmentId);
          model.delete(segmentId);
        }
      });
      const rows = [...model.values()];
      expect(index.segments).toBe(model.size);
      expect(index.liveBlocks).toBe(rows.reduce((sum, { live }) => sum + live, 0));
      expect(index.blocks).toBe(rows.reduce((sum, { blocks }) => sum + blocks, 0));
      for (let id = 1; id <= 400; id++) expect(index.writtenAt(id)).toBe(model.get(id)?.at);
    }),
    { numRuns: 15 },
  );
});

test('the choice is that of the policy over all segments, best first, without the excluded, the full and the dead', () => {
  const index = new VictimIndex();
  for (let id = 1; id <= 50; id++) index.put(id, id, 50, 1000 - id);
  index.setLive(7, 0);
  const choice = { policy: greedy, now: 2000, limit: 5, leastYield: 0.1, excluded: (id: number) => id === 2 };
  expect(index.choose(choice).map(({ segmentId }) => segmentId)).toEqual([1, 3, 4, 5, 6]);
  const all = index.choose({ ...choice, limit: 100 });
  // Above 45 live blocks of 50 less than a tenth is to be won.
  expect(all.map(({ segmentId }) => segmentId).at(-1)).toBe(45);
  expect(all).toHaveLength(43);
});

test('an old segment is chosen before a new one that is a little emptier', () => {
  const index = new VictimIndex();
  index.put(1, 30, 50, 0);
  index.put(2, 25, 50, 9_900);
  const choice = { policy: costBenefit, now: 10_000, limit: 1, leastYield: 0, excluded: none };
  expect(index.choose(choice)).toEqual([{ segmentId: 1, liveBlocks: 30, blocks: 50 }]);
  expect(index.choose({ ...choice, policy: greedy })[0]!.segmentId).toBe(2);
});

test('what segments take can be counted anew', () => {
  const index = new VictimIndex();
  for (let id = 1; id <= 4; id++) index.put(id, 10, 20, id);
  index.remove(2);
  index.recount((segmentId) => (segmentId === 4 ? undefined : 30));
  expect([index.blocks, index.liveBlocks, index.segments]).toEqual([80, 30, 3]);
});
