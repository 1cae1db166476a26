/**
 * How much may be wrong at a time, so that every promise must still hold: at most m nodes that do not answer or do not hold what they
 * took, and not the coordinator beside them. What is rotten on a disk counts for the rest of the run.
 *
 * Somebody who comes back counts a little longer, because the others have to notice and to bring it up to date.
 */

export const COORDINATOR = 'coordinator';
export const RECOVERY_MS = 3_000;

interface Affected {
  readonly target: string;
  readonly fromMs: number;
  readonly toMs: number;
}

export class FaultBudget {
  readonly #nodesAtOnce: number;
  readonly #affected: Affected[] = [];

  constructor(nodesAtOnce: number) {
    this.#nodesAtOnce = nodesAtOnce;
  }

  /** Takes the fault into account, if it is within the limits. */
  admits(target: string, fromMs: number, durationMs: number): boolean {
    const toMs = fromMs + durationMs + RECOVERY_MS;
    const beside = new Set([target]);
    for (const other of this.#affected) {
      if (other.fromMs <= toMs && fromMs <= other.toMs) beside.add(other.target);
    }
    if (beside.has(COORDINATOR) ? beside.size > 1 : beside.size > this.#nodesAtOnce) return false;
    this.#affected.push({ target, fromMs, toMs });
    return true;
  }
}
