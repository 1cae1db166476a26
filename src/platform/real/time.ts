/** The machine's clocks and timers. */
import { setImmediate, setTimeout } from 'node:timers';
import { checked, type NativeHandle, nativeAddon } from '../native/addon.ts';
import type { Clock, Timers } from '../platform.ts';

const fileTime = new Float64Array(2);
const fileTimeBytes = new Uint8Array(fileTime.buffer);
let awake: NativeHandle | undefined;

export const realClock: Clock = {
  wallMs: () => performance.timeOrigin + performance.now(),
  fileTime() {
    nativeAddon().fileTime(fileTimeBytes);
    return { seconds: fileTime[0]!, nanoseconds: fileTime[1]! };
  },
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
  waitAwake(isWaiting) {
    const addon = nativeAddon();
    awake ??= checked<NativeHandle>(addon.awakeOpen(), 'wait awake');
    addon.awakeExpect(awake, isWaiting);
  },
};
