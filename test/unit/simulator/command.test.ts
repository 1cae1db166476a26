import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { runCommand, simulatorExit } from '../../../src/simulator/command.ts';

describe('the command', () => {
  let output = '';
  beforeEach(() => {
    output = '';
    for (const stream of [process.stdout, process.stderr]) {
      vi.spyOn(stream, 'write').mockImplementation((text) => {
        output += String(text);
        return true;
      });
    }
  });
  afterEach(() => vi.restoreAllMocks());

  const run = (line: string) => runCommand(line.split(' '));

  test('refuses what it does not know', async () => {
    expect(await run('--bogus')).toBe(simulatorExit.usage);
    expect(await run('--scenario none')).toBe(simulatorExit.usage);
    expect(output).toContain('there is no scenario none');
    expect(await run('--seed minus')).toBe(simulatorExit.usage);
    expect(await run('--help')).toBe(simulatorExit.ok);
  });

  test('names seed, version, speed and hash of a run, and stops after the steps it was given', async () => {
    expect(await run('--seed 4 --scenario calm --phases 1')).toBe(simulatorExit.ok);
    expect(output).toMatch(/^seed 4, scenario calm, tartanfs \d/m);
    expect(output).toMatch(/trace [0-9a-f]{16}/);
    expect(output).toMatch(/times real time/);
    expect(await run('--seed 4 --scenario calm --steps 200 --trace')).toBe(simulatorExit.ok);
    expect(output).toContain('200 events, 0 operations');
    expect(output).toContain('process-started');
  });

  test('tells how to see a failure again, with the faults that it takes', async () => {
    const code = await run('--seeds 3 --scenario processes --phases 1 --defect free-live');
    expect(code).toBe(simulatorExit.correctness);
    expect(output).toMatch(/FAILED \(correctness\) at/);
    expect(output).toMatch(/0 of \d+ faults suffice/);
    const replay = /^replay: npm run sim -- (.*)$/m.exec(output)?.[1] ?? '';
    expect(replay).toContain('--keep none');
    expect(await run(replay.replace(' --trace', ''))).toBe(simulatorExit.correctness);
  });
});
