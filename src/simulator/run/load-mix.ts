/** Which workloads a run puts on its cluster. */
import type { Dice, Workload } from '../contract.ts';
import { AppendWorkload } from '../workloads/append.ts';
import { BankWorkload } from '../workloads/bank.ts';
import { FillWorkload } from '../workloads/fill.ts';
import { OverwriteWorkload } from '../workloads/overwrite.ts';
import { PosixWorkload } from '../workloads/posix.ts';
import { ReserveWorkload } from '../workloads/reserve.ts';
import { StreamWorkload } from '../workloads/stream.ts';

export function randomPosix(_dice: Dice): Workload {
  return new PosixWorkload();
}

export function fillAndDelete(_dice: Dice): Workload {
  return new FillWorkload();
}

/** Room that nobody else may take. */
export function reserveAndWrite(_dice: Dice): Workload {
  return new ReserveWorkload();
}

/** Enough for small nodes to be written over several times. */
export function overwriteAll(name: string): Workload {
  return new OverwriteWorkload(name, { regionBlocks: 200, mostBlocks: 48 });
}

const usual: readonly (() => Workload)[] = [
  () => new AppendWorkload(),
  () => new BankWorkload(),
  () => new StreamWorkload(),
  () => new OverwriteWorkload(),
];

/** Random operations always, and two of the others, so that a run stays quick and pairs vary. */
export function standardMix(dice: Dice): Workload[] {
  const first = dice.below(usual.length);
  const second = (first + 1 + dice.below(usual.length - 1)) % usual.length;
  return [new PosixWorkload(), usual[first]!(), usual[second]!()];
}
