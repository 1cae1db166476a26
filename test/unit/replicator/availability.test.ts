import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Prng } from '../../../src/base/prng.ts';
import {
  anyUnavailable,
  equalGroupUnavailability,
  equalVolumeUnavailability,
  type Group,
  groupAvailability,
  growthUntilNextParity,
  linearVolumeUnavailability,
} from '../../../src/replicator/model/availability.ts';
import {
  anyDown,
  type DomainUnavailability,
  failureTail,
  type GroupMember,
} from '../../../src/replicator/model/failures.ts';

const equalMembers = (count: number, p: number): GroupMember[] =>
  Array.from({ length: count }, (_, index) => ({ unavailability: p, domain: `d${index}` }));
const group = (members: readonly GroupMember[], parityFragments: number): Group => ({
  members,
  width: members.length,
  parityFragments,
});
const relativeError = (actual: number, expected: number): number =>
  expected === 0 ? Math.abs(actual) : Math.abs(actual / expected - 1);

/** Every subset of members and of domains, one by one. */
function bruteForce(members: readonly GroupMember[], tolerated: number, domains: DomainUnavailability) {
  const labels = [...new Set(members.map((member) => member.domain))].filter((label) => domains.has(label));
  let probability = 0;
  let meanDown = 0;
  for (let domainSet = 0; domainSet < 2 ** labels.length; domainSet++) {
    const dead = new Set(labels.filter((_, index) => (domainSet >> index) & 1));
    const domainChance = labels.reduce(
      (chance, label) => chance * (dead.has(label) ? domains.get(label)! : 1 - domains.get(label)!),
      1,
    );
    for (let nodeSet = 0; nodeSet < 2 ** members.length; nodeSet++) {
      let chance = domainChance;
      let down = 0;
      members.forEach((member, index) => {
        const failed = ((nodeSet >> index) & 1) === 1;
        chance *= failed ? member.unavailability : 1 - member.unavailability;
        if (failed || dead.has(member.domain)) down++;
      });
      if (down > tolerated) {
        probability += chance;
        meanDown += chance * down;
      }
    }
  }
  return { probability, meanDown };
}

const smallP = fc
  .integer({ min: -9, max: 0 })
  .chain((exponent) =>
    fc.double({ min: 0.1, max: 1, noNaN: true }).map((mantissa) => mantissa * 10 ** exponent),
  );
const members = (maxLength: number, domain = fc.constantFrom('a', 'b', 'c', 'd')) =>
  fc.array(fc.record({ unavailability: smallP, domain }), { minLength: 1, maxLength });
const domainTable = fc
  .record({ a: smallP, b: smallP })
  .map((record): DomainUnavailability => new Map(Object.entries(record)));

