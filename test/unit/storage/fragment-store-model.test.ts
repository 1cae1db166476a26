import { rmSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { BLOCK_BYTES, KIB } from '../../../src/base/units.ts';
import { FragmentStore } from '../../../src/storage/fragment-store.ts';
import { StorageError } from '../../../src/storage/storage-error.ts';
import { CrashingPlatform } from './crashing-platform.ts';
import { type MadeFragment, makeFragment, platform, scratchDirectory, volumeId } from './support.ts';

type Step =
  | { kind: 'put'; segment: number; blocks: number }
  | { kind: 'again'; which: number; generation: number; blocks: number }
  | { kind: 'free'; which: number; count: number }
  | { kind: 'check'; which: number }
  | { kind: 'settle' }
  | { kind: 'restart'; how: 'close' | 'crash' | 'loseIndex' | 'crashAndLoseIndex' };

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      kind: fc.constant('put' as const),
      segment: fc.nat(1000),
      blocks: fc.integer({ min: 1, max: 12 }),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant('again' as const),
      which: fc.nat(),
      generation: fc.nat(2),
      blocks: fc.integer({ min: 1, max: 6 }),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant('free' as const),
      which: fc.nat(),
      count: fc.integer({ min: 1, max: 5 }),
    }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('check' as const), which: fc.nat() }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('settle' as const) }) },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant('restart' as const),
      how: fc.constantFrom(
        'close' as const,
        'crash' as const,
        'loseIndex' as const,
        'crashAndLoseIndex' as const,
      ),
    }),
  },
);

/** What the store promised: acknowledged puts, and nothing of what was freed. Requests without an answer may have happened or not. */
class Model {
  readonly held = new Map<string, MadeFragment>();
  /** Highest generation freed of each name. */
  readonly freed = new Map<string, number>();
  /** Asked for and not answered before the crash. */
  readonly open = new Map<string, MadeFragment[]>();
  readonly openFrees = new Set<string>();
}

const nameOf = (fragment: MadeFragment) =>
  `${fragment.description.segmentId}/${fragment.description.position}`;

class Run {
  readonly #directory = scratchDirectory();
  readonly #random: () => number;
  #machine: CrashingPlatform;
  #store!: FragmentStore;
  readonly #model = new Model();
  #nextSegment = 1;
  #running: Promise<void>[] = [];

