#!/usr/bin/env node
/**
 * Builds native-bindings/build/Release/tartan.node when its sources have changed since it was built.
 *
 * The build runs on a copy of the sources in a directory of its own, and the result is renamed into place: several
 * callers may run this at once, and a process that has the old addon loaded keeps it. What was built from what is
 * recorded beside the addon by content, because a checkout's file times say nothing.
 */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const bindings = join(dirname(dirname(fileURLToPath(import.meta.url))), 'native-bindings');
const release = join(bindings, 'build', 'Release');
const addon = join(release, 'tartan.node');
const stamp = join(release, 'tartan.built-from');

function digest(parts) {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(part).update('\0');
  return hash.digest('hex');
}

function sourceDigest(folder) {
  const sources = readdirSync(join(folder, 'src')).sort();
  const files = ['binding.gyp', ...sources.map((name) => join('src', name))];
  return digest([process.arch, ...files.flatMap((name) => [name, readFileSync(join(folder, name))])]);
}

/** The stamp names sources and addon, so that of two builds that end together neither can vouch for the other's. */
function stampFor(sources) {
  return `${sources} ${digest([readFileSync(addon)])}\n`;
}

function isCurrent() {
  if (!existsSync(addon) || !existsSync(stamp)) return false;
  return readFileSync(stamp, 'utf8') === stampFor(sourceDigest(bindings));
}

/** Headers that were installed with this Node spare node-gyp a download. */
function headerArguments() {
  const prefix = dirname(dirname(process.execPath));
  const header = join(prefix, 'include', 'node', 'node_version.h');
  if (!existsSync(header)) return [];
  const text = readFileSync(header, 'utf8');
  const number = (name) => new RegExp(`#define NODE_${name}_VERSION (\\d+)`).exec(text)?.[1];
  const version = `v${number('MAJOR')}.${number('MINOR')}.${number('PATCH')}`;
  return version === process.version ? [`--nodedir=${prefix}`] : [];
}

function build() {
  mkdirSync(join(bindings, 'build'), { recursive: true });
  const work = mkdtempSync(join(bindings, 'build', 'work-'));
  try {
    cpSync(join(bindings, 'binding.gyp'), join(work, 'binding.gyp'));
    cpSync(join(bindings, 'src'), join(work, 'src'), { recursive: true });
    const sources = sourceDigest(work);
    const nodeGyp = createRequire(import.meta.url).resolve('node-gyp/bin/node-gyp.js');
    const gypArguments = ['rebuild', '-C', work, '--loglevel=warn', ...headerArguments()];
    const run = spawnSync(process.execPath, [nodeGyp, ...gypArguments], { encoding: 'utf8' });
    if (run.status !== 0) {
      process.stderr.write(`${run.stdout}${run.stderr}`);
      process.stderr.write(
        'build-native: the addon does not compile; it needs python3, make and a C compiler\n',
      );
      process.exitCode = 1;
      return;
    }
    process.stderr.write(run.stderr);
    mkdirSync(release, { recursive: true });
    renameSync(join(work, 'build', 'Release', 'tartan.node'), addon);
    writeFileSync(join(work, 'stamp'), stampFor(sources));
    renameSync(join(work, 'stamp'), stamp);
    console.log(`built ${addon}`);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

if (!isCurrent()) build();
