import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { expectAcknowledged, startWriter } from './support/acknowledged.ts';
import { startFio } from './support/fio.ts';
import { TestVolume, tartan, WAIT } from './support/volume.ts';

let volume: TestVolume | undefined;
afterEach((context) => {
  volume?.destroy(context);
  volume = undefined;
});

const flags = ['--rw=write', '--bs=128k', '--size=16m', '--fallocate=none', '--end_fsync=1'];

function json<T>(...args: string[]): T {
  return JSON.parse(volume!.run(...args, '--json')) as T;
}

/** Nodes of each segment of a file. */
function holders(file: string): number[][] {
  // The command finds the volume by the path.
  const { stdout } = tartan('explain', volume!.path(file), '--json');
  return (JSON.parse(stdout) as { segments: { nodes: number[] }[] }).segments.map(({ nodes }) => nodes);
}

function expectClean(): void {
  const { findings } = json<{ findings: { severity: string }[] }>('fsck', '--data');
  expect(findings.filter(({ severity }) => severity !== 'note')).toEqual([]);
}

test('nodes join a volume that is written to, take new data, get labels that hold for all data, and outlive the crash of everything', async () => {
  volume = TestVolume.up({ nodes: 3, parity: 1 });
  const writer = startWriter(volume.mountPoint);
  await startFio(volume.mountPoint, ...flags, '--filename=before').finished;
  expect(json<{ id: number }[]>('node', 'add')).toMatchObject([{ id: 4, process: 'running', link: 'up' }]);
  await startFio(volume.mountPoint, ...flags, '--filename=after').finished;
  expect(holders('after').flat()).toContain(4);
  expect(json('node', 'label', '1', 'rack1')).toEqual({ id: 1, domain: 'rack1' });
  volume.run('node', 'label', '4', 'rack1');
  volume.run('rebalance', 'start');
  volume.run('wait', 'balanced', '--timeout', WAIT);
  for (const nodes of [...holders('before'), ...holders('after')]) {
    expect(nodes.includes(1) && nodes.includes(4)).toBe(false);
  }
  await writer.begun;
  volume.killEverything();
  await writer.ended;
  expect(Math.min(...writer.acknowledged)).toBeGreaterThan(0);
  // As a command leaves it that is killed after its first step, before anybody heard of node 5.
  const settings = join(volume.state, 'volume.json');
  writeFileSync(settings, readFileSync(settings, 'utf8').replace(/"nodes": \[/, '$&5,'));
  volume.run('up', '--nodes', '6');
  expectAcknowledged(volume, writer.acknowledged);
  for (const file of ['before', 'after']) {
    await startFio(volume.mountPoint, ...flags, `--filename=${file}`, '--verify_only=1').finished;
  }
  volume.run('up', '--nodes', '7');
  await volume.untilHealthy();
  const { nodes } = volume.status();
  expect(nodes.map(({ id, state }) => `${id} ${state}`).sort()).toEqual(
    [1, 2, 3, 4, 5, 6, 7].map((id) => `${id} up`),
  );
  volume.run('node', 'label', '4', '--none');
  const labels = json<{ id: number; domain: string | null }[]>('node', 'list');
  expect(labels.filter(({ domain }) => domain !== null)).toMatchObject([{ id: 1, domain: 'rack1' }]);
  expectClean();
});
