import { readOptions } from './options.mjs';
import { setUp } from './setup.mjs';

const usage = `usage: node --expose-gc scripts/planning-bench.mjs [--nodes 1000] [--segments 10000000]

How long planning takes in a volume of so many nodes and segments, and how much memory what it needs takes: the index of which segments lie where,
the choice of a layout after a node has joined, left, been lost or got another label, and the next moves for even use and off a node. Nothing is
stored: the planner and the index are fed with what such a volume has.

Prints a table; times are those of the processor, so that others on the machine do not count.
`;
const values = readOptions(usage, {
  nodes: { type: 'string', default: '1000' },
  segments: { type: 'string', default: '10000000' },
});
const nodeCount = Number(values.nodes);
const segmentCount = Number(values.segments);
const GIB = 2 ** 30;
const CAPACITY_BYTES = 1024 * GIB;
const WIDTH = { dataFragments: 8, parityFragments: 2 };
const FRAGMENT_BLOCKS = 128;
const BATCH = 16;

setUp({ project: 'src/replicator' });
const { formGroups } = await import('../dist/replicator/plan/groups.js');
const { planLayouts } = await import('../dist/replicator/plan/planner.js');
const { DEFAULT_POLICY } = await import('../dist/replicator/plan/policy.js');
const { SegmentPlaces } = await import('../dist/replicator/heal/segment-places.js');
const { classesByShape } = await import('../dist/replicator/adapt/request.js');
const { planEvenMoves, Uses } = await import('../dist/replicator/balance/balance-plan.js');
const { planSpreadMoves } = await import('../dist/replicator/balance/spread-plan.js');

const rows = [];

function timed(what, work) {
  const before = process.cpuUsage();
  const result = work();
  const { user, system } = process.cpuUsage(before);
  rows.push([what, `${((user + system) / 1e6).toFixed(2)} s`]);
  return result;
}

function heapMb() {
  globalThis.gc?.();
  return process.memoryUsage().heapUsed / 1e6;
}

const nodes = Array.from({ length: nodeCount }, (_, index) => ({
  ...{
    id: index + 1,
    domain: `rack${index % 40}`,
    capacityBytes: CAPACITY_BYTES,
    freeBytes: 0.6 * CAPACITY_BYTES,
  },
  ...{ unavailability: 0.0005 + 0.0001 * (index % 10), role: 'member' },
}));
const groups = formGroups(nodes, [], { least: 10, most: 19, newcomers: 'join' });

/** As rotation lays segments: on ten nodes in a row of a group's. */
const stripes = groups.flatMap((group) =>
  group.map((_, first) =>
    Array.from(
      { length: WIDTH.dataFragments + WIDTH.parityFragments },
      (_, at) => group[(first + at) % group.length],
    ),
  ),
);

const record = (segmentId) => ({
  ...{ segmentId, generation: 0, ...WIDTH, nodes: stripes[segmentId % stripes.length] },
  ...{ fragmentBlocks: FRAGMENT_BLOCKS, dataBlocks: WIDTH.dataFragments * FRAGMENT_BLOCKS },
  ...{ summaryBlocks: 0, liveBlocks: 900 },
});

const beforeMb = heapMb();
const places = new SegmentPlaces();
timed('taking all segments into the index', () => {
  for (let segmentId = 1; segmentId <= segmentCount; segmentId++) places.committed(record(segmentId));
});
const indexMb = heapMb() - beforeMb;
const classes = [...places.classes()];
rows.push([
  'memory of the index',
  `${indexMb.toFixed(0)} MB, ${((indexMb * 1e6) / segmentCount).toFixed(0)} bytes a segment, ${classes.length} classes`,
]);

timed('what the loss of a node means', () => places.count((id) => id !== 7));
timed('the most endangered segments', () =>
  places.endangered(
    24,
    (id) => id === 7,
    (id) => id !== 7,
    () => false,
  ),
);

const request = {
  nodes,
  classes: classes.map(({ nodes: on, dataFragments, segments, blocks }) => ({
    ...{ nodes: on, dataFragments, parityFragments: on.length - dataFragments },
    ...{ segments: segments.size, dataBytes: blocks * dataFragments * 4096 },
  })),
  current: { ...WIDTH, groups },
  policy: {
    ...DEFAULT_POLICY,
    targetUnavailability: 2e-5,
    backgroundBytesPerMs: 5e6,
    rebuildBytesPerMs: 2e7,
  },
};
const newcomer = { ...nodes[0], id: nodeCount + 1, freeBytes: CAPACITY_BYTES };
const events = [
  ['a layout after a node has joined', { kind: 'join', nodes: [newcomer] }],
  ['a layout after a node has left', { kind: 'leave', ids: [17] }],
  ['a layout after two nodes were lost', { kind: 'lost', ids: [40, 80] }],
  ['a layout after a label has changed', { kind: 'label', id: 17, domain: 'rack39' }],
];
for (const [what, event] of events) timed(what, () => planLayouts(request, event));
timed('the same as a running volume asks', () =>
  planLayouts({
    ...request,
    classes: classesByShape(classes),
    current: { ...WIDTH, groups: [nodes.map(({ id }) => id)] },
    grouping: 'one',
  }),
);
timed(`${BATCH} moves for even use after a node has joined`, () =>
  planEvenMoves(new Uses([...nodes, newcomer], classes), classes, () => false, BATCH),
);
timed(`${BATCH} moves apart after a label has changed`, () =>
  planSpreadMoves(
    nodes.map((node) => (node.id === 17 ? { ...node, domain: nodes[17].domain } : node)),
    classes,
    () => false,
    BATCH,
  ),
);
rows.push(['most memory of the process', `${(process.resourceUsage().maxRSS / 1024).toFixed(0)} MB`]);
for (const cells of rows) process.stdout.write(`| ${cells.join(' | ')} |\n`);
