import { describe, expect, test } from 'vitest';
import { defects } from '../../../src/simulator/defects/defects.ts';
import { createDice } from '../../../src/simulator/machine/dice.ts';
import { FaultScheduler } from '../../../src/simulator/run/fault-schedule.ts';
import { simulate } from '../../../src/simulator/run/run.ts';
import { scenarioNamed, scenarios } from '../../../src/simulator/run/scenario.ts';
import { shrink } from '../../../src/simulator/run/shrink.ts';
import { SteadyWorkload } from '../../../src/simulator/workloads/steady.ts';

function scenario(name: string) {
  const found = scenarioNamed(name);
  if (found === undefined) throw new Error(`no scenario ${name}`);
  return found;
}

describe('a run', () => {
  test('is the same to the last event when its seed is the same', async () => {
    const options = { seed: 17, scenario: scenario('mixed'), phases: 1 };
    const lines: string[] = [];
    const first = await simulate({
      ...options,
      trace: (atMs, what, fields) => lines.push(`${atMs} ${what} ${JSON.stringify(fields)}`),
    });
    const again: string[] = [];
    const second = await simulate({
      ...options,
      trace: (atMs, what, fields) => again.push(`${atMs} ${what} ${JSON.stringify(fields)}`),
    });
    expect(again).toEqual(lines);
    expect(second.hash).toBe(first.hash);
    expect(first.failure).toBeUndefined();
    expect(first.operations).toBeGreaterThan(50);
  });

  test('is another one with another seed, and with a fault left out', async () => {
    const options = { seed: 18, scenario: scenario('processes'), phases: 1 };
    const first = await simulate(options);
    const other = await simulate({ ...options, seed: 19 });
    const without = await simulate({ ...options, keepFaults: () => false });
    expect(new Set([first.hash, other.hash, without.hash]).size).toBe(3);
    expect(first.faults.length).toBeGreaterThan(0);
    expect(without.faults).toEqual([]);
  });
});

describe('a schedule of faults', () => {
  test('never has more nodes in trouble at a time than parity bears, unless the scenario is about that', () => {
    for (const { name, faults, allowed, together = false } of scenarios) {
      if (allowed.beyondParity) continue;
      for (let seed = 0; seed < 50; seed++) {
        const shape = {
          ...{ nodes: 5, lateNodes: 0, dataFragments: 3, parityFragments: 2, oneMachine: false },
          ...{ capacityBytes: 1e9, segmentBlocks: 40, slotCount: 10 },
        };
        const dice = createDice(seed);
        const plan = { weights: faults, meanIntervalMs: 200, beyondParity: false, together };
        const drawn = new FaultScheduler(dice, shape, plan).draw(0, 6_000);
        for (const fault of drawn) {
          const nodes = drawn
            .filter(({ kind }) => kind !== 'clock-jump')
            .filter(({ atMs, durationMs }) => atMs <= fault.atMs && fault.atMs <= atMs + durationMs)
            .flatMap(({ target, other = '' }) => [target, other])
            .filter((each) => each.startsWith('node-'));
          expect(new Set(nodes).size, `${name} ${seed}`).toBeLessThanOrEqual(2);
        }
      }
    }
  });

  test.each([
    { nodes: 7, parityFragments: 3, groups: [1, 2, 3] },
    { nodes: 6, parityFragments: 3, groups: [1, 2, 3] },
    { nodes: 3, parityFragments: 1, groups: [1] },
  ])(
    'of losses together has $groups of $nodes nodes in one moment, and lets them come back before the next',
    ({ nodes, parityFragments, groups }) => {
      const { faults } = scenario('failover');
      const shape = {
        ...{
          nodes,
          lateNodes: 0,
          dataFragments: nodes - parityFragments,
          parityFragments,
          oneMachine: false,
        },
        ...{ capacityBytes: 1e9, segmentBlocks: 40, slotCount: 10 },
      };
      const sizes = new Set<number>();
      for (let seed = 0; seed < 50; seed++) {
        const plan = { weights: faults, meanIntervalMs: 200, beyondParity: false, together: true };
        const drawn = new FaultScheduler(createDice(seed), shape, plan).draw(0, 20_000);
        const moments = [...new Set(drawn.map(({ atMs }) => atMs))];
        let endMs = Number.NEGATIVE_INFINITY;
        for (const atMs of moments) {
          expect(atMs, `${seed}`).toBeGreaterThan(endMs);
          const group = drawn.filter((fault) => fault.atMs === atMs);
          const targets = new Set(group.map(({ target }) => target));
          expect(targets.has('coordinator')).toBe(false);
          expect(targets.size).toBe(group.length);
          sizes.add(group.length);
          endMs = atMs + Math.max(...group.map(({ durationMs }) => durationMs));
        }
      }
      expect([...sizes].sort()).toEqual(groups);
    },
  );

  test('shrinks to what it takes to fail', async () => {
    const list = Array.from({ length: 23 }, (_, index) => index);
    const fails = async (part: readonly number[]) => part.includes(4) && part.includes(19);
    expect(await shrink(list, fails, 200)).toEqual([4, 19]);
    expect(await shrink(list, async () => true, 200)).toEqual([]);
    expect(await shrink(list, async (part) => part.length === 23, 200)).toEqual(list);
  });
});

test('a writer that waits for longer than is promised fails the run', { timeout: 60_000 }, async () => {
  const impatient = {
    ...scenario('failover'),
    faults: { freeze: 1 },
    workloads: () => [new SteadyWorkload({ promisedMs: 400 })],
  };
  for (let seed = 1; ; seed++) {
    const { failure, gaps, operations } = await simulate({ seed, scenario: impatient, phases: 1 });
    expect(gaps.count).toBeLessThan(operations);
    if (failure === undefined) continue;
    expect(failure).toMatchObject({
      kind: 'correctness',
      error: { message: expect.stringMatching(/^the writer \w+ waited \d+ ms between two writes/) },
    });
    expect(gaps.longestMs).toBeGreaterThan(400);
    return;
  }
});

describe('a deliberate defect is found within a few seeds', () => {
  /** Where each is met soonest, and the first seed there that is tried. */
  const where: Readonly<Record<string, readonly [scenario: string, firstSeed: number]>> = {
    'acknowledge-before-sync': ['calm', 1],
    'no-parity': ['processes', 1],
    'old-term': ['take-over', 2],
    'no-checksums': ['rot', 7],
    'free-live': ['calm', 1],
    'ignored-member': ['calm', 1],
    'dropped-inline': ['processes', 2],
    'reused-segment-id': ['processes', 2],
  };
  const SEEDS = 12;

  for (const defect of defects) {
    test(`${defect.name}: ${defect.about}`, { timeout: 60_000 }, async () => {
      const [name, firstSeed] = where[defect.name] ?? ['mixed', 1];
      for (let seed = firstSeed; seed < firstSeed + SEEDS; seed++) {
        const options = { seed, scenario: scenario(name) };
        const { failure } = await simulate({ ...options, defect });
        if (failure === undefined) continue;
        expect((await simulate(options)).failure).toBeUndefined();
        return;
      }
      expect.fail(`not found in ${SEEDS} seeds`);
    });
  }
});
