import { describe, expect, test } from 'vitest';
import { equalGroupUnavailability } from '../../../src/replicator/model/availability.ts';
import { predictClasses, predictLayout } from '../../../src/replicator/plan/prediction.ts';
import { planNodes, segmentClass } from './plan-fixture.ts';

const nodes = new Map(planNodes(12).map((node) => [node.id, node]));
const P = 0.001;

describe('the prediction for segments as they lie', () => {
  test('is that of the group when rotation put them on every five of its six nodes', () => {
    const six = [1, 2, 3, 4, 5, 6];
    const classes = six.map((left) =>
      segmentClass(
        six.filter((id) => id !== left),
        4,
        1,
        1e9,
      ),
    );
    // Any two of six nodes are fatal, and nothing else: not six times any two of five.
    expect(predictClasses(classes, nodes).unavailability).toBeCloseTo(equalGroupUnavailability(6, 1, P), 12);
  });

  test('multiplies over groups that share no node', () => {
    const classes = [segmentClass([1, 2, 3, 4, 5], 4, 1, 1e9), segmentClass([6, 7, 8, 9, 10], 4, 1, 1e9)];
    const both = 1 - (1 - equalGroupUnavailability(5, 1, P)) ** 2;
    expect(predictClasses(classes, nodes).unavailability).toBeCloseTo(both, 12);
  });

  test('takes a chain of barely overlapping groups as independent, which is the lower bound there', () => {
    const classes = [1, 4, 7].map((first) =>
      segmentClass([first, first + 1, first + 2, first + 3], 3, 1, 1e9),
    );
    const apart = 1 - (1 - equalGroupUnavailability(4, 1, P)) ** 3;
    expect(predictClasses(classes, nodes).unavailability).toBeCloseTo(apart, 12);
    expect(apart).toBeLessThan(equalGroupUnavailability(10, 1, P));
  });

  test('weighs the unavailable fraction by data', () => {
    const weak = segmentClass([1, 2], 2, 0, 3e9);
    const strong = segmentClass([3, 4, 5, 6], 1, 3, 1e9);
    const { unavailableFraction } = predictClasses([weak, strong], nodes);
    // Of two nodes without parity each takes half of the data with it; the strong ones count for nothing.
    expect(unavailableFraction).toBeCloseTo((3 / 4) * P, 9);
  });

  test('counts a node that is gone, or that nobody knows, as down', () => {
    const gone = new Map(nodes).set(3, { ...nodes.get(3)!, role: 'gone' });
    const four = equalGroupUnavailability(4, 0, P);
    expect(predictClasses([segmentClass([1, 2, 3, 4, 5], 4, 1, 1e9)], gone).unavailability).toBeCloseTo(
      four,
      12,
    );
    expect(predictClasses([segmentClass([1, 2, 99, 4, 5], 4, 1, 1e9)], nodes).unavailability).toBeCloseTo(
      four,
      12,
    );
  });
});

test('the prediction for a layout weighs its groups by what they can store', () => {
  const small = new Map(nodes)
    .set(1, { ...nodes.get(1)!, capacityBytes: 0 })
    .set(4, { ...nodes.get(4)!, unavailability: 0.1 });
  const layout = {
    dataFragments: 1,
    parityFragments: 1,
    groups: [
      [1, 2],
      [3, 4],
    ],
  };
  // A group of two with an empty node stores nothing in pairs: all data is in the other group.
  expect(predictLayout(layout, small).unavailableFraction).toBeCloseTo(P * 0.1, 12);
});
