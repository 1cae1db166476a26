/**
 * `npm test`: makes the clone runnable with all that tests need, then lint, types, every test, and simulated runs. `--node24` runs the unit tests once more on
 * Node 24. The last line counts: `N passed, N failed`.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { root, setUp } from './setup.mjs';

const args = process.argv.slice(2);
const alsoNode24 = args.includes('--node24');
/** They go round all scenarios. */
const SIMULATED_RUNS = 300;
const results = join(root, 'node_modules', '.cache', 'tartan-test');

setUp({ forTests: true });
mkdirSync(results, { recursive: true });

let passed = 0;
let failed = 0;

function check(title, command, commandArgs) {
  process.stdout.write(`\n== ${title}\n`);
  const { status } = spawnSync(command, commandArgs, { cwd: root, stdio: 'inherit' });
  if (status === 0) passed += 1;
  else failed += 1;
}

function runVitest(title, node, project) {
  process.stdout.write(`\n== ${title}\n`);
  const report = join(results, `${project}.json`);
  rmSync(report, { force: true });
  const vitest = join(root, 'node_modules', 'vitest', 'vitest.mjs');
  const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${report}`];
  const { status } = spawnSync(node, [vitest, 'run', '--project', project, ...reporters], {
    cwd: root,
    stdio: 'inherit',
  });
  if (existsSync(report)) {
    const counts = JSON.parse(readFileSync(report, 'utf8'));
    passed += counts.numPassedTests;
    failed += counts.numFailedTests;
    // A file that does not load has no failed test of its own, and an error outside a test fails the run only.
    if (status !== 0 && counts.numFailedTests === 0) failed += Math.max(1, counts.numFailedTestSuites);
  } else failed += 1;
}

function node24() {
  const directory = join(root, 'node_modules', '.cache', 'node24');
  const binary = join(directory, 'node_modules', 'node', 'bin', 'node');
  if (!existsSync(binary)) {
    mkdirSync(directory, { recursive: true });
    const install = ['install', '--prefix', directory, '--no-save', '--no-audit', '--no-fund', 'node@24'];
    spawnSync('npm', install, { cwd: directory, stdio: 'inherit' });
  }
  return binary;
}

const bin = (name) => join(root, 'node_modules', '.bin', name);
check('lint and format', bin('biome'), ['check']);
runVitest('unit and conformance tests', process.execPath, 'unit');
if (alsoNode24) runVitest('unit and conformance tests on Node 24', node24(), 'unit');
const simulator = join(root, 'dist', 'simulator', 'main.js');
const jobs = String(availableParallelism());
check(`${SIMULATED_RUNS} simulated runs`, process.execPath, [
  simulator,
  ...['--seeds', String(SIMULATED_RUNS), '--jobs', jobs],
]);
runVitest('end-to-end tests', process.execPath, 'e2e');

process.stdout.write(`\n${passed} passed, ${failed} failed\n`);
process.exit(failed === 0 ? 0 : 1);
