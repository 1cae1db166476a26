/** What the torture command understands. Every option has an effect; anything else is refused. */
import { randomInt } from 'node:crypto';
import { parseArgs } from 'node:util';

export interface TortureOptions {
  readonly mode: 'faults' | 'failover' | 'recovery';
  readonly seconds: number;
  readonly seed: number;
  readonly nodes: number;
  readonly parity: number;
  /** For the recovery mode. */
  readonly files: number;
}

const MAX_SEED = 2 ** 31 - 1;

export const usage = `Usage: npm run torture -- [options]
  --seconds N    how long faults go on (60)
  --seed N       draws the faults and what is written (drawn and printed)
  --nodes N      storage nodes (5)
  --parity M     how many of them may be away at a time (1)
  --failover     measure the pause that each fault causes, instead
  --recovery     measure the start after kill -9 of everything, instead
  --files N      files of the volume for --recovery (100000)`;

export class WrongUse extends Error {
  override readonly name = 'WrongUse';
}

export function parseOptions(args: readonly string[]): TortureOptions {
  let values: Partial<Record<string, string | boolean>>;
  try {
    values = parseArgs({
      args: [...args],
      options: {
        seconds: { type: 'string' },
        seed: { type: 'string' },
        nodes: { type: 'string' },
        parity: { type: 'string' },
        files: { type: 'string' },
        failover: { type: 'boolean' },
        recovery: { type: 'boolean' },
      },
    }).values;
  } catch (error) {
    throw new WrongUse((error as Error).message);
  }
  const count = (name: string, otherwise: number, least: number, most: number): number => {
    const text = values[name];
    if (text === undefined) return otherwise;
    const value = Number(text);
    if (Number.isInteger(value) && value >= least && value <= most) return value;
    throw new WrongUse(`--${name} ${text}: a whole number from ${least} to ${most} is needed`);
  };
  if (values.failover === true && values.recovery === true) {
    throw new WrongUse('--failover and --recovery are two different measurements');
  }
  const nodes = count('nodes', 5, 1, 32);
  const parity = count('parity', 1, 0, 3);
  if (nodes < 2 * parity + 1) {
    throw new WrongUse(
      `with ${parity} of ${nodes} nodes away too few are left to write with full parity: use --nodes ${2 * parity + 1}`,
    );
  }
  return {
    mode: values.failover === true ? 'failover' : values.recovery === true ? 'recovery' : 'faults',
    seconds: count('seconds', 60, 1, 86_400),
    seed: count('seed', randomInt(MAX_SEED), 0, MAX_SEED),
    nodes,
    parity,
    files: count('files', 100_000, 1, 10_000_000),
  };
}
