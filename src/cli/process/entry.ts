/**
 * One process of a volume: `entry.js node|supervisor|mount --dir DIRECTORY ...`. Apart from the `tartan` command, because seven of them start with a
 * volume and none needs its parser and commands; and each is loaded only where it runs.
 */
import { parseArgs } from 'node:util';
import { assert } from '../../base/assert.ts';
import type { MountSettings } from '../supervisor/control-messages.ts';
import { volumeLayout } from '../volume/volume-layout.ts';

async function main(): Promise<void> {
  const { positionals, values } = parseArgs({
    allowPositionals: true,
    options: { dir: { type: 'string' }, id: { type: 'string' }, settings: { type: 'string' } },
  });
  const [kind] = positionals;
  const { dir, id, settings } = values;
  assert(dir !== undefined, 'a process belongs to a volume');
  const layout = volumeLayout(dir);

  // Timers and child processes of ours do not keep a process alive: what starts here does.
  const awake = setInterval(() => {}, 2 ** 30);
  if (kind === 'supervisor') {
    const { runSupervisorProcess } = await import('./supervisor-process.ts');
    await runSupervisorProcess(layout);
  } else if (kind === 'mount') {
    assert(settings !== undefined, 'a mount has settings');
    const { runMountProcess } = await import('./mount-process.ts');
    await runMountProcess(layout, JSON.parse(settings) as MountSettings);
  } else {
    assert(kind === 'node' && id !== undefined, 'a node has a number');
    const { runNodeProcess } = await import('./node-process.ts');
    await runNodeProcess({ layout, id: Number(id), supervised: true });
  }
  clearInterval(awake);
}

// What it rejects with is nobody's: it ends the process with its stack in the log.
void main();
