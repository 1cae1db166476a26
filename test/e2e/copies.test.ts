import { readFileSync, writeFileSync } from 'node:fs';
import { afterEach, expect, test } from 'vitest';
import { TestVolume, tartan, WAIT } from './support/volume.ts';

let volume: TestVolume | undefined;
afterEach((context) => {
  volume?.destroy(context);
  volume = undefined;
});

interface Copies {
  readonly enabled: boolean;
  readonly copies: number;
  readonly bytes: number;
  readonly windowSeconds: number;
}

interface Segment {
  readonly nodes: readonly number[];
  readonly use: {
    readonly copies: readonly { readonly position: number; readonly nodeId: number }[];
    readonly readBytesPerSecond: number;
    readonly verdict: string;
    readonly reason: string;
  };
}

function json<T>(...args: string[]): T {
  return JSON.parse(volume!.run(...args, '--json')) as T;
}

const copies = () => json<Copies>('copies', 'status');
const explained = (...args: string[]) => tartan('explain', volume!.path('hot'), ...args).stdout;
const segment = () => (JSON.parse(explained('--json')) as { segments: Segment[] }).segments[0]!;

const contents = Buffer.alloc(2_000_000, 'a file that everybody reads; ');

function readAnew(): void {
  volume!.dropCaches();
  expect(readFileSync(volume!.path('hot')).equals(contents)).toBe(true);
}

test('a file that is read a lot gets copies, which serve it when a node is lost and go when they are switched off', () => {
  // Without parity nothing can be rebuilt: what a node that is lost had comes from copies.
  volume = TestVolume.up({ nodes: 2, parity: 0, capacity: '200M' });
  // Segments stay as wide as they were.
  volume.run('node', 'add', '--count', '2');
  writeFileSync(volume.path('hot'), contents);
  expect(explained()).toContain('not copied: it is not read often enough');
  volume.run('copies', 'when', '--reads-per-day', '100', '--busy', '1K', '--window', '5s');
  while (copies().copies < 2) readAnew();
  // They stay, though little is read from now on.
  volume.run('copies', 'when', '--window', '1d');

  const { nodes, use } = segment();
  const holders = [...nodes, ...use.copies.map(({ nodeId }) => nodeId)];
  expect(new Set(holders).size).toBe(holders.length);
  expect(volume.run('status')).toContain('of fragments of 1 segments');
  const { findings } = json<{ findings: { severity: string }[] }>('fsck', '--data');
  expect(findings.filter(({ severity }) => severity !== 'note')).toEqual([]);

  const { position, nodeId } = use.copies[0]!;
  volume.run('node', 'kill', String(nodes[position]));
  readAnew();
  volume.run('heal', 'start');
  volume.run('wait', 'healed', '--timeout', WAIT);
  expect(segment().nodes[position]).toBe(nodeId);
  readAnew();

  expect(copies().copies).toBeGreaterThan(0);
  volume.run('copies', 'off');
  while (copies().copies > 0);
  expect(copies()).toMatchObject({ enabled: false, bytes: 0, windowSeconds: 86_400 });
  readAnew();
});
