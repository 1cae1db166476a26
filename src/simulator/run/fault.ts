/**
 * Faults as data: a schedule is a list of them, made from the seed, printed with a failure, and shrunk by leaving some out. Each has its
 * own end, so every part of a schedule is a schedule.
 */

export type FaultKind =
  /** The process dies as by kill -9 and starts again when the time is over. */
  | 'crash'
  /** The same, of the mount. */
  | 'crash-mount'
  /** The machine loses its power; what was not synced is lost, torn or kept. */
  | 'power'
  /** As SIGSTOP and SIGCONT. */
  | 'freeze'
  /** Nothing gets from the target to `other`, nor back. */
  | 'cut'
  /** Nothing gets from the target to `other`; the other way is open. */
  | 'cut-one-way'
  /** What goes either way takes `amount` milliseconds. */
  | 'delay'
  /** Of what goes either way the share `amount` is lost and sent again. */
  | 'loss'
  /** Connections between the two end, and only one side hears of it. */
  | 'half-open'
  /** The target's disk is `amount` times slower. */
  | 'slow-disk'
  | 'stuck-disk'
  | 'full-disk'
  /** Reads, writes and syncs fail with EIO at the rate `amount`. */
  | 'disk-errors'
  /** `amount` bits flip in the target's files. */
  | 'rot'
  | 'lost-writes'
  | 'misdirected-writes'
  /** A database of the target cannot be opened after a crash, which comes with it: of a node its index (amount 0), its replica (1), or both copies
   * of the state of its fragment store (2). */
  | 'corrupt-database'
  /** The target's wall clock jumps by `amount` milliseconds, either way. */
  | 'clock-jump'
  /** The other mount takes the volume over while the present one is cut off from the nodes (amount 0), frozen (1), well (2), or cut off
   * from the coordinator (3). */
  | 'take-over'
  /** Every machine loses its power at once. */
  | 'blackout';

export interface Fault {
  readonly atMs: number;
  readonly kind: FaultKind;
  /** A process's name; a machine's is the same unless all are on one machine. */
  readonly target: string;
  /** The second machine of a fault between two. */
  readonly other?: string;
  /** Until it is made good; 0 for what cannot be. */
  readonly durationMs: number;
  readonly amount?: number;
}

/** One line, for people. */
export function describeFault({ atMs, kind, target, other, durationMs, amount }: Fault): string {
  const between = other === undefined ? '' : `, ${other}`;
  const much = amount === undefined ? '' : ` amount=${amount}`;
  return `${atMs.toFixed(1).padStart(10)} ms  ${kind} ${target}${between} for ${durationMs.toFixed(1)} ms${much}`;
}
