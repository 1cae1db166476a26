import {
  closeSync,
  cpSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { BLOCK_BYTES, KIB } from '../../../src/base/units.ts';
import type { JournalEntry } from '../../../src/format/journal-messages.ts';
import { JournalStore, type JournalStoreOptions } from '../../../src/storage/journal-store.ts';
import { StorageError } from '../../../src/storage/storage-error.ts';
import { CrashingPlatform } from './crashing-platform.ts';
import { logged, platform, scratchDirectory, volumeId } from './support.ts';

function openJournal(directory: string, options: Partial<JournalStoreOptions> = {}): Promise<JournalStore> {
  return JournalStore.open(platform, { directory, volumeId, fileBytes: 256 * KIB, maxFiles: 6, ...options });
}

function entry(term: number, text: string, lengthBytes = text.length): JournalEntry {
  const bytes = Buffer.alloc(lengthBytes);
  bytes.write(text);
  return { term, bytes };
}

/** Appends entries of one term behind what is there. */
async function append(journal: JournalStore, term: number, ...texts: string[]): Promise<void> {
  const { lastSequence, lastTerm } = journal.state();
  const entries = texts.map((text) => entry(term, text));
  await journal.append({ term, previousSequence: lastSequence, previousTerm: lastTerm, entries });
}

const textOf = ({ bytes }: JournalEntry) => Buffer.from(bytes).toString();

async function texts(journal: JournalStore, from = journal.state().firstSequence): Promise<string[]> {
  const all: string[] = [];
  for (;;) {
    const page = await journal.read(from + all.length, 64 * KIB);
    if (page.length === 0) return all;
    all.push(...page.map(textOf));
  }
}

async function reasonOf(promise: Promise<unknown>): Promise<string> {
  try {
    await promise;
    return 'none';
  } catch (error) {
    if (error instanceof StorageError) return error.refusal.reason;
    throw error;
  }
}

function damage(directory: string, fileNumber: number, offset: number, lengthBytes = 8): void {
  const path = join(directory, `${String(fileNumber).padStart(6, '0')}.tjl`);
  const descriptor = openSync(path, 'r+');
  writeSync(descriptor, Buffer.from('damaged!'), 0, lengthBytes, offset);
  closeSync(descriptor);
}

/** What a crash leaves. */
function copyOf(directory: string): string {
  const copy = scratchDirectory();
  cpSync(directory, copy, { recursive: true });
  return copy;
}

describe('a journal store', () => {
  test('returns what was appended, in order, before and after a restart and a crash', async () => {
    const directory = scratchDirectory();
    let journal = await openJournal(directory);
    await journal.fence(1);
    await append(journal, 1, 'one');
    await append(journal, 1, 'two', 'three');
    expect(await texts(await openJournal(copyOf(directory)))).toEqual(['one', 'two', 'three']);
    await journal.close();
    journal = await openJournal(directory);
    expect(await texts(journal)).toEqual(['one', 'two', 'three']);
    expect(await texts(journal, 3)).toEqual(['three']);
    expect(journal.state()).toEqual({
      term: 1,
      firstSequence: 1,
      lastSequence: 3,
      previousTerm: 0,
      lastTerm: 1,
      damagedSequence: 0,
      endSequence: 3,
      endTerm: 1,
      doubtfulEnd: false,
      blank: false,
    });
    await journal.close();
  });

  test('takes pipelined appends without waiting for the ones before, small and large', async () => {
    const directory = scratchDirectory();
    const journal = await openJournal(directory, { maxFiles: 64 });
    await journal.fence(1);
    const made: Promise<unknown>[] = [];
    const expected: string[] = [];
    for (let i = 0; i < 60; i++) {
      const one = entry(1, `entry ${i}`, i % 7 === 0 ? 100 * KIB : 10 + i);
      expected.push(textOf(one));
      made.push(
        journal.append({ term: 1, previousSequence: i, previousTerm: i === 0 ? 0 : 1, entries: [one] }),
      );
      one.bytes.fill(0);
      if (i % 10 === 9) await Promise.all(made.splice(0));
    }
    expect(await texts(journal)).toEqual(expected);
    await journal.close();
    const again = await openJournal(directory, { maxFiles: 64 });
    expect(await texts(again)).toEqual(expected);
    await again.close();
  });

  test('refuses terms before the promised one, also after a restart, and terms that were not promised', async () => {
    const directory = scratchDirectory();
    let journal = await openJournal(directory);
    await journal.fence(3);
    for (let round = 0; round < 2; round++) {
      const request = { previousSequence: 0, previousTerm: 0, entries: [entry(2, 'x')] };
      expect(await reasonOf(journal.append({ term: 2, ...request }))).toBe('fenced');
      expect(await reasonOf(journal.append({ term: 4, ...request }))).toBe('conflict');
      expect(await reasonOf(journal.fence(2))).toBe('fenced');
      expect(await reasonOf(journal.trim(2, 0))).toBe('fenced');
      expect(await reasonOf(journal.reset(2, 0, 0))).toBe('fenced');
      await journal.close();
      journal = await openJournal(directory);
    }
    expect(journal.state().lastSequence).toBe(0);
    await journal.close();
  });

  test('refuses an append that does not follow, by sequence or by term', async () => {
    const journal = await openJournal(scratchDirectory());
    await journal.fence(2);
    await journal.append({ term: 2, previousSequence: 0, previousTerm: 0, entries: [entry(1, 'old')] });
    const entries = [entry(2, 'new')];
    expect(await reasonOf(journal.append({ term: 2, previousSequence: 2, previousTerm: 1, entries }))).toBe(
      'conflict',
    );
    expect(await reasonOf(journal.append({ term: 2, previousSequence: 1, previousTerm: 2, entries }))).toBe(
      'conflict',
    );
    await journal.append({ term: 2, previousSequence: 1, previousTerm: 1, entries });
    expect(await texts(journal)).toEqual(['old', 'new']);
    await journal.close();
  });

  test('takes the same append twice, and cuts the tail where terms differ', async () => {
    const directory = scratchDirectory();
    let journal = await openJournal(directory);
    await journal.fence(1);
    await append(journal, 1, 'a', 'b', 'c', 'd');
    await journal.append({
      term: 1,
      previousSequence: 1,
      previousTerm: 1,
      entries: [entry(1, 'b'), entry(1, 'c')],
    });
    expect(await texts(journal)).toEqual(['a', 'b', 'c', 'd']);
    await journal.fence(2);
    await journal.append({
      term: 2,
      previousSequence: 1,
      previousTerm: 1,
      entries: [entry(1, 'b'), entry(2, 'C')],
    });
    expect(await texts(journal)).toEqual(['a', 'b', 'C']);
    await journal.append({ term: 2, previousSequence: 2, previousTerm: 1, entries: [] });
    expect(journal.state()).toMatchObject({ lastSequence: 2, lastTerm: 1 });
    await journal.close();
    journal = await openJournal(directory);
    expect(await texts(journal)).toEqual(['a', 'b']);
    await append(journal, 2, 'c2');
    expect(await texts(journal)).toEqual(['a', 'b', 'c2']);
    await journal.close();
  });

  test('goes through many files, uses trimmed ones again, and never takes their old contents for entries', async () => {
    const directory = scratchDirectory();
    let journal = await openJournal(directory);
    await journal.fence(1);
    const big = 'x'.repeat(60 * KIB);
    for (let i = 1; i <= 100; i++) {
      await append(journal, 1, `${i} ${big}`);
      if (i % 8 === 0) await journal.trim(1, i - 3);
      if (i % 30 === 0) {
        await journal.close();
        journal = await openJournal(directory);
        expect(journal.state()).toMatchObject({ lastSequence: i, damagedSequence: 0 });
      }
    }
    expect(readdirSync(directory).filter((name) => name.endsWith('.tjl')).length).toBeLessThanOrEqual(6);
    const { firstSequence } = journal.state();
    expect(firstSequence).toBe(94);
    expect((await texts(journal)).map((text) => Number.parseInt(text, 10))).toEqual([
      94, 95, 96, 97, 98, 99, 100,
    ]);
    expect(await reasonOf(journal.read(93, 1000))).toBe('missing');
    await journal.close();
  });

  test('is full at its bound, and goes on after a trim', async () => {
    const journal = await openJournal(scratchDirectory());
    await journal.fence(1);
    let reason = 'none';
    let last = 0;
    while (reason === 'none') {
      reason = await reasonOf(append(journal, 1, 'y'.repeat(60 * KIB)));
      if (reason === 'none') last++;
    }
    expect(reason).toBe('full');
    expect(last).toBeGreaterThanOrEqual(18);
    expect(journal.state().lastSequence).toBe(last);
    await journal.trim(1, last);
    await append(journal, 1, 'goes on');
    expect(await texts(journal)).toEqual(['goes on']);
    await journal.close();
  });

  test('starts behind a snapshot after a reset, also when it is restarted', async () => {
    const directory = scratchDirectory();
    let journal = await openJournal(directory);
    await journal.fence(4);
    await append(journal, 4, 'gone');
    await journal.reset(4, 1000, 3);
    expect(journal.state()).toMatchObject({
      firstSequence: 1001,
      lastSequence: 1000,
      previousTerm: 3,
      lastTerm: 3,
    });
    await journal.close();
    journal = await openJournal(directory);
    expect(await texts(journal)).toEqual([]);
    await append(journal, 4, 'first');
    expect(await texts(journal, 1001)).toEqual(['first']);
    await journal.close();
  });

  test('cuts a torn last entry off', async () => {
    const directory = scratchDirectory();
    const journal = await openJournal(directory);
    await journal.fence(1);
    await append(journal, 1, 'kept');
    await append(journal, 1, 'z'.repeat(10 * KIB));
    await journal.close();
    damage(directory, 1, 4 * BLOCK_BYTES);
    const again = await openJournal(directory);
    expect(await texts(again)).toEqual(['kept']);
    expect(again.state()).toMatchObject({ damagedSequence: 0, doubtfulEnd: true });
    await append(again, 1, 'next');
    expect(again.state().doubtfulEnd).toBe(false);
    expect(await texts(again)).toEqual(['kept', 'next']);
    await again.close();
  });

  test('takes the end for doubtful when part of the last header is damaged, and for sound when an older lap lies there', async () => {
    for (const offset of [4, 20, 30]) {
      const directory = scratchDirectory();
      const journal = await openJournal(directory);
      await journal.fence(1);
      await append(journal, 1, 'kept');
      await append(journal, 1, 'acknowledged');
      await journal.close();
      damage(directory, 1, 2 * BLOCK_BYTES + offset, 1);
      const again = await openJournal(directory);
      expect(again.state()).toMatchObject({ lastSequence: 1, doubtfulEnd: true });
      await again.close();
    }
    const directory = scratchDirectory();
    const journal = await openJournal(directory);
    await journal.fence(1);
    for (let i = 0; i < 20; i++) await append(journal, 1, 'x'.repeat(40 * KIB));
    await journal.trim(1, 19);
    for (let i = 0; i < 8; i++) await append(journal, 1, 'x'.repeat(40 * KIB));
    await journal.close();
    const again = await openJournal(directory);
    expect(again.state()).toMatchObject({ lastSequence: 28, doubtfulEnd: false });
    await again.close();
  });

  test('reports damage in the middle, serves what is in front of it, and is repaired by the missing entries', async () => {
    const directory = scratchDirectory();
    let journal = await openJournal(directory);
    await journal.fence(1);
    for (const text of ['a', 'b', 'c', 'd']) await append(journal, 1, text);
    await journal.close();
    damage(directory, 1, 2 * BLOCK_BYTES + 60);
    journal = await openJournal(directory);
    expect(logged.events).toContain('journal-damaged');
    expect(journal.state()).toMatchObject({
      lastSequence: 1,
      damagedSequence: 2,
      endSequence: 4,
      endTerm: 1,
    });
    expect((await journal.read(1, 1000)).map(textOf)).toEqual(['a']);
    expect(await reasonOf(journal.read(2, 1000))).toBe('corrupt');
    expect((await journal.read(3, 1000)).map(textOf)).toEqual(['c', 'd']);
    await journal.fence(2);
    const entries = ['b', 'c', 'd'].map((text) => entry(1, text));
    await journal.append({ term: 2, previousSequence: 1, previousTerm: 1, entries });
    for (let round = 0; round < 2; round++) {
      expect(await texts(journal)).toEqual(['a', 'b', 'c', 'd']);
      expect(journal.state().damagedSequence).toBe(0);
      await journal.close();
      journal = await openJournal(directory);
    }
    await journal.close();
  });

  test('does not return an entry that rotted while it was running', async () => {
    const directory = scratchDirectory();
    const journal = await openJournal(directory);
    await journal.fence(1);
    await append(journal, 1, 'fine');
    await append(journal, 1, 'rots');
    damage(directory, 1, 2 * BLOCK_BYTES + 80);
    expect((await journal.read(1, 1)).map(textOf)).toEqual(['fine']);
    expect(await reasonOf(journal.read(2, 1000))).toBe('corrupt');
    expect(journal.state()).toMatchObject({ lastSequence: 1, damagedSequence: 2, endSequence: 2 });
    await append(journal, 1, 'repaired');
    expect(await texts(journal)).toEqual(['fine', 'repaired']);
    await journal.close();
  });

  test('does not bring a cut entry back when the frame that replaced it is damaged', async () => {
    const directory = scratchDirectory();
    let journal = await openJournal(directory);
    await journal.fence(1);
    await append(journal, 1, 'a', 'b', 'cut');
    await journal.fence(2);
    const at = { term: 2, previousSequence: 2, previousTerm: 1 };
    await journal.append({ ...at, entries: [entry(2, 'replaced it')] });
    await append(journal, 2, 'last');
    await journal.close();
    damage(directory, 1, 2 * BLOCK_BYTES + 60);
    journal = await openJournal(directory);
    expect(journal.state()).toMatchObject({
      lastSequence: 0,
      damagedSequence: 1,
      endSequence: 4,
      endTerm: 2,
    });
    expect((await journal.read(4, 1000)).map(textOf)).toEqual(['last']);
    expect(await reasonOf(journal.read(3, 1000))).toBe('corrupt');
    await journal.close();
  });

  test('is blank until it is reset or holds something, whatever terms it promised', async () => {
    const directory = scratchDirectory();
    for (let term = 1; term < 4; term++) {
      const journal = await openJournal(directory);
      expect(journal.state().blank).toBe(true);
      await journal.fence(term);
      expect(journal.state()).toMatchObject({ blank: true, term });
      await journal.close();
    }
    let journal = await openJournal(directory);
    await journal.reset(3, 0, 0);
    expect(journal.state().blank).toBe(false);
    await journal.close();
    journal = await openJournal(directory);
    expect(journal.state().blank).toBe(false);
    await journal.close();
  });

  test('opens without its state file, as blank or as damaged, and never as a shorter log', async () => {
    const directory = scratchDirectory();
    let journal = await openJournal(directory);
    await journal.fence(1);
    await journal.reset(1, 700, 1);
    await append(journal, 1, 'a', 'b');
    await journal.close();
    for (const spoil of [rmSync, (path: string) => writeFileSync(path, Buffer.alloc(2 * BLOCK_BYTES, 7))]) {
      spoil(join(directory, 'journal.slot'));
      journal = await openJournal(directory);
      expect(journal.state()).toMatchObject({ damagedSequence: 1, endSequence: 702, term: 0 });
      expect((await journal.read(701, 1000)).map(textOf)).toEqual(['a', 'b']);
      await journal.close();
    }
    for (const name of readdirSync(directory)) rmSync(join(directory, name));
    journal = await openJournal(directory);
    expect(journal.state()).toMatchObject({ blank: true });
    await journal.close();
  });

  test('of a later version is refused and left as it is', async () => {
    const directory = scratchDirectory();
    const journal = await openJournal(directory);
    await journal.fence(1);
    await append(journal, 1, 'kept');
    await journal.close();
    for (const name of ['journal.slot', '000001.tjl']) {
      const path = join(directory, name);
      const sound = readFileSync(path);
      const later = Buffer.from(sound);
      for (let at = 0; at < (name === 'journal.slot' ? 2 : 1) * BLOCK_BYTES; at += BLOCK_BYTES) {
        later.writeUInt16LE(2, at + 8);
        later.writeUInt32LE(platform.kernels.crc32c(later.subarray(at + 4, at + BLOCK_BYTES)), at);
      }
      writeFileSync(path, later);
      await expect(openJournal(directory)).rejects.toThrow('another version of tartanfs');
      expect(readFileSync(path).equals(later)).toBe(true);
      writeFileSync(path, sound);
    }
    const again = await openJournal(directory);
    expect(await texts(again)).toEqual(['kept']);
    await again.close();
  });

  test('a fence that comes in the middle of a reset answers for what is left, also after a crash', async () => {
    const directory = scratchDirectory();
    const journal = await openJournal(directory);
    await journal.fence(1);
    await append(journal, 1, 'old', 'old', 'old');
    const resetting = journal.reset(1, 1, 1);
    const fencing = journal.fence(2);
    expect(await fencing).toMatchObject({ lastSequence: 1, term: 2 });
    await resetting;
    const again = await openJournal(copyOf(directory));
    expect(again.state()).toMatchObject({ lastSequence: 1, firstSequence: 2, term: 2 });
    await again.close();
    await journal.close();
  });
});

type Step =
  | { kind: 'append'; sizes: number[] }
  | { kind: 'rewrite'; back: number }
  | { kind: 'fence' }
  | { kind: 'trim'; keep: number }
  | { kind: 'crash' }
  | { kind: 'close' };

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 10,
    arbitrary: fc.record({
      kind: fc.constant('append' as const),
      sizes: fc.array(fc.oneof(fc.nat(300), fc.integer({ min: 1000, max: 80_000 })), {
        minLength: 1,
        maxLength: 3,
      }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('rewrite' as const), back: fc.nat(5) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('fence' as const) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('trim' as const), keep: fc.nat(6) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('crash' as const) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('close' as const) }) },
);

