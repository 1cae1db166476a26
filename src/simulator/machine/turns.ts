/**
 * The one place where a run touches the real event loop: between two steps every promise reaction and every nextTick must have run, and
 * only Node knows when that is. It lets them run after each callback of setImmediate, so each step is one such callback;
 * many of them are queued at a time, because a round of the real event loop costs ten times as much as a step.
 *
 * Exceptions and rejected promises that nobody took become the failure of the run whose step caused them. So while runs are under way,
 * nobody else in this process hears of such things.
 */
import { setImmediate } from 'node:timers';

const STEPS_A_ROUND = 64;
const trouble = ['uncaughtException', 'unhandledRejection'] as const;
type Listener = (reason: unknown) => void;

/** Of the step that runs, or whose promise reactions run. */
let onTrouble: ((reason: unknown) => void) | undefined;
const report: Listener = (reason) => onTrouble?.(reason);
let runsUnderWay = 0;
let others: (readonly [(typeof trouble)[number], Listener[]])[] = [];

function listenAlone(): void {
  if (runsUnderWay++ > 0) return;
  others = trouble.map((name) => [name, process.listeners(name as 'uncaughtException') as Listener[]]);
  for (const name of trouble) {
    process.removeAllListeners(name);
    process.on(name, report);
  }
}

function listenNoMore(): void {
  if (--runsUnderWay > 0) return;
  for (const [name, listeners] of others) {
    process.off(name, report);
    for (const listener of listeners) process.on(name, listener);
  }
}

/** Calls `step` again and again, each time after all reactions to the call before, until it returns false. */
export function takeTurns(step: () => boolean, failed: (reason: unknown) => void): Promise<void> {
  listenAlone();
  return new Promise((resolve) => {
    let ended = false;
    let queued = 0;
    const turn = (): void => {
      queued--;
      if (ended) return;
      onTrouble = failed;
      if (queued === 0) queueRound();
      if (attempt(step, failed)) return;
      ended = true;
      listenNoMore();
      resolve();
    };
    const queueRound = (): void => {
      for (; queued < STEPS_A_ROUND; queued++) setImmediate(turn);
    };
    queueRound();
  });
}

function attempt(step: () => boolean, failed: (reason: unknown) => void): boolean {
  try {
    return step();
  } catch (error) {
    failed(error);
    return true;
  }
}
