/** How long a volume of many files takes to come back after kill -9 of everything. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { tartanCommand } from '../e2e/support/volume.ts';
import type { EventLog } from './event-log.ts';
import type { TortureOptions } from './options.ts';
import { runCommand, type TortureVolume } from './volume.ts';

const PROMISED_MS = 3_000;
const ROUNDS = 3;
/** The benchmark's program for small files. */
const smallFiles = fileURLToPath(new URL('../dist/cli/bench/small-files.js', `file://${tartanCommand}`));

export async function measureRecovery(
  volume: TortureVolume,
  log: EventLog,
  { files }: TortureOptions,
): Promise<void> {
  await volume.create();
  const directory = join(volume.mountPoint, 'files');
  mkdirSync(directory);
  const made = await runCommand(process.execPath, [smallFiles, directory, 'create', String(files)]);
  if (made.code !== 0) throw new Error(`making ${files} files: ${made.stderr}`);
  await runCommand('sync', ['-f', directory]);
  log.say(`${files} files of 4 KiB made, ${Math.round(Number(made.stdout))} a second`);
  let longestMs = 0;
  for (let round = 0; round < ROUNDS; round++) {
    volume.killEverything();
    const startMs = performance.now();
    await volume.run('up');
    const tookMs = performance.now() - startMs;
    longestMs = Math.max(longestMs, tookMs);
    const { files: found } = await volume.status();
    log.say(`after kill -9 of everything: mounted and answering in ${Math.round(tookMs)} ms, ${found} files`);
    if (found < files) throw new Error(`${files} files were synced and ${found} are there`);
  }
  await volume.run('down');
  if (longestMs > PROMISED_MS) throw new Error(`recovery took more than ${PROMISED_MS} ms`);
}
