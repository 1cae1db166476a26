/**
 * Makes a clone runnable: system packages, node_modules, native code, compiled TypeScript, and that in a bundle. Each step is skipped when
 * what it makes is up to date, so this runs before every `npm start`, `npm test` and `npm run bench`.
 *
 * Plain Node without dependencies: it runs when nothing is installed yet. Steps print one line when they have something
 * to do, and their whole output only when they fail.
 */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  accessSync,
  constants,
  existsSync,
  mkdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = dirname(dirname(fileURLToPath(import.meta.url)));
const MINIMUM_NODE = [20, 19];
const EXIT_CONFIGURATION = 78;
/** What is compiled with them has the command in it. */
const COMMAND_PROJECTS = ['.', 'src/cli'];
/** Administrators' programs are there for everyone, but not on everyone's path. */
const SYSTEM_PATH = [process.env.PATH, '/usr/sbin', '/sbin'].join(delimiter);

/** Debian packages by the command, file or shared library that shows they are there. */
const runtimePackages = [
  { command: 'python3', name: 'python3' },
  { command: 'make', name: 'make' },
  { command: 'g++', name: 'g++' },
  { command: 'fusermount3', name: 'fuse3' },
];
const testPackages = [
  { command: 'git', name: 'git' },
  { command: 'fio', name: 'fio' },
  { command: 'rsync', name: 'rsync' },
  { command: 'sqlite3', name: 'sqlite3' },
  { command: 'etcd', name: 'etcd-server' },
  { command: 'getfattr', name: 'attr' },
  { command: 'setfacl', name: 'acl' },
  { file: '/usr/include/isa-l.h', name: 'libisal-dev' },
  { library: 'libfuse.so.2', name: 'libfuse2' },
];

function onPath(command) {
  for (const directory of SYSTEM_PATH.split(delimiter)) {
    try {
      accessSync(join(directory, command), constants.X_OK);
      return true;
    } catch {
      // Not here: look in the next directory.
    }
  }
  return false;
}

function isPresent({ command, file, library }) {
  if (command !== undefined) return onPath(command);
  if (file !== undefined) return existsSync(file);
  const known = spawnSync('ldconfig', ['-p'], {
    encoding: 'utf8',
    env: { ...process.env, PATH: SYSTEM_PATH },
  });
  return known.stdout?.includes(library) ?? false;
}

function stop(message) {
  process.stderr.write(`setup: ${message}\n`);
  process.exit(EXIT_CONFIGURATION);
}

function say(message) {
  process.stderr.write(`setup: ${message}\n`);
}

function run(title, command, args, options = {}) {
  say(title);
  const result = spawnSync(command, args, {
    cwd: root,
    encoding: 'utf8',
    maxBuffer: 64 * 1024 * 1024,
    ...options,
  });
  if (result.status === 0) return;
  process.stderr.write(`${result.stdout ?? ''}${result.stderr ?? ''}`);
  stop(
    `${title} failed: \`${command} ${args.join(' ')}\` ${result.error?.message ?? `ended with ${result.status}`}`,
  );
}

function checkNode() {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  const [wantedMajor = 0, wantedMinor = 0] = MINIMUM_NODE;
  if (major < wantedMajor || (major === wantedMajor && minor < wantedMinor)) {
    stop(`Node ${MINIMUM_NODE.join('.')} or newer is needed and this is ${process.versions.node}`);
  }
  if (process.platform !== 'linux') stop('tartanfs runs on Linux only');
}

function installPackages(packages) {
  const missing = packages.filter((wanted) => !isPresent(wanted)).map((wanted) => wanted.name);
  if (missing.length === 0) return;
  const install = `apt-get install -y --no-install-recommends ${missing.join(' ')}`;
  if (!onPath('apt-get')) {
    stop(`these Debian packages (or what your system calls them) are needed: ${missing.join(' ')}`);
  }
  if (process.getuid() !== 0) stop(`system packages are missing; run: sudo ${install}`);
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  run('updating the list of system packages', 'apt-get', ['update', '-q'], { env });
  run(`installing ${missing.join(' ')}`, 'apt-get', install.split(' ').slice(1), { env });
}

function installModules() {
  const lock = createHash('sha256')
    .update(readFileSync(join(root, 'package-lock.json')))
    .digest('hex');
  const stamp = join(root, 'node_modules', '.tartan-lock');
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === lock) return;
  run('installing node modules', 'npm', ['ci', '--no-audit', '--no-fund', '--loglevel=error']);
  writeFileSync(stamp, lock);
}

function buildNative() {
  const script = join(root, 'scripts', 'build-native.mjs');
  if (!existsSync(join(root, 'native-bindings', 'build'))) say('compiling the native code');
  const result = spawnSync(process.execPath, [script], { cwd: root, encoding: 'utf8' });
  if (result.status === 0) return;
  process.stderr.write(`${result.stdout}${result.stderr}`);
  stop('building the native code failed');
}

function compile(project) {
  if (!existsSync(join(root, 'dist'))) say('compiling the TypeScript');
  const tsc = join(root, 'node_modules', 'typescript', 'bin', 'tsc');
  const result = spawnSync(process.execPath, [tsc, '-b', project], { cwd: root, encoding: 'utf8' });
  if (result.status === 0) return;
  process.stderr.write(`${result.stdout}${result.stderr}`);
  stop('compiling the TypeScript failed');
}

function bundle() {
  const script = join(root, 'scripts', 'bundle.mjs');
  const result = spawnSync(process.execPath, [script], { cwd: root, encoding: 'utf8' });
  if (result.status === 0) return;
  process.stderr.write(`${result.stdout}${result.stderr}`);
  stop('bundling the command failed');
}

/** `npx tartan` finds the command of this clone. */
function linkCommand() {
  const link = join(root, 'node_modules', '.bin', 'tartan');
  if (existsSync(link)) return;
  mkdirSync(dirname(link), { recursive: true });
  symlinkSync(join('..', '..', 'bin', 'tartan.js'), link);
}

export function setUp({ forTests = false, project = forTests ? '.' : 'src/cli' } = {}) {
  checkNode();
  installPackages(forTests ? [...runtimePackages, ...testPackages] : runtimePackages);
  installModules();
  buildNative();
  compile(project);
  if (COMMAND_PROJECTS.includes(project)) bundle();
  linkCommand();
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  setUp({ forTests: process.argv.includes('--tests') });
}
