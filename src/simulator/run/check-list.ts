/** The checkers of every run. */
import { FullParity } from '../checkers/full-parity.ts';
import { JournalMembers } from '../checkers/journal-members.ts';
import { Leaks } from '../checkers/leaks.ts';
import { VolumeCheck } from '../checkers/volume-check.ts';
import type { Checker } from '../contract.ts';

export function allCheckers(): readonly Checker[] {
  return [new JournalMembers(), new FullParity(), new VolumeCheck(), new Leaks()];
}
