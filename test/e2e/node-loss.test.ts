import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, test } from 'vitest';
import { startFio } from './support/fio.ts';
import { killProcess, TestVolume } from './support/volume.ts';

let volume: TestVolume | undefined;
afterEach((context) => {
  volume?.destroy(context);
  volume = undefined;
});

const mixed = ['--rw=randwrite', '--bsrange=4k-256k', '--size=48m', '--fallocate=none', '--end_fsync=1'];

/** Sets of `size` of the ids. */
function subsets(ids: readonly number[], size: number): number[][] {
  if (size === 0) return [[]];
  return ids.flatMap((id, index) => subsets(ids.slice(index + 1), size - 1).map((rest) => [id, ...rest]));
}

describe('five nodes, 4+1', () => {
  test('fio finds every byte while each node in turn is killed under it and started again', async () => {
    volume = TestVolume.up();
    for (const id of [1, 2, 3, 4, 5]) {
      const writing = startFio(volume.mountPoint, ...mixed, '--filename=turn', `--randseed=${id}`);
      await sleep(300);
      process.kill(volume.nodePid(id), 'SIGKILL');
      await writing.finished;
      volume.dropCaches();
      const flags = [...mixed, '--filename=turn', `--randseed=${id}`, '--verify_only=1'];
      await startFio(volume.mountPoint, ...flags).finished;
      volume.run('node', 'start', String(id));
    }
    await volume.untilHealthy();
  });
});

describe('five nodes, 3+2', () => {
  test('every pair of nodes may be down: all is read, and new files are written', async () => {
    volume = TestVolume.up({ nodes: 5, parity: 2 });
    const flags = ['--rw=write', '--bs=128k', '--size=16m', '--fallocate=none', '--end_fsync=1'];
    await startFio(volume.mountPoint, ...flags, '--filename=before').finished;
    for (const pair of subsets([1, 2, 3, 4, 5], 2)) {
      const { nodes } = volume.status();
      for (const { id, pid } of nodes) if (pair.includes(id)) killProcess(pid);
      volume.dropCaches();
      await startFio(volume.mountPoint, ...flags, '--filename=before', '--verify_only=1').finished;
      const during = `--filename=during-${pair.join('-')}`;
      await startFio(volume.mountPoint, ...flags, during).finished;
      volume.up();
    }
    volume.dropCaches();
    for (const pair of subsets([1, 2, 3, 4, 5], 2)) {
      const during = `--filename=during-${pair.join('-')}`;
      await startFio(volume.mountPoint, ...flags, during, '--verify_only=1').finished;
    }
  });
});

describe('two nodes', () => {
  test('mirror each other: either may be killed under a writer', async () => {
    volume = TestVolume.up({ nodes: 2, parity: 1 });
    const flags = ['--rw=write', '--bs=64k', '--size=16m', '--fallocate=none', '--end_fsync=1'];
    await startFio(volume.mountPoint, ...flags, '--filename=mirrored').finished;
    for (const id of [1, 2]) {
      volume.run('node', 'kill', String(id));
      volume.dropCaches();
      await startFio(volume.mountPoint, ...flags, '--filename=mirrored', '--verify_only=1').finished;
      volume.run('node', 'start', String(id));
    }
  });

  test('while one is away the other takes what is written, and shares it when that is back', async () => {
    volume = TestVolume.up({ nodes: 2, parity: 1 });
    const flags = ['--rw=write', '--bs=64k', '--size=16m', '--fallocate=none', '--end_fsync=1'];
    const writing = startFio(volume.mountPoint, ...flags, '--filename=under');
    volume.run('node', 'kill', '2');
    await writing.finished;
    await startFio(volume.mountPoint, ...flags, '--filename=after').finished;
    expect(volume.status()).toMatchObject({
      health: 'degraded',
      reason: expect.stringContaining('what is written now has less parity than meant'),
    });
    volume.run('node', 'start', '2');
    volume.run('wait', 'healed');
    await volume.untilHealthy();
    volume.run('node', 'kill', '1');
    volume.dropCaches();
    for (const name of ['under', 'after']) {
      await startFio(volume.mountPoint, ...flags, `--filename=${name}`, '--verify_only=1').finished;
    }
  });
});