describe('the number of nodes that are down together', () => {
  test('is what every subset of up to twelve nodes adds up to, domains included', () => {
    fc.assert(
      fc.property(members(8), fc.integer({ min: 0, max: 3 }), domainTable, (nodes, tolerated, domains) => {
        const tail = failureTail(nodes, tolerated, domains);
        const expected = bruteForce(nodes, tolerated, domains);
        expect(relativeError(tail.probability, expected.probability)).toBeLessThan(1e-12);
        expect(relativeError(tail.meanDown, expected.meanDown)).toBeLessThan(1e-12);
      }),
      { numRuns: 60, seed: 1 },
    );
    const twelve = equalMembers(12, 0).map((node, index) => ({
      ...node,
      unavailability: 10 ** -(index % 10),
    }));
    expect(
      relativeError(failureTail(twelve, 3).probability, bruteForce(twelve, 3, new Map()).probability),
    ).toBeLessThan(1e-12);
  });

  test('keeps its digits where 1 minus the head has none: 64 nodes of p = 1e-9', () => {
    // In integers: C(64, 4) 1e-36 (1 - 1e-9)^60 + C(64, 5) 1e-45 ..., to more digits than a double has.
    const expected = 635_376e-36 * (1 - 60e-9) + 7_624_512e-45;
    expect(relativeError(failureTail(equalMembers(64, 1e-9), 3).probability, expected)).toBeLessThan(1e-13);
    expect(relativeError(equalGroupUnavailability(64, 3, 1e-9), expected)).toBeLessThan(1e-13);
  });

  test('agrees with the closed form when all nodes are equal', () => {
    fc.assert(
      fc.property(fc.integer({ min: 4, max: 64 }), fc.integer({ min: 0, max: 3 }), smallP, (n, m, p) => {
        const exact = failureTail(equalMembers(n, p), m).probability;
        expect(relativeError(equalGroupUnavailability(n, m, p), exact)).toBeLessThan(1e-10);
      }),
      { seed: 2 },
    );
  });

  test('lies within the confidence bounds of a simulation of unlike nodes in shared domains', () => {
    const dice = Prng.named(7, 0);
    const random = (): number => dice.unit();
    const nodes = ['a', 'a', 'b', 'b', 'c', 'd', 'e'].map((domain, index) => ({
      domain,
      unavailability: 0.02 * (index + 1),
    }));
    const domains = new Map([
      ['a', 0.05],
      ['b', 0.03],
    ]);
    const draws = 200_000;
    let dead = 0;
    let lostNodes = 0;
    for (let draw = 0; draw < draws; draw++) {
      const deadDomains = new Set([...domains].filter(([, p]) => random() < p).map(([label]) => label));
      let down = 0;
      for (const node of nodes) {
        const failed = random() < node.unavailability;
        if (failed || deadDomains.has(node.domain)) down++;
      }
      if (down > 2) {
        dead++;
        lostNodes += down;
      }
    }
    const tail = failureTail(nodes, 2, domains);
    // Four standard deviations: one seed in 16,000 would miss by chance, and this seed is fixed.
    const deviation = Math.sqrt((tail.probability * (1 - tail.probability)) / draws);
    expect(Math.abs(dead / draws - tail.probability)).toBeLessThan(4 * deviation);
    expect(Math.abs(lostNodes / draws - tail.meanDown)).toBeLessThan(4 * deviation * nodes.length);
  });

  test('grows with every p and falls with every failure that is borne', () => {
    fc.assert(
      fc.property(members(10), fc.integer({ min: 0, max: 3 }), smallP, fc.nat(), (nodes, m, p, pick) => {
        const before = failureTail(nodes, m).probability;
        const worse = nodes.with(pick % nodes.length, {
          ...nodes[pick % nodes.length]!,
          unavailability: Math.max(p, nodes[pick % nodes.length]!.unavailability),
        });
        expect(failureTail(worse, m).probability).toBeGreaterThanOrEqual(before * (1 - 1e-12));
        expect(failureTail(nodes, m + 1).probability).toBeLessThanOrEqual(before);
        expect(
          failureTail([...nodes, { unavailability: p, domain: 'z' }], m).probability,
        ).toBeGreaterThanOrEqual(before * (1 - 1e-12));
      }),
      { seed: 3 },
    );
  });

  test('has its limits: nothing fails, everything fails, a domain takes all', () => {
    expect(failureTail(equalMembers(5, 0), 1)).toEqual({ probability: 0, meanDown: 0 });
    expect(failureTail(equalMembers(5, 1), 4)).toEqual({ probability: 1, meanDown: 5 });
    const oneRack = Array.from({ length: 5 }, () => ({ unavailability: 0, domain: 'rack' }));
    expect(failureTail(oneRack, 2, new Map([['rack', 0.25]]))).toEqual({ probability: 0.25, meanDown: 1.25 });
    expect(anyDown([1e-12, 2e-12], 3e-12)).toBeCloseTo(6e-12, 20);
  });
});

describe('a group', () => {
  test('has lost the share of its nodes when more are down than it bears', () => {
    const { unavailability, unavailableFraction } = groupAvailability(group(equalMembers(5, 0.01), 1));
    expect(unavailability).toBeCloseTo(equalGroupUnavailability(5, 1, 0.01), 15);
    // Nearly always it is two of five.
    expect(unavailableFraction / unavailability).toBeGreaterThan(2 / 5);
    expect(unavailableFraction / unavailability).toBeLessThan(2.1 / 5);
  });

  test('bears the loss of a rack when no segment has two fragments there', () => {
    const twoEach = ['a', 'b', 'c', 'd', 'e'].flatMap((domain) => [
      { domain, unavailability: 1e-3 },
      { domain, unavailability: 1e-3 },
    ]);
    const racks = new Map(['a', 'b', 'c', 'd', 'e'].map((domain) => [domain, 1e-3]));
    const spread = groupAvailability({ members: twoEach, width: 5, parityFragments: 1 }, racks);
    const p = anyDown([1e-3, 1e-3], 1e-3);
    expect(relativeError(spread.unavailability, equalGroupUnavailability(5, 1, p))).toBeLessThan(1e-12);
    const crowded = groupAvailability({ members: twoEach, width: 6, parityFragments: 1 }, racks);
    expect(crowded.unavailability).toBeGreaterThan(4.9e-3);
  });

  test('wider than its segments is not better than brute force over every combination says', () => {
    // Six nodes, segments of four with one parity in all 15 combinations: dead as soon as two nodes are.
    const wide = groupAvailability({ members: equalMembers(6, 0.01), width: 4, parityFragments: 1 });
    expect(wide.unavailability).toBeCloseTo(equalGroupUnavailability(6, 1, 0.01), 15);
  });
});

