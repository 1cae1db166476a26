/** The parts of a process's platform that are neither disk nor network: timers, random numbers, log, memory. */
import { assert } from '../../base/assert.ts';
import type { LogFields, Logger, Memory, RandomSource, Slab, Timers } from '../../platform/platform.ts';
import type { Dice } from '../contract.ts';
import type { MachineClock } from './clock.ts';
import type { MachineProcess } from './process.ts';
import type { ProcessMemory } from './run-memory.ts';
import type { RollingTrace } from './trace.ts';

/** Node's timers are never shorter, and one that should be longer runs at once. */
const SHORTEST_TIMER_MS = 1;
const LONGEST_TIMER_MS = 2 ** 31 - 1;

export function processTimers(process: MachineProcess, clock: MachineClock): Timers {
  const after: Timers['after'] = (delayMs, run) => {
    assert(delayMs <= LONGEST_TIMER_MS, 'a timer of at most 2^31 - 1 ms');
    return process.timer(clock.virtualMs(Math.max(delayMs, SHORTEST_TIMER_MS)), run);
  };
  return {
    after,
    sleep: (delayMs) => new Promise((resolve) => after(delayMs, resolve)),
    defer: (run) => void process.after(0, run),
    waitAwake: () => undefined,
  };
}

export function processRandom(dice: Dice): RandomSource {
  return { bytes: (lengthBytes) => dice.bytes(lengthBytes), below: (bound) => dice.below(bound) };
}

/** Every event goes to the trace, at every level; fields are only put together when somebody reads them. */
export function processLogger(trace: RollingTrace, processName: string): Logger {
  const make = (common: LogFields): Logger => {
    const at = (level: string) => {
      const everyLine = (): LogFields => ({ process: processName, level, ...common });
      return (event: string, fields?: LogFields): void => trace.log(event, fields, everyLine);
    };
    return {
      debug: at('debug'),
      info: at('info'),
      warn: at('warn'),
      error: at('error'),
      child: (fields) => make({ ...common, ...fields }),
    };
  };
  return make({});
}

/** Plain memory, of which nothing can be shared: simulated connections pass no descriptors. */
export function processMemory(memory: ProcessMemory): Memory {
  return {
    allocate: (lengthBytes) => memory.allocate(lengthBytes),
    createSlab: (lengthBytes) => createSlab(memory, lengthBytes),
    mapSlab: () => {
      throw new Error('a simulated process cannot map memory of another one');
    },
    openDescriptor: () => {
      throw new Error('a simulated process receives no descriptors');
    },
  };
}

function createSlab(memory: ProcessMemory, lengthBytes: number): Slab {
  assert(lengthBytes > 0, `slab of ${lengthBytes} bytes`);
  const buffer = memory.allocate(lengthBytes);
  let open = true;
  return {
    lengthBytes,
    buffer,
    descriptor: undefined,
    async populate() {},
    close() {
      if (!open) return;
      open = false;
      // As the real one: views become empty now.
      memory.free(buffer);
    },
  };
}