  constructor(seed: number) {
    let state = seed >>> 0;
    this.#random = () => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return state / 2 ** 32;
    };
    this.#machine = new CrashingPlatform(platform, this.#random);
  }

  async open(): Promise<void> {
    this.#machine = new CrashingPlatform(platform, this.#random);
    this.#store = await FragmentStore.open(this.#machine.platform, {
      directory: this.#directory,
      nodeId: 1,
      volumeId,
      logFileBytes: 128 * KIB,
      growBytes: 48 * KIB,
      reserveBytes: 0,
    });
  }

  async step(step: Step): Promise<void> {
    const { held } = this.#model;
    switch (step.kind) {
      case 'put':
        this.#put(makeFragment(this.#nextSegment++, step.segment % 5, step.blocks));
        break;
      case 'again': {
        const known = [...held.values()][step.which % Math.max(1, held.size)];
        if (known === undefined) return;
        const { segmentId, position } = known.description;
        this.#put(makeFragment(segmentId, position, step.blocks, { generation: step.generation }));
        break;
      }
      case 'free': {
        const all = [...held.values()];
        const from = step.which % Math.max(1, all.length);
        this.#free(all.slice(from, from + step.count));
        break;
      }
      case 'check': {
        const known = [...held.values()][step.which % Math.max(1, held.size)];
        if (known !== undefined && !this.#isOpen(nameOf(known))) await this.#mustHold(known);
        break;
      }
      case 'settle':
        await Promise.all(this.#running.splice(0));
        break;
      case 'restart':
        await this.restart(step.how);
        break;
    }
    await this.#machine.pause();
  }

  #isOpen(name: string): boolean {
    return this.#model.open.has(name) || this.#model.openFrees.has(name);
  }

  #put(fragment: MadeFragment): void {
    const name = nameOf(fragment);
    const { held, freed, open } = this.#model;
    if (this.#isOpen(name)) return;
    open.set(name, [fragment]);
    const before = held.get(name);
    const known = before?.description.generation ?? -1;
    const { generation } = fragment.description;
    const done = this.#store.put(fragment.description, fragment.payload).then(
      () => {
        held.set(name, fragment);
        expect(generation, name).toBeGreaterThanOrEqual(known);
        open.delete(name);
      },
      (error: unknown) => {
        expect(error).toBeInstanceOf(StorageError);
        expect((error as StorageError).refusal.reason).toBe('conflict');
        expect(generation < known || generation <= (freed.get(name) ?? -1), name).toBe(true);
        open.delete(name);
      },
    );
    this.#running.push(done);
  }

  #free(fragments: MadeFragment[]): void {
    const { held, freed, openFrees } = this.#model;
    const chosen = fragments.filter((fragment) => !this.#isOpen(nameOf(fragment)));
    if (chosen.length === 0) return;
    for (const fragment of chosen) openFrees.add(nameOf(fragment));
    const names = chosen.map(({ description }) => description);
    const done = this.#store.free(1, names).then((count) => {
      expect(count).toBe(chosen.length);
      for (const fragment of chosen) {
        const name = nameOf(fragment);
        held.delete(name);
        freed.set(name, fragment.description.generation);
        openFrees.delete(name);
      }
    });
    this.#running.push(done);
  }

  async restart(how: 'close' | 'crash' | 'loseIndex' | 'crashAndLoseIndex'): Promise<void> {
    if (how === 'close' || how === 'loseIndex') {
      await Promise.all(this.#running.splice(0));
      await this.#store.close();
    } else {
      await this.#machine.crash();
      this.#running = [];
    }
    if (how === 'loseIndex' || how === 'crashAndLoseIndex') {
      rmSync(join(this.#directory, 'index'), { recursive: true, force: true });
    }
    await this.open();
    await this.check();
  }

  async #mustHold(fragment: MadeFragment): Promise<void> {
    expect(await this.#holds(fragment), nameOf(fragment)).toBe(true);
  }

  async #holds({ description, payload }: MadeFragment): Promise<boolean> {
    const { checksums } = await this.#store.describe(description);
    if (checksums.length !== description.checksums.length) return false;
    const into = platform.memory.allocate(payload.length);
    await this.#store.get(description, 0, description.fragmentBlocks, into);
    return into.equals(payload);
  }

  /** Everything promised is there, and nothing else but what was asked for without an answer. */
  async check(): Promise<void> {
    const { held, open, openFrees } = this.#model;
    const listed = (await this.#store.list(0, 0, 10_000)).fragments;
    const present = new Map(
      listed.map((fragment) => [`${fragment.segmentId}/${fragment.position}`, fragment]),
    );
    for (const name of openFrees) if (!present.has(name)) held.delete(name);
    for (const [name, [asked]] of open) {
      if (present.get(name)?.generation !== asked!.description.generation) continue;
      // Of the same generation: the one before, or the one that was to replace it.
      const isOld = held.get(name)?.description.generation === asked!.description.generation;
      if (!isOld || (await this.#holds(asked!))) held.set(name, asked!);
    }
    open.clear();
    openFrees.clear();
    expect([...present.keys()].sort()).toEqual([...held.keys()].sort());
    let usedBytes = 0;
    for (const fragment of held.values()) {
      await this.#mustHold(fragment);
      usedBytes += fragment.payload.length + BLOCK_BYTES;
    }
    expect(this.#store.usedBytes).toBe(usedBytes);
  }

  async finish(): Promise<void> {
    await this.restart('close');
    await this.#store.close();
  }
}

test('keeps what it acknowledged and forgets what was freed, through restarts, crashes and lost indexes', async () => {
  await fc.assert(
    fc.asyncProperty(fc.nat(), fc.array(step, { minLength: 10, maxLength: 60 }), async (seed, steps) => {
      const run = new Run(seed);
      await run.open();
      for (const one of steps) await run.step(one);
      await run.finish();
    }),
    { numRuns: 15, endOnFailure: true },
  );
}, 60_000);
