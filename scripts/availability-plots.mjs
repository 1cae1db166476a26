/**
 * `node scripts/availability-plots.mjs`: the experiments of docs/availability.md. Writes docs/plots/availability-*.svg and the numbers beside them; the
 * same sources give the same bytes.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { runClosedLoop } from './availability/closed-loop.mjs';
import { growth, migrationAlone, replicationSizes } from './availability/hypotheses.mjs';
import { DATA_FRAGMENTS, P, TARGET } from './availability/volumes.mjs';
import { root, setUp } from './setup.mjs';
import { drawChart } from './svg-plot.mjs';

const SEED = 1;
const output = join(root, 'docs', 'plots');
const sizeAxis = {
  title: 'nodes',
  min: 5,
  max: 1000,
  log: true,
  ticks: [5, 10, 20, 50, 100, 200, 500, 1000],
};
const unavailabilityAxis = (min, max) => ({ title: 'unavailability, 1 - A', min, max, log: true });
const targetLine = (from) => ({
  name: `target: ${(100 * (1 - TARGET)).toFixed(1)}% available`,
  points: [
    [from, TARGET],
    [1000, TARGET],
  ],
  dashed: true,
  colour: '#999',
});
const short = (value) => Number(value.toPrecision(3)).toString();
const rows = (head, lines) =>
  [head, head.map(() => '---'), ...lines].map((cells) => `| ${cells.join(' | ')} |`).join('\n');

setUp({ project: 'src/replicator' });
const library = { ...(await import('../dist/base/prng.js')) };
for (const part of [
  'model/availability',
  'model/measured',
  'plan/groups',
  'plan/hysteresis',
  'plan/planner',
  'plan/policy',
]) {
  Object.assign(library, await import(`../dist/replicator/${part}.js`));
}
mkdirSync(output, { recursive: true });
const sections = [];

const alone = migrationAlone(library);
writeFileSync(
  join(output, 'availability-migration.svg'),
  drawChart({
    title: `H1: migration alone lowers A (p = ${P})`,
    x: sizeAxis,
    y: unavailabilityAxis(1e-7, 1),
    lines: [
      ...alone.fixed.map(({ parity, points }) => ({ name: `groups of ${DATA_FRAGMENTS}+${parity}`, points })),
      { name: 'one stripe over all nodes, one parity', points: alone.widening },
      {
        name: 'simulated, 95% confidence',
        points: alone.checks.map(({ size, share, low, high }) => [size, share, low, high]),
        line: false,
        marks: true,
        colour: '#000',
      },
      targetLine(5),
    ],
  }),
);
sections.push(
  '## H1: simulation against the model',
  rows(
    ['parity', 'nodes', 'model', 'simulated', '95% from', 'to'],
    alone.checks.map(({ parity, size, model, share, low, high }) => [
      parity,
      size,
      short(model),
      short(share),
      short(low),
      short(high),
    ]),
  ),
);

const grown = growth(library);
const growthLines = (value) =>
  grown.map(({ name, steps }) => ({ name, points: steps.map((step) => [step.size, value(step)]) }));
writeFileSync(
  join(output, 'availability-growth.svg'),
  drawChart({
    title: 'H2: alternating keeps the target',
    x: sizeAxis,
    y: unavailabilityAxis(1e-7, 1),
    lines: [...growthLines((step) => step.unavailability), targetLine(7)],
  }),
);
writeFileSync(
  join(output, 'availability-growth-space.svg'),
  drawChart({
    title: 'H2: and leaves more room for data',
    x: sizeAxis,
    y: { title: 'usable share of the capacity', min: 0.5, max: 0.9, ticks: [0.5, 0.6, 0.7, 0.8, 0.9] },
    lines: growthLines((step) => step.usableShare),
  }),
);
sections.push(
  '## H2: growing from 7 to 1,000 nodes',
  rows(
    [
      'rule',
      'sizes that meet the target',
      'worst 1 - A',
      'bytes written / capacity',
      'mean usable share',
      'changes of parity',
    ],
    grown.map(({ name, steps }) => [
      name,
      `${steps.filter((step) => step.unavailability <= TARGET).length} of ${steps.length}`,
      short(Math.max(...steps.map((step) => step.unavailability))),
      short(steps.at(-1).writtenPerCapacity),
      short(steps.reduce((sum, step) => sum + step.usableShare, 0) / steps.length),
      steps.at(-1).replications,
    ]),
  ),
  'What the planner (the last rule) did:',
  rows(
    ['nodes', 'layout', 'groups', 'actions', '1 - A'],
    grown
      .at(-1)
      .steps.map(({ size, layout, groups, actions, unavailability }) => [
        size,
        layout,
        groups,
        actions.join(', '),
        short(unavailability),
      ]),
  ),
);

const due = replicationSizes(library);
sections.push(
  '## H3: sizes at which the next parity fragment is due',
  rows(
    ['k', 'p', 'm', 'm is enough up to', 'm + 1 is enough up to', 'ratio', '(m + 2) / (n p)'],
    due.map((row) => [
      row.dataFragments,
      row.p,
      row.parity,
      short(row.enoughUpTo),
      short(row.nextUpTo),
      short(row.ratio),
      short(row.foretold),
    ]),
  ),
);

const { epochs, changes } = runClosedLoop(library, SEED);
const names = epochs[0].shares.map(({ name }) => name);
writeFileSync(
  join(output, 'availability-closed-loop.svg'),
  drawChart({
    title: 'Measured: fixed layouts and the closed loop (nodes three times worse from 50 to 220)',
    x: sizeAxis,
    y: unavailabilityAxis(1e-6, 1),
    lines: [
      ...names.map((name, index) => ({
        name,
        points: epochs.map(({ size, shares }) => [size, shares[index].share]),
        marks: true,
      })),
      targetLine(7),
    ],
  }),
);
sections.push(
  '## The closed loop',
  rows(
    ['nodes', 'bad time', 'hours', ...names, 'layout at the end'],
    epochs.map(({ size, bad, hours, shares, layout }) => [
      size,
      bad ? 'yes' : '',
      hours,
      ...shares.map(({ share }) => short(share)),
      layout,
    ]),
  ),
  `Met the target: ${names
    .map((name, index) => `${name} ${epochs.filter(({ shares }) => shares[index].share <= TARGET).length}`)
    .join(', ')} of ${epochs.length} sizes.`,
  `Changes of layout: ${changes.length}, of which ${changes.filter(({ why }) => why === 'restores-target').length} to restore the target.`,
);

writeFileSync(
  join(output, 'availability-numbers.md'),
  `# Numbers behind docs/availability.md\n\nWritten by \`node scripts/availability-plots.mjs\`.\n\n${sections.join('\n\n')}\n`,
);
