/**
 * A volume that grows from 7 to 1,000 nodes, whose nodes go through a bad time on the way: nodes come and go in virtual time, fixed layouts and the
 * replicator's live through the same failures, and the share of time in which some data cannot be read is counted for each.
 *
 * The replicator knows only what it sees: p of each node from its times up and down, newcomers believed to be like the others. A layout that it
 * chooses is in force from the moment it is decided; moving data takes no time here.
 */
import { DATA_FRAGMENTS, fillLayout, HOUR_MS, P, planNode, policyFor, SIZES } from './volumes.mjs';

const MEAN_DOWN_HOURS = 1;
/** In the bad time nodes are down so many times longer. */
const BAD_FACTOR = 3;
const BAD_SIZES = [50, 220];
/** Plans in an epoch, besides those for which a choice that waits is looked at again. */
const PLANS = 20;
/** Node-hours in each epoch: enough for tens of thousands of failures. */
const NODE_HOURS = 4_000_000;
const HOURS = [12_000, 100_000];

/** Half of the nodes fail three times as often as the others. */
const unavailabilityOf = (id, bad) => (id % 2 === 0 ? 0.5 : 1.5) * P * (bad ? BAD_FACTOR : 1);

/** A layout's dead groups, kept while nodes come and go. */
class LayoutWatch {
  constructor(name) {
    this.name = name;
    this.deadHours = 0;
  }

  use(layout, down) {
    this.layout = layout;
    this.groupOf = new Map(layout.groups.flatMap((group, index) => group.map((id) => [id, index])));
    this.downIn = new Int32Array(layout.groups.length);
    this.dead = 0;
    for (const id of down) this.change(id, 1);
  }

  change(id, by) {
    const group = this.groupOf.get(id);
    if (group === undefined) return;
    const before = this.downIn[group] > this.layout.parityFragments;
    this.downIn[group] += by;
    const after = this.downIn[group] > this.layout.parityFragments;
    this.dead += Number(after) - Number(before);
  }

  pass(hours) {
    if (this.dead > 0) this.deadHours += hours;
  }
}

export function runClosedLoop(library, seed) {
  const dice = library.Prng.named(seed, 0);
  const fixed = [1, 2, 3].map((parity) => ({ parity, watch: new LayoutWatch(`fixed 4+${parity}`) }));
  const loop = new LayoutWatch('replicator');
  const nodes = new Map();
  const policy = policyFor(library.DEFAULT_POLICY, { quietMs: 24 * HOUR_MS });
  const state = {
    library,
    dice,
    policy,
    nodes,
    fixed,
    loop,
    hour: 0,
    memory: library.FRESH_MEMORY,
    changes: [],
  };
  const epochs = [];
  for (const size of SIZES.filter((each) => each >= DATA_FRAGMENTS + 3)) {
    const bad = size >= BAD_SIZES[0] && size <= BAD_SIZES[1];
    enlarge(state, size, bad);
    for (const watch of watches(state)) watch.deadHours = 0;
    const hours = Math.round(Math.min(HOURS[1], Math.max(HOURS[0], NODE_HOURS / size)));
    liveThrough(state, hours);
    epochs.push({
      size,
      bad,
      hours,
      shares: watches(state).map(({ name, deadHours }) => ({ name, share: deadHours / hours })),
      layout: `${loop.layout.dataFragments}+${loop.layout.parityFragments}`,
    });
  }
  return { epochs, changes: state.changes };
}

const watches = ({ fixed, loop }) => [...fixed.map(({ watch }) => watch), loop];
const downNodes = ({ nodes }) => [...nodes.values()].filter((node) => !node.up).map(({ id }) => id);

function enlarge(state, size, bad) {
  const { library, nodes, fixed, loop, hour } = state;
  for (let id = nodes.size + 1; id <= size; id++) {
    nodes.set(id, { id, up: true, sinceHour: hour, record: library.NOTHING_SEEN });
  }
  for (const node of nodes.values()) {
    const p = unavailabilityOf(node.id, bad);
    node.meanDown = MEAN_DOWN_HOURS * (bad ? BAD_FACTOR : 1);
    node.meanUp = (node.meanDown * (1 - p)) / p;
    schedule(state, node);
  }
  const all = [...nodes.keys()].map((id) => planNode(id, P));
  for (const { parity, watch } of fixed) {
    const width = DATA_FRAGMENTS + parity;
    const groups = library.formGroups(all, watch.layout?.groups ?? [], {
      least: width,
      most: 2 * width - 1,
      newcomers: 'join',
    });
    watch.use({ dataFragments: DATA_FRAGMENTS, parityFragments: parity, groups }, downNodes(state));
  }
  if (loop.layout === undefined) loop.use(fixed[0].watch.layout, downNodes(state));
}

/** Exponential times have no memory: drawing anew when the rates change is exact. */
function schedule(state, node) {
  node.nextHour = state.hour - (node.up ? node.meanUp : node.meanDown) * Math.log(1 - state.dice.unit());
}

function liveThrough(state, hours) {
  const endHour = state.hour + hours;
  const heap = [...state.nodes.values()].sort((a, b) => a.nextHour - b.nextHour);
  let planHour = state.hour;
  while (state.hour < endHour) {
    const next = heap[0];
    const untilHour = Math.min(next.nextHour, planHour, endHour);
    for (const watch of watches(state)) watch.pass(untilHour - state.hour);
    state.hour = untilHour;
    if (untilHour === planHour) {
      const waitHours = plan(state) / HOUR_MS;
      planHour += waitHours > 0 ? waitHours : hours / PLANS;
    } else if (untilHour === next.nextHour) {
      change(state, next);
      sink(heap);
    }
  }
}

function change(state, node) {
  const { library, hour } = state;
  const durationMs = (hour - node.sinceHour) * HOUR_MS;
  node.record = library.observe(node.record, { state: node.up ? 'up' : 'down', durationMs, ended: true });
  node.sinceHour = hour;
  node.up = !node.up;
  for (const watch of watches(state)) watch.change(node.id, node.up ? -1 : 1);
  schedule(state, node);
}

/** The root got a later time: a binary heap by time. */
function sink(heap) {
  let index = 0;
  for (;;) {
    const left = 2 * index + 1;
    if (left >= heap.length) return;
    const right = left + 1;
    const child = right < heap.length && heap[right].nextHour < heap[left].nextHour ? right : left;
    if (heap[index].nextHour <= heap[child].nextHour) return;
    [heap[index], heap[child]] = [heap[child], heap[index]];
    index = child;
  }
}

/** Milliseconds until a choice that waits is due; 0 when none does. */
function plan(state) {
  const { library, nodes, loop, policy, hour } = state;
  const prior = library.fleetPrior([...nodes.values()].map(({ record }) => record));
  const measured = [...nodes.values()].map((node) => {
    const durationMs = (hour - node.sinceHour) * HOUR_MS;
    const interval = { state: node.up ? 'up' : 'down', durationMs, ended: false };
    return planNode(node.id, library.measureUnavailability(library.observe(node.record, interval), prior).p);
  });
  const request = { nodes: measured, classes: fillLayout(loop.layout), current: loop.layout, policy };
  const answer = library.planLayouts(request);
  const decision = library.decide(state.memory, answer, hour * HOUR_MS, policy);
  state.memory = decision.memory;
  if (decision.verdict !== 'act') return decision.waitMs;
  const { layout, actions } = answer.choice;
  state.changes.push({ size: nodes.size, actions, why: answer.why, parity: layout.parityFragments });
  loop.use(layout, downNodes(state));
  return 0;
}
