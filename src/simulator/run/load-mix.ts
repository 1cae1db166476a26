/** Which workloads a run puts on its cluster. */
import type { Dice, Workload } from '../contract.ts';
import { SyncedFile } from './synced-file.ts';

export function randomPosix(dice: Dice): Workload {
  return new SyncedFile(`synced-${dice.below(1000)}`);
}

export function fillAndDelete(dice: Dice): Workload {
  return new SyncedFile(`filled-${dice.below(1000)}`);
}

export function standardMix(dice: Dice): Workload[] {
  return [randomPosix(dice.fork('a')), randomPosix(dice.fork('b'))];
}
