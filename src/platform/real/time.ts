/** The machine's clocks and timers. */
import { setImmediate, setTimeout } from 'node:timers';
import type { Clock, Timers } from '../platform.ts';

export const realClock: Clock = {
  wallMs: () => performance.timeOrigin + performance.now(),
  monotonicMs: () => performance.now(),
};

export const realTimers: Timers = {
  after(delayMs, run) {
    const timer = setTimeout(run, delayMs).unref();
    return { cancel: () => clearTimeout(timer) };
  },
  sleep: (delayMs) => new Promise((resolve) => setTimeout(resolve, delayMs)),
  defer(run) {
    setImmediate(run);
  },
};