interface Known {
  readonly term: number;
  readonly text: string;
}

test('holds every acknowledged entry, and after a crash at most a prefix of the others behind them', async () => {
  await fc.assert(
    fc.asyncProperty(fc.nat(), fc.array(step, { minLength: 5, maxLength: 60 }), async (seed, steps) => {
      let state = seed >>> 0;
      const random = () => {
        state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
        return state / 2 ** 32;
      };
      const directory = scratchDirectory();
      let machine = new CrashingPlatform(platform, random);
      const open = () => {
        machine = new CrashingPlatform(platform, random);
        return JournalStore.open(machine.platform, {
          directory,
          volumeId,
          fileBytes: 256 * KIB,
          maxFiles: 40,
        });
      };
      let journal = await open();
      let term = 1;
      await journal.fence(term);
      // Entries asked for, by sequence - 1; the first `acknowledged` are promised.
      let asked: Known[] = [];
      let acknowledged = 0;
      let base = 0;
      let counter = 0;
      let waiting: Promise<void>[] = [];

      const request = (previousSequence: number, sizes: number[]) => {
        const entries = sizes.map((size) => entry(term, `${++counter}:`, Math.max(10, size)));
        const previousTerm = previousSequence === 0 ? 0 : asked[previousSequence - 1]!.term;
        asked = asked.slice(0, previousSequence);
        for (const one of entries) asked.push({ term, text: textOf(one) });
        const until = asked.length;
        const done = journal.append({ term, previousSequence, previousTerm, entries }).then(() => {
          acknowledged = Math.max(acknowledged, until);
        });
        waiting.push(done);
      };
      const settle = async () => {
        await Promise.all(waiting);
        waiting = [];
      };
      const check = async () => {
        const { firstSequence, lastSequence, damagedSequence } = journal.state();
        expect(damagedSequence).toBe(0);
        expect(firstSequence).toBeLessThanOrEqual(base + 1);
        expect(lastSequence).toBeGreaterThanOrEqual(acknowledged);
        expect(lastSequence).toBeLessThanOrEqual(asked.length);
        asked = asked.slice(0, lastSequence);
        acknowledged = lastSequence;
        expect(await texts(journal)).toEqual(asked.slice(firstSequence - 1).map(({ text }) => text));
      };

      for (const one of steps) {
        switch (one.kind) {
          case 'append':
            request(asked.length, one.sizes);
            break;
          case 'rewrite': {
            await settle();
            await journal.fence(++term);
            const start = Math.max(base, asked.length - one.back);
            acknowledged = Math.min(acknowledged, start);
            request(start, [20]);
            await settle();
            break;
          }
          case 'fence':
            await settle(); // appends that still wait for room would be refused
            await journal.fence(++term);
            break;
          case 'trim': {
            const upTo = Math.max(base, acknowledged - one.keep);
            await journal.trim(term, upTo);
            base = upTo;
            break;
          }
          case 'crash':
            await machine.crash();
            waiting = [];
            journal = await open();
            await check();
            await journal.fence(term);
            break;
          case 'close':
            await settle();
            await journal.close();
            journal = await open();
            await check();
            break;
        }
        await machine.pause();
      }
      await settle();
      await check();
      await journal.close();
    }),
    { numRuns: 30, endOnFailure: true },
  );
}, 60_000);
