#!/usr/bin/env node
/**
 * Bundles dist/cli when what was compiled has changed since. A process of a volume then starts from twenty files instead of two hundred: that Node
 * finds, reads and links each by itself is a good part of what a start costs.
 *
 * A bundle is named by what it was made of (the compiler's build information, by content), and dist/tartan is a link to the one in force. So it
 * changes in one moment, whoever else runs this; processes that are running keep theirs, because the last one stays.
 */
import { createHash } from 'node:crypto';
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  symlinkSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const dist = join(root, 'dist');
const link = join(dist, 'tartan');
const PREFIX = '.bundle-';

function digest() {
  const hash = createHash('sha256');
  for (const name of ['package-lock.json', 'scripts/bundle.mjs']) hash.update(readFileSync(join(root, name)));
  const infos = join(dist, '.tsbuildinfo');
  for (const name of readdirSync(infos).sort()) hash.update(name).update(readFileSync(join(infos, name)));
  return hash.digest('hex').slice(0, 16);
}

function inForce() {
  return lstatSync(link, { throwIfNoEntry: false })?.isSymbolicLink() ? readlinkSync(link) : undefined;
}

/** Unless another was faster. */
function put(made, directory) {
  try {
    renameSync(made, directory);
  } catch (error) {
    if (error.code !== 'ENOTEMPTY' && error.code !== 'EEXIST') throw error;
    rmSync(made, { recursive: true });
  }
}

/** The native code of classic-level is found from a file that lies beside it: that file stays where it is. */
const nativeBinding = {
  name: 'native-binding',
  resolveId: (source, importer) =>
    source === './binding' && importer.includes('/node_modules/classic-level/')
      ? { id: 'classic-level/binding.js', external: true }
      : undefined,
};

async function make(directory) {
  const { build } = await import('rolldown');
  const made = mkdtempSync(join(dist, '.making-'));
  await build({
    input: { main: join(dist, 'cli', 'main.js'), process: join(dist, 'cli', 'process', 'entry.js') },
    platform: 'node',
    external: [/^node:/, 'fuse-native'],
    plugins: [nativeBinding],
    // Node starts with CommonJS in a third less time than with ES modules.
    output: { dir: made, format: 'cjs', entryFileNames: '[name].cjs', chunkFileNames: '[name]-[hash].cjs' },
    logLevel: 'warn',
  });
  chmodSync(made, 0o755);
  put(made, directory);
}

const wanted = `${PREFIX}${digest()}`;
const before = inForce();
if (before !== wanted) {
  if (!existsSync(join(dist, wanted))) await make(join(dist, wanted));
  const made = join(dist, `.link-${process.pid}`);
  symlinkSync(wanted, made);
  renameSync(made, link);
  for (const name of readdirSync(dist)) {
    if (name.startsWith(PREFIX) && name !== wanted && name !== before)
      rmSync(join(dist, name), { recursive: true, force: true });
  }
}
