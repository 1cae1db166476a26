/** What the experiments have in common: equal nodes, a target, sizes from 5 to 1,000. */
export const HOUR_MS = 3_600_000;
const GIB = 2 ** 30;
const CAPACITY_BYTES = 100 * GIB;
/** Half of the room is in use at every size: who brings nodes brings data. */
export const FILL = 0.5;
/** Workstations of the paper's time rather than servers: with a small p every size needs the same parity. */
export const P = 0.01;
export const TARGET = 1e-3;
export const DATA_FRAGMENTS = 4;

/** 5, then about a fifth more each time, up to 1,000. */
export const SIZES = (() => {
  const sizes = [5];
  while (sizes.at(-1) < 1000) sizes.push(Math.min(1000, Math.ceil(sizes.at(-1) * 1.2)));
  return sizes;
})();

export const planNode = (id, unavailability) => ({
  id,
  domain: `node ${id}`,
  capacityBytes: CAPACITY_BYTES,
  freeBytes: CAPACITY_BYTES * (1 - FILL),
  unavailability,
  role: 'member',
});

/** One class of segments for each group of a layout, data in proportion to the groups' nodes. */
export function fillLayout(layout, fill = FILL) {
  const width = layout.dataFragments + layout.parityFragments;
  return layout.groups.map((nodes) => {
    const dataBytes = (nodes.length * CAPACITY_BYTES * fill * layout.dataFragments) / width;
    return {
      nodes,
      dataFragments: layout.dataFragments,
      parityFragments: layout.parityFragments,
      segments: Math.ceil(dataBytes / (4 * 2 ** 20)),
      dataBytes,
    };
  });
}

export const policyFor = (defaults, fields) => ({
  ...defaults,
  targetUnavailability: TARGET,
  // Rates grow with the nodes; times play no part in these experiments.
  backgroundBytesPerMs: 1e6,
  rebuildBytesPerMs: 1e9,
  maxWidth: 10,
  ...fields,
});
