/** The checkers of every run. */
import type { Checker } from '../contract.ts';

export function allCheckers(): readonly Checker[] {
  return [];
}
