/**
 * What every engine of the coordinator must do: one body of tests, run over each (coordinator.test.ts).
 */
import { afterEach, beforeEach, expect, test } from 'vitest';
import { type Coordinator, type CoordinatorEvent, LeaseGone } from '../../src/cluster/coordinator.ts';

export interface CoordinatorHarness {
  /** Another process's view of the same coordinator. */
  connect(): Promise<Coordinator>;
  /** Shortest time to live of a lease that the engine keeps to. */
  readonly leaseMs: number;
  /** Ends a lease behind its holder's back. */
  revoke(leaseId: string): Promise<void>;
  close(): Promise<void>;
}

const bytes = (text: string): Buffer => Buffer.from(text);
const describeEvent = (event: CoordinatorEvent): string =>
  event.kind === 'put' ? `${event.entry.key}=${event.entry.value}` : `${event.key} deleted`;

/** Waits for a condition that others bring about. */
export async function eventually(condition: () => boolean, timeoutMs = 60_000): Promise<void> {
  const endMs = performance.now() + timeoutMs;
  while (!condition()) {
    if (performance.now() > endMs) throw new Error('it did not happen');
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

export function coordinatorSuite(start: () => Promise<CoordinatorHarness>): void {
  let harness: CoordinatorHarness;
  let one: Coordinator;
  let other: Coordinator;
  beforeEach(async () => {
    harness = await start();
    one = await harness.connect();
    other = await harness.connect();
  });
  afterEach(async () => {
    await one.close();
    await other.close();
    await harness.close();
  });

  test('what one process puts another gets', async () => {
    expect(await other.get('nodes/1')).toBeUndefined();
    const put = await one.put('nodes/1', bytes('first'));
    expect(put.version).toBeGreaterThan(0);
    expect(await other.get('nodes/1')).toEqual({
      key: 'nodes/1',
      value: bytes('first'),
      version: put.version,
    });
  });

  test('the version grows with every change, also over a deletion', async () => {
    const first = await one.put('key', bytes('a'));
    const second = await other.put('key', bytes('b'));
    expect(second.version).toBeGreaterThan(first.version);
    expect(await one.delete('key')).toBe(true);
    expect(await one.delete('key')).toBe(false);
    expect((await one.put('key', bytes('c'))).version).toBeGreaterThan(second.version);
  });

  test('a list holds what begins with the prefix, in order of keys', async () => {
    for (const key of ['nodes/2', 'nodes/10', 'nodes', 'manager', 'nodes/1']) await one.put(key, bytes(key));
    const listed = await other.list('nodes/');
    expect(listed.map(({ key }) => key)).toEqual(['nodes/1', 'nodes/10', 'nodes/2']);
    expect(listed[0]!.value).toEqual(bytes('nodes/1'));
    expect(await other.list('none/')).toEqual([]);
  });

  test('values may be empty, binary and 64 KiB long', async () => {
    for (const value of [Buffer.alloc(0), Buffer.from([0, 255, 10, 13, 128]), Buffer.alloc(65536, 0xfe)]) {
      await one.put('value', value);
      expect((await other.get('value'))?.value.equals(value)).toBe(true);
    }
  });

  test('compare-and-swap writes only over the version that was read', async () => {
    const first = await one.compareAndSwap('manager', 0, bytes('1'));
    expect(first).toBeDefined();
    expect(await other.compareAndSwap('manager', 0, bytes('2'))).toBeUndefined();
    const second = await other.compareAndSwap('manager', first!.version, bytes('2'));
    expect(second!.version).toBeGreaterThan(first!.version);
    expect(await one.compareAndSwap('manager', first!.version, bytes('3'))).toBeUndefined();
    expect((await one.get('manager'))?.value).toEqual(bytes('2'));
  });

  test('of many who swap at once one wins each version', async () => {
    await one.put('counter', bytes('0'));
    const increment = async (coordinator: Coordinator): Promise<void> => {
      for (;;) {
        const { value, version } = (await coordinator.get('counter'))!;
        const next = bytes(String(Number(value.toString()) + 1));
        if ((await coordinator.compareAndSwap('counter', version, next)) !== undefined) return;
      }
    };
    await Promise.all(Array.from({ length: 10 }, (_, index) => increment(index % 2 === 0 ? one : other)));
    expect((await one.get('counter'))?.value.toString()).toBe('10');
  });

  test('a watch tells what is there, and then every change in order', async () => {
    await one.put('nodes/1', bytes('a'));
    await one.put('elsewhere', bytes('x'));
    const events: string[] = [];
    const unwatch = other.watch('nodes/', (event) => events.push(describeEvent(event)));
    await eventually(() => events.length === 1);
    await one.put('nodes/2', bytes('b'));
    await one.put('nodes/1', bytes('c'));
    await one.put('elsewhere', bytes('y'));
    await one.delete('nodes/2');
    await one.put('nodes/2', bytes('d'));
    await eventually(() => events.length === 5);
    expect(events).toEqual(['nodes/1=a', 'nodes/2=b', 'nodes/1=c', 'nodes/2 deleted', 'nodes/2=d']);
    unwatch();
    await one.put('nodes/3', bytes('e'));
    await one.get('nodes/3');
    expect(events.length).toBe(5);
  });

  test('a key under a lease stays while its holder renews it, and goes when the lease is revoked', async () => {
    const lease = await one.lease(harness.leaseMs);
    let lost = false;
    lease.onLost = () => {
      lost = true;
    };
    await one.put('alive/1', bytes('here'), lease);
    expect(await one.compareAndSwap('alive/2', 0, bytes('here'), lease)).toBeDefined();
    await new Promise((resolve) => setTimeout(resolve, 1.5 * harness.leaseMs));
    expect(await other.list('alive/')).toHaveLength(2);
    const events: string[] = [];
    const unwatch = other.watch('alive/', (event) => events.push(describeEvent(event)));
    // A watch tells what is there when it begins, and changes from then on.
    await eventually(() => events.length === 2);
    await lease.revoke();
    expect(await other.list('alive/')).toEqual([]);
    await eventually(() => events.includes('alive/1 deleted') && events.includes('alive/2 deleted'));
    expect(lost).toBe(false);
    unwatch();
  });

  test('a key under a lease goes when its holder is gone', async () => {
    const lease = await one.lease(harness.leaseMs);
    await one.put('alive/1', bytes('here'), lease);
    await one.close();
    const events: string[] = [];
    const unwatch = other.watch('alive/', (event) => events.push(describeEvent(event)));
    await eventually(() => events.includes('alive/1 deleted'));
    unwatch();
  });

  test('a holder learns that its lease was ended by somebody else', async () => {
    const lease = await one.lease(harness.leaseMs);
    let lost = 0;
    lease.onLost = () => {
      lost++;
    };
    await harness.revoke(lease.id);
    await eventually(() => lost === 1);
    await expect(one.put('alive/1', bytes('here'), lease)).rejects.toBeInstanceOf(LeaseGone);
  });
}
