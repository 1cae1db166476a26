/** A node that lost the terms it promised: whoever comes first may be a primary that was deposed meanwhile. */
import { afterEach, expect, test } from 'vitest';
import { rpcMethods, rpcStatus } from '../../../src/cluster/rpc.ts';
import { StorageFencing } from '../../../src/log/storage-fencing.ts';
import { FakeCluster } from './fake-cluster.ts';
import { fakePlatform, settle } from './fake-platform.ts';

const TERM = 3;
let fencing: StorageFencing;
afterEach(() => fencing.close());

function start(reigns: () => boolean | 'unknown') {
  const platform = fakePlatform();
  const cluster = new FakeCluster(platform, 3);
  const node = cluster.node(2);
  node.challenge = 77;
  const asked: number[] = [];
  let deposed = 0;
  fencing = new StorageFencing(
    platform,
    cluster,
    TERM,
    () => {
      asked.push(node.calls.get(rpcMethods.fenceStorage) ?? 0);
      return Promise.resolve(reigns());
    },
    () => deposed++,
  );
  return { platform, cluster, node, asked, deposed: () => deposed };
}

test('one that reigns tells it the term, after it was asked and the coordinator was asked', async () => {
  const { cluster, node, asked, deposed } = start(() => true);
  await settle();
  expect(cluster.nodes.map(({ term }) => term)).toEqual([TERM, TERM, TERM]);
  expect(asked).toEqual([1]); // the challenge was there before
  expect(node.challenge).toBeUndefined();
  expect(deposed()).toBe(0);
});

test('one that was deposed does not, and hears of it so', async () => {
  const { node, deposed } = start(() => false);
  await settle();
  expect(node.challenge).toBe(77);
  expect(node.calls.get(rpcMethods.pledgeStorage)).toBeUndefined();
  expect(deposed()).toBe(1);
});

test('while the coordinator is away nobody does', async () => {
  let answer: boolean | 'unknown' = 'unknown';
  const { platform, node, asked, deposed } = start(() => answer);
  await platform.time.pass(3500);
  expect(node.challenge).toBe(77);
  expect(asked).toHaveLength(4);
  answer = true;
  await platform.time.pass(1000);
  expect(node.term).toBe(TERM);
  expect(deposed()).toBe(0);
});

test('a challenge of an earlier start of the node is of no use', async () => {
  let restart = (): void => undefined;
  const { platform, node } = start(() => {
    restart();
    return true;
  });
  restart = () => {
    restart = () => undefined;
    node.challenge = 78;
  };
  await settle();
  expect(node.challenge).toBe(78);
  node.kill();
  node.restart();
  await platform.time.pass(100);
  expect(node.challenge).toBeUndefined();
  expect(node.term).toBe(TERM);
});

test('a node that could not store the term is asked again over the same connection', async () => {
  const { platform, node, deposed } = start(() => true);
  node.refusePledges = rpcStatus.full;
  await platform.time.pass(2500);
  expect(node.calls.get(rpcMethods.pledgeStorage)).toBe(3);
  expect(node.challenge).toBe(77);
  node.refusePledges = undefined;
  await platform.time.pass(1000);
  expect(node.challenge).toBeUndefined();
  expect(node.term).toBe(TERM);
  expect(deposed()).toBe(0);
});
