/**
 * `node scripts/cleaning-plots.mjs`: the experiments of docs/cleaning.md. Writes docs/plots/cleaning-*.svg and prints the tables; the same sources
 * give the same bytes.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { root, setUp } from './setup.mjs';
import { drawChart } from './svg-plot.mjs';

const SEGMENTS = 400;
const BLOCKS_PER_SEGMENT = 256;
const UTILISATIONS = [0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95];
const WARM_UP_ROUNDS = 6;
const MEASURED_ROUNDS = 6;

setUp({ project: 'src/cleaner' });
const { Prng } = await import('../dist/base/prng.js');
const { modelLog } = await import('../dist/cleaner/model/log-model.js');
const { hotCold, uniform, zipf } = await import('../dist/cleaner/model/updates.js');
const { byLifespan, hotAndCold, together } = await import('../dist/cleaner/separation.js');
const { costBenefit, greedy } = await import('../dist/cleaner/victims.js');

const policies = [
  { name: 'greedy, one log', policy: greedy, separation: together },
  { name: 'greedy, hot and cold apart', policy: greedy, separation: hotAndCold },
  { name: 'cost-benefit, hot and cold apart', policy: costBenefit, separation: hotAndCold },
  { name: 'cost-benefit, by lifespan', policy: costBenefit, separation: byLifespan },
];
const patterns = [
  { name: 'uniform', title: 'uniform updates', draw: uniform },
  { name: 'zipf', title: 'Zipf 0.99 updates', draw: (random, blocks) => zipf(random, blocks, 0.99) },
  {
    name: 'hot-cold',
    title: '90 % of updates to 10 % of the blocks',
    draw: (random, blocks) => hotCold(random, blocks, 0.9, 0.1),
  },
];

function measure({ policy, separation }, draw, utilisation) {
  const blocks = Math.floor(SEGMENTS * BLOCKS_PER_SEGMENT * utilisation);
  return modelLog({
    segments: SEGMENTS,
    blocksPerSegment: BLOCKS_PER_SEGMENT,
    utilisation,
    policy,
    separation: separation(),
    nextBlock: draw(Prng.named(1, 0), blocks),
    warmUpRounds: WARM_UP_ROUNDS,
    measuredRounds: MEASURED_ROUNDS,
  }).writeAmplification;
}

/** Cleaning segments that are all as full as the volume: 1 / (1 - u) written for each block. LFS's write cost 2 / (1 - u) also counts the reading. */
const lfs = UTILISATIONS.map((utilisation) => [utilisation, 1 / (1 - utilisation)]);

mkdirSync(join(root, 'docs', 'plots'), { recursive: true });
for (const { name, title, draw } of patterns) {
  const lines = policies.map((one) => ({
    name: one.name,
    marks: true,
    points: UTILISATIONS.map((utilisation) => [utilisation, measure(one, draw, utilisation)]),
  }));
  writeFileSync(
    join(root, 'docs', 'plots', `cleaning-${name}.svg`),
    drawChart({
      title: `Write amplification, ${title}`,
      x: { title: 'share of the volume that is live', min: 0.5, max: 0.95, ticks: UTILISATIONS },
      y: {
        title: 'blocks written to the log for each block of a user',
        min: 1,
        max: 24,
        log: true,
        ticks: [1, 2, 3, 5, 10, 20],
      },
      lines: [
        ...lines,
        { name: 'LFS 1991, no variance: 1 / (1 - u)', points: lfs, dashed: true, colour: '#999' },
      ],
    }),
  );
  process.stdout.write(
    `\n### ${title}\n\n| live | ${policies.map((one) => one.name).join(' | ')} | LFS, no variance |\n`,
  );
  process.stdout.write(`|---:|${'---:|'.repeat(policies.length + 1)}\n`);
  UTILISATIONS.forEach((utilisation, row) => {
    const cells = [...lines.map(({ points }) => points[row][1]), lfs[row][1]];
    process.stdout.write(`| ${utilisation} | ${cells.map((cell) => cell.toFixed(2)).join(' | ')} |\n`);
  });
}
