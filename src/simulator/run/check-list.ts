/** The checkers of every run. */
import { JournalMembers } from '../checkers/journal-members.ts';
import type { Checker } from '../contract.ts';

export function allCheckers(): readonly Checker[] {
  return [new JournalMembers()];
}