describe('a volume', () => {
  test('is down when any of its groups is, to every digit of small numbers', () => {
    const g = equalGroupUnavailability(5, 1, 1e-9);
    expect(relativeError(equalVolumeUnavailability(5, 1, 1e-9, 200), 200 * g)).toBeLessThan(1e-12);
    expect(relativeError(anyUnavailable(Array(200).fill(g)), 200 * g)).toBeLessThan(1e-12);
    expect(anyUnavailable([0.5, 0.5])).toBeCloseTo(0.75, 15);
    expect(anyUnavailable([0.1, 1])).toBe(1);
    expect(anyUnavailable([])).toBe(0);
  });

  test('of one data fragment has the availability of copies, 1 - q p^copies', () => {
    for (const copies of [1, 2, 3, 4]) {
      for (const p of [1e-2, 1e-4, 1e-9]) {
        const paper = 50 * p ** copies;
        expect(relativeError(linearVolumeUnavailability(copies, copies - 1, p, 50), paper)).toBeLessThan(
          1e-14,
        );
        // q p^k is the first term of 1 - (1 - p^k)^q, which is less by at most half of its square.
        const exact = equalVolumeUnavailability(copies, copies - 1, p, 50);
        expect(exact).toBeLessThanOrEqual(paper * (1 + 1e-14));
        expect(exact).toBeGreaterThan(paper * (1 - paper - 1e-14));
      }
    }
  });

  test('is never worse than the linear approximation says, and equal to it for small p', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 4, max: 64 }),
        fc.integer({ min: 0, max: 3 }),
        smallP,
        fc.integer({ min: 1, max: 1000 }),
        (n, m, p, q) => {
          const exact = equalVolumeUnavailability(n, m, p, q);
          const linear = linearVolumeUnavailability(n, m, p, q);
          expect(exact).toBeLessThanOrEqual(linear * (1 + 1e-11));
          if (n * p < 1e-4 && linear < 1e-4) expect(relativeError(exact, linear)).toBeLessThan(3e-4);
        },
      ),
      { seed: 4 },
    );
  });

  test('sharing nodes between groups is at most as bad as the product says', () => {
    // Two groups of three that share two of four nodes, one failure borne each: every subset of the four nodes.
    const p = [0.1, 0.2, 0.3, 0.05];
    const groups = [
      [0, 1, 2],
      [1, 2, 3],
    ];
    let exact = 0;
    for (let set = 0; set < 16; set++) {
      const down = (index: number): boolean => ((set >> index) & 1) === 1;
      const chance = p.reduce((product, each, index) => product * (down(index) ? each : 1 - each), 1);
      if (groups.some((nodes) => nodes.filter(down).length > 1)) exact += chance;
    }
    const bound = anyUnavailable(
      groups.map(
        (nodes) =>
          failureTail(
            nodes.map((index) => ({ unavailability: p[index]!, domain: `${index}` })),
            1,
          ).probability,
      ),
    );
    expect(bound).toBeGreaterThan(exact);
    expect(bound).toBeLessThan(1.5 * exact);
  });

  test('needs its next parity fragment at a size that is (m + 2) / (n p) times larger', () => {
    const p = 1e-5;
    const k = 4;
    for (const m of [0, 1, 2]) {
      // Nodes at which q groups of k + m just meet the target: q G = target, N = q n.
      const nodesAt = (parity: number): number =>
        (k + parity) / equalGroupUnavailability(k + parity, parity, p);
      const ratio = nodesAt(m + 1) / nodesAt(m);
      expect(relativeError(ratio, growthUntilNextParity(k + m, m, p))).toBeLessThan(1e-3);
    }
  });
});
