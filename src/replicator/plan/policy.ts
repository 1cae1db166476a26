/** The planner's defaults. What the owner sets or the machine measures (target, rates) has none. */
import { MAX_PARITY } from '../../base/limits.ts';
import type { PlanPolicy } from './contract.ts';

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const DAY_MS = 24 * HOUR_MS;

/** docs/availability.md says what each is for. */
export const DEFAULT_POLICY: Omit<
  PlanPolicy,
  'targetUnavailability' | 'backgroundBytesPerMs' | 'rebuildBytesPerMs'
> = {
  minParity: 1,
  maxParity: MAX_PARITY,
  maxWidth: 20,
  maxDataFragments: 20,
  rebuildGraceMs: MINUTE_MS,
  rebuildWithinMs: HOUR_MS,
  rebuildWorth: 1.25,
  nodeLifetimeMs: 3 * 365 * DAY_MS,
  spaceWeight: 4,
  fillLimit: 0.95,
  relaxMargin: 0.5,
  worthwhileCost: 0.95,
  settleMs: 10 * MINUTE_MS,
  quietMs: DAY_MS,
};
