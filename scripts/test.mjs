/**
 * `npm test`: makes the clone runnable with all that tests need, then lint, types, every test, and simulated runs. `--node24` runs once more, on Node 24,
 * the tests of all that touches the runtime, and some simulated runs. The last line counts: `N passed, N failed`.
 *
 * Tests wait for processes, disks and timers for a good part of their time, and simulated runs for nothing: these go on beside the tests, in the time
 * that is left over, and say what came of them behind the last test.
 */
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { runInIdleTime } from './idle-time.mjs';
import { root, setUp } from './setup.mjs';

const args = process.argv.slice(2);
const alsoNode24 = args.includes('--node24');
/** They go round all scenarios. */
const SIMULATED_RUNS = 300;
/**
 * What another version of Node may break: native addons, sockets, files, processes, buffers, and what formats make of them. Everything else meets the machine only
 * through the platform, whose tests are among these; that its JavaScript means the same is shown by simulated runs, which go through nearly all of it.
 */
const RUNTIME_TESTS = [
  'test/conformance',
  ...['native', 'platform', 'fuse', 'storage', 'format', 'cluster', 'cli'].map(
    (folder) => `test/unit/${folder}`,
  ),
];
const NODE24_SIMULATED_RUNS = 30;
const results = join(root, 'node_modules', '.cache', 'tartan-test');

setUp({ forTests: true });
mkdirSync(results, { recursive: true });

let passed = 0;
/** What failed and why, said once more at the end: it may have scrolled past long before. */
const failures = [];
const LONGEST_REASON_CHARACTERS = 4_000;

/** Shows what the command prints while it runs. Resolves with its exit status, or what kept it from running, and the end of that. */
function run(command, args) {
  const child = spawn(command, args, { cwd: root, stdio: ['inherit', 'pipe', 'pipe'] });
  let end = '';
  for (const [from, to] of [
    [child.stdout, process.stdout],
    [child.stderr, process.stderr],
  ]) {
    from.on('data', (bytes) => {
      to.write(bytes);
      end = (end + bytes).slice(-LONGEST_REASON_CHARACTERS);
    });
  }
  return new Promise((resolve) => {
    child.once('error', (error) => resolve({ status: error.message, end }));
    child.once('close', (code, signal) => resolve({ status: code ?? signal, end }));
  });
}

/** What counts as one test, whatever it looks at. */
function conclude(title, { status, output }) {
  process.stdout.write(`\n== ${title}\n${output}`);
  if (status === 0) passed += 1;
  else failures.push({ title, reason: `ended with ${status}\n${output.slice(-LONGEST_REASON_CHARACTERS)}` });
}

function lint() {
  const { status, stdout, stderr } = spawnSync(bin('biome'), ['check'], { cwd: root, encoding: 'utf8' });
  conclude('lint and format', { status, output: `${stdout}${stderr}` });
}

async function runVitest(title, node, project, folders = []) {
  process.stdout.write(`\n== ${title}\n`);
  const report = join(results, `${project}.json`);
  rmSync(report, { force: true });
  const vitest = join(root, 'node_modules', 'vitest', 'vitest.mjs');
  const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${report}`];
  const args = [vitest, 'run', '--project', project, ...folders, ...reporters];
  const { status, end } = await run(node, args);
  if (!existsSync(report)) {
    failures.push({ title, reason: `ended with ${status} and without a report\n${end}` });
    return;
  }
  const { numPassedTests, testResults } = JSON.parse(readFileSync(report, 'utf8'));
  passed += numPassedTests;
  const before = failures.length;
  for (const file of testResults) {
    const failedTests = file.assertionResults.filter((result) => result.status === 'failed');
    for (const { fullName, failureMessages } of failedTests) {
      const reason = failureMessages.join('\n').slice(0, LONGEST_REASON_CHARACTERS);
      failures.push({ title: `${title}: ${file.name}: ${fullName}`, reason });
    }
    // A file that does not load has no failed test of its own.
    if (file.status === 'failed' && failedTests.length === 0)
      failures.push({ title: `${title}: ${file.name}`, reason: file.message });
  }
  // An error outside a test fails the run only.
  if (status !== 0 && failures.length === before)
    failures.push({ title, reason: `ended with ${status}\n${end}` });
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
const simulator = join(root, 'dist', 'simulator', 'main.js');
const jobs = String(availableParallelism());

async function simulate(title, node, runs) {
  const args = [simulator, '--seeds', String(runs), '--jobs', jobs];
  return { title: `${runs} ${title}`, ...(await runInIdleTime(node, args, { cwd: root })) };
}

/** One after the other: there are as many processes as processors in each. */
async function simulateAll(otherNode) {
  const done = [await simulate('simulated runs', process.execPath, SIMULATED_RUNS)];
  if (otherNode !== undefined) {
    done.push(await simulate('simulated runs on Node 24', otherNode, NODE24_SIMULATED_RUNS));
  }
  return done;
}

lint();
const otherNode = alsoNode24 ? node24() : undefined;
const simulated = simulateAll(otherNode);
await runVitest('unit and conformance tests', process.execPath, 'unit');
if (otherNode !== undefined) {
  await runVitest('tests of what touches the runtime, on Node 24', otherNode, 'unit', RUNTIME_TESTS);
}
await runVitest('end-to-end tests', process.execPath, 'e2e');
for (const { title, ...outcome } of await simulated) conclude(title, outcome);

for (const { title, reason } of failures) {
  process.stdout.write(`\n== failed: ${title}\n${reason}\n`);
}
process.stdout.write(`\n${passed} passed, ${failures.length} failed\n`);
process.exit(failures.length === 0 ? 0 : 1);
