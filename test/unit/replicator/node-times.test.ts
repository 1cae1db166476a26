import { expect, test } from 'vitest';
import type { NodeLink, NodeLinks, NodeState } from '../../../src/cluster/nodes.ts';
import type { DomainTimesEntry, NodeTimesEntry } from '../../../src/format/availability-state.ts';
import type { Platform } from '../../../src/platform/platform.ts';
import { NodeTimes } from '../../../src/replicator/adapt/node-times.ts';

const HOUR_MS = 3_600_000;

/** Nodes whose states the test sets, and a clock that it turns. */
class Scene {
  nowMs = 0;
  saved: readonly NodeTimesEntry[] | undefined;
  canSave = true;
  savedDomains: readonly DomainTimesEntry[] | undefined;
  readonly states = new Map<number, NodeState>();
  readonly labels = new Map<number, string>();
  #listener: ((link: NodeLink) => void) | undefined;
  readonly #timers = new Set<{ atMs: number; run: () => void }>();

  constructor(...ids: number[]) {
    for (const id of ids) this.states.set(id, 'up');
  }

  begin(entries: readonly NodeTimesEntry[] = [], domains: readonly DomainTimesEntry[] = []): NodeTimes {
    const platform = {
      clock: { monotonicMs: () => this.nowMs },
      timers: {
        after: (delayMs: number, run: () => void) => {
          const timer = { atMs: this.nowMs + delayMs, run };
          this.#timers.add(timer);
          return { cancel: () => this.#timers.delete(timer) };
        },
      },
    } as unknown as Platform;
    const links = {
      links: {
        get: (id: number) =>
          this.states.has(id)
            ? { id, state: this.states.get(id), domain: this.labels.get(id) ?? `${id}` }
            : undefined,
        has: (id: number) => this.states.has(id),
        keys: () => this.states.keys(),
      },
      onChange: (listener: (link: NodeLink) => void) => {
        this.#listener = listener;
        return () => {
          this.#listener = undefined;
        };
      },
    } as unknown as NodeLinks;
    const save = (saved: readonly NodeTimesEntry[], savedDomains: readonly DomainTimesEntry[]) => {
      if (this.canSave) Object.assign(this, { saved, savedDomains });
      return this.canSave;
    };
    return new NodeTimes(platform, { links, save }, entries, domains);
  }

  set(id: number, state: NodeState): void {
    this.states.set(id, state);
    this.#listener?.({ id, state } as NodeLink);
  }

  pass(ms: number): void {
    const endMs = this.nowMs + ms;
    for (;;) {
      const [next] = [...this.#timers].sort((a, b) => a.atMs - b.atMs);
      if (next === undefined || next.atMs > endMs) break;
      this.nowMs = next.atMs;
      this.#timers.delete(next);
      next.run();
    }
    this.nowMs = endMs;
  }
}

test('a node that is often away is found to be, and one that never was is believed to be good', () => {
  const scene = new Scene(1, 2);
  const times = scene.begin();
  for (let round = 0; round < 50; round++) {
    scene.pass(9 * HOUR_MS);
    scene.set(2, 'down');
    scene.pass(HOUR_MS);
    scene.set(2, 'up');
  }
  const measured = times.measured();
  expect(measured.get(2)!.p).toBeGreaterThan(0.02);
  expect(measured.get(2)!.p).toBeLessThan(0.1);
  expect(measured.get(1)!.p).toBeLessThan(measured.get(2)!.p);
  expect(measured.get(2)!.low).toBeLessThan(measured.get(2)!.p);
});

test('a node that hangs is away, and one that goes down from there is not away twice', () => {
  const scene = new Scene(1);
  scene.begin();
  scene.pass(HOUR_MS);
  scene.set(1, 'slow');
  scene.pass(HOUR_MS);
  scene.set(1, 'down');
  scene.pass(HOUR_MS);
  scene.set(1, 'up');
  scene.pass(10_000);
  const [entry] = scene.saved!;
  expect(entry).toMatchObject({ nodeId: 1 });
  expect(entry!.failures).toBeCloseTo(1, 2);
  expect(entry!.downMs / HOUR_MS).toBeCloseTo(2, 2);
});

test('what was seen is made durable soon after a change, and goes on after a restart', () => {
  const scene = new Scene(1, 2);
  const first = scene.begin();
  scene.pass(HOUR_MS);
  scene.set(1, 'down');
  scene.canSave = false;
  scene.pass(60_000);
  scene.canSave = true;
  scene.pass(10_000);
  expect(scene.saved!.find(({ nodeId }) => nodeId === 1)!.failures).toBeCloseTo(1, 2);
  first.close();
  const again = scene.begin(scene.saved);
  scene.pass(HOUR_MS);
  expect(again.measured().get(1)!.p).toBeGreaterThan(again.measured().get(2)!.p);
  scene.states.delete(2);
  scene.pass(HOUR_MS);
  expect(scene.saved!.map(({ nodeId }) => nodeId)).toEqual([1]);
});

test('a domain is away while all of its nodes are, and only those count that several nodes share', () => {
  const scene = new Scene(1, 2, 3, 4, 5);
  for (const id of [1, 2]) scene.labels.set(id, 'left');
  for (const id of [3, 4]) scene.labels.set(id, 'right');
  const times = scene.begin();
  expect([...times.measuredDomains().keys()]).toEqual(['left', 'right']);
  // An hour a year, before anything was seen.
  expect(times.measuredDomains().get('left')!.p).toBeCloseTo(1e-4, 6);
  for (let round = 0; round < 20; round++) {
    scene.pass(HOUR_MS);
    scene.set(1, 'down');
    scene.set(3, 'down');
    scene.pass(HOUR_MS);
    scene.set(2, 'down');
    scene.pass(HOUR_MS);
    for (const id of [1, 2, 3]) scene.set(id, 'up');
  }
  const { left, right } = Object.fromEntries(times.measuredDomains());
  expect(left!.p).toBeGreaterThan(1e-3);
  expect(left!.p).toBeGreaterThan(right!.p);
  scene.pass(10_000);
  const [entry] = scene.savedDomains!;
  expect(entry!.domain).toBe('left');
  expect(entry!.failures).toBeCloseTo(20, 0);
  expect(entry!.downMs / HOUR_MS).toBeCloseTo(20, 0);
  times.close();
  const again = scene.begin(scene.saved, scene.savedDomains);
  expect(again.measuredDomains().get('left')!.p).toBeCloseTo(left!.p, 6);
  scene.labels.delete(2);
  expect([...again.measuredDomains().keys()]).toEqual(['right']);
});
