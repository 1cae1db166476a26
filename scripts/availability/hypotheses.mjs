/** H1 to H3 of the paper's section 8, by the model and by simulation. */
import { DATA_FRAGMENTS, fillLayout, P, planNode, policyFor, SIZES, TARGET } from './volumes.mjs';

const DRAWS = 40_000;

/** Groups of the planner for `size` nodes of k + m: the layout that migration keeps. */
function groupsOf(library, size, width) {
  const nodes = Array.from({ length: size }, (_, index) => planNode(index + 1, P));
  return library.formGroups(nodes, [], { least: width, most: 2 * width - 1, newcomers: 'join' });
}

const modelled = (library, groups, parity) =>
  library.anyUnavailable(groups.map(({ length }) => library.equalGroupUnavailability(length, parity, P)));

/** Which nodes are down, drawn again and again: the share of draws that make the volume unavailable, with a 95% confidence interval (Wilson's). */
function simulated(library, groups, parity, seed) {
  const dice = library.Prng.named(seed, parity);
  let dead = 0;
  for (let draw = 0; draw < DRAWS; draw++) {
    let lost = false;
    for (const { length } of groups) {
      let down = 0;
      for (let node = 0; node < length; node++) if (dice.unit() < P) down++;
      if (down > parity) lost = true;
    }
    if (lost) dead++;
  }
  const z = 1.96;
  const share = dead / DRAWS;
  const centre = (share + z ** 2 / (2 * DRAWS)) / (1 + z ** 2 / DRAWS);
  const half =
    (z / (1 + z ** 2 / DRAWS)) * Math.sqrt((share * (1 - share)) / DRAWS + z ** 2 / (4 * DRAWS ** 2));
  return { share, low: Math.max(0, centre - half), high: centre + half };
}

/** H1: unavailability against size for fixed parity, by more groups and by ever wider stripes. */
export function migrationAlone(library) {
  const fixed = [1, 2, 3].map((parity) => ({
    parity,
    points: SIZES.filter((size) => size >= DATA_FRAGMENTS + parity).map((size) => [
      size,
      modelled(library, groupsOf(library, size, DATA_FRAGMENTS + parity), parity),
    ]),
  }));
  const widening = SIZES.filter((size) => size <= 64).map((size) => [
    size,
    library.equalGroupUnavailability(size, 1, P),
  ]);
  const checks = [];
  for (const parity of [1, 2]) {
    for (const size of SIZES.filter((_, index) => index % 4 === 0)) {
      if (size < DATA_FRAGMENTS + parity) continue;
      const groups = groupsOf(library, size, DATA_FRAGMENTS + parity);
      const model = modelled(library, groups, parity);
      // Too rare for so many draws. Not by what was found: that would leave out the low ones.
      if (model * DRAWS < 30) continue;
      checks.push({ parity, size, model, ...simulated(library, groups, parity, size) });
    }
  }
  return { fixed, widening, checks };
}

/** H2: volumes that grow under different rules; what they write for it and what room they have left for data. */
export function growth(library) {
  const rules = [
    { name: 'migrate only, 4+1', first: 1, parityAt: () => 1 },
    { name: 'replicated from the start, 4+3', first: 3, parityAt: () => 3 },
    { name: 'replicate at every step while possible', first: 1, parityAt: (step) => Math.min(3, 1 + step) },
    { name: 'alternate: a parity more when due, k = 4', first: 1, whenDue: true },
    { name: 'the planner, k free', first: 1 },
  ];
  return rules.map((rule) => ({ name: rule.name, steps: grow(library, rule) }));
}

/** The cheapest way to have 4 + parity: one that meets the target, or else about as available as can be. */
function cheapestOf(candidates, parity) {
  const fitting = candidates.filter(
    ({ layout, fits }) =>
      fits && layout.dataFragments === DATA_FRAGMENTS && layout.parityFragments === parity,
  );
  const best = Math.min(...fitting.map(({ unavailability }) => unavailability));
  return fitting
    .filter(({ unavailability }) => unavailability <= Math.max(TARGET, 1.5 * best))
    .reduce((cheapest, each) => (each.cost < cheapest.cost ? each : cheapest));
}

function chooseBy(rule, plan, step, parity) {
  if (rule.parityAt !== undefined) return cheapestOf(plan.candidates, rule.parityAt(step));
  if (!rule.whenDue) return plan.choice;
  const same = cheapestOf(plan.candidates, parity);
  return same.unavailability <= TARGET ? same : cheapestOf(plan.candidates, parity + 1);
}

function grow(library, rule) {
  const start = 7;
  let layout = {
    dataFragments: DATA_FRAGMENTS,
    parityFragments: rule.first,
    groups: [Array.from({ length: start }, (_, index) => index + 1)],
  };
  let nodes = layout.groups[0].map((id) => planNode(id, P));
  const steps = [];
  let writtenBytes = 0;
  let replications = 0;
  for (const size of SIZES.filter((each) => each >= start)) {
    const newcomers = Array.from({ length: size - nodes.length }, (_, index) =>
      planNode(nodes.length + index + 1, P),
    );
    const policy = policyFor(library.DEFAULT_POLICY, {});
    const request = { nodes, classes: fillLayout(layout), current: layout, policy };
    const plan = library.planLayouts(request, { kind: 'join', nodes: newcomers });
    const choice = chooseBy(rule, plan, steps.length, layout.parityFragments);
    if (choice.layout.parityFragments !== layout.parityFragments) replications++;
    writtenBytes += choice.writeBytes;
    nodes = [...nodes, ...newcomers];
    layout = choice.layout;
    const rawBytes = nodes.reduce((sum, node) => sum + node.capacityBytes, 0);
    steps.push({
      size,
      layout: `${layout.dataFragments}+${layout.parityFragments}`,
      groups: layout.groups.length,
      actions: choice.actions,
      unavailability: choice.unavailability,
      writtenBytes,
      writtenPerCapacity: writtenBytes / rawBytes,
      usableShare: choice.usableBytes / rawBytes,
      replications,
    });
  }
  return steps;
}

/** H3: the least size, in groups of k + m, at which each parity is not enough any more, and the ratio that the first-order model foretells. */
export function replicationSizes(library) {
  const rows = [];
  for (const dataFragments of [1, 4, 8]) {
    for (const p of [0.01, 0.001]) {
      const due = [0, 1, 2, 3].map((parity) => {
        const width = dataFragments + parity;
        const one = library.equalGroupUnavailability(width, parity, p);
        // q groups: 1 - (1 - G)^q <= target.
        return (width * Math.log1p(-TARGET)) / Math.log1p(-one);
      });
      for (const parity of [1, 2]) {
        rows.push({
          dataFragments,
          p,
          parity,
          enoughUpTo: due[parity],
          nextUpTo: due[parity + 1],
          ratio: due[parity + 1] / due[parity],
          foretold: library.growthUntilNextParity(dataFragments + parity, parity, p),
        });
      }
    }
  }
  return rows;
}
