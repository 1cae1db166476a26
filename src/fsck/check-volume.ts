/**
 * The check of a volume: everything that must hold between extents, segments, fragments, directories, attributes, journal and replicas.
 *
 * The metadata is looked at as one moment, a view of the primary's own store behind a checkpoint, while the volume goes on; so what is found
 * in it is so. What lies on the nodes is looked at afterwards, and what does not fit the view is looked at again against the primary's
 * present state before it is reported. Repairs are ordinary transactions of the primary. After a round with repairs everything is looked at
 * again, since one thing may hide another.
 *
 * Memory: 22 bytes an inode, 29 bytes and a bit a block a segment, and a few pages (see inode-index.ts and segment-index.ts).
 */
import { nameHash } from '../metadata/directory-table.ts';
import {
  type Check,
  CheckCancelled,
  CheckContext,
  type CheckedVolume,
  type CheckProgress,
} from './check-context.ts';
import { checkFiles } from './check-files.ts';
import { checkFragments } from './check-fragments.ts';
import { checkNames } from './check-names.ts';
import { checkOrphans } from './check-orphans.ts';
import { checkReach } from './check-reach.ts';
import { checkReplicas } from './check-replicas.ts';
import { checkSegments } from './check-segments.ts';
import { type CheckSummary, type Finding, findingKinds } from './findings.ts';
import { loadInodes, loadSegments, loadTotals } from './load.ts';
import { Paths } from './paths.ts';
import type { Problem } from './problem.ts';

export { CheckCancelled, type CheckedVolume, type CheckProgress };

export interface CheckOptions {
  /** Read every byte, and hold it against its checksums and the parity. */
  readonly data?: boolean;
  readonly repair?: boolean;
  /** No file system is attached to the metadata: names and inodes can be repaired, too. */
  readonly atRest: boolean;
  /** How long what seems left over may still be on its way. */
  readonly settleMs?: number;
  readonly onProgress?: (progress: CheckProgress) => void;
  /** Asked now and then; true ends the check with CheckCancelled. */
  readonly isCancelled?: () => boolean;
}

/** One thing hides another only so often; what is still found then is left. */
const MAX_ROUNDS = 5;
const MAX_LISTED = 10_000;
const SETTLE_MS = 1000;
const NOT_NOW = 'it cannot be repaired as things are; see the other findings';

/** Of the view alone. */
const metadataChecks: readonly Check[] = [
  loadTotals,
  loadSegments,
  loadInodes,
  buffered(checkNames),
  checkReach,
  checkFiles,
  checkSegments,
];
/** These ask the primary for records, which would give up its store if it met a damaged one. */
const nodeChecks: readonly Check[] = [checkFragments, checkOrphans, checkReplicas];

/** Paths in what a check reports are right only when it is over. */
function buffered(check: Check): Check {
  return async function* (context) {
    const problems: Problem[] = [];
    for await (const problem of check(context)) {
      problems.push(problem);
      if (problems.length >= MAX_LISTED) yield* problems.splice(0);
    }
    yield* problems;
  };
}

/**
 * Yields what it finds, once each, and returns what was looked at. Rejects with MetadataUnavailable, CheckCancelled, or what the disk or the network
 * does to the primary's own store.
 */
export async function* checkVolume(
  volume: CheckedVolume,
  options: CheckOptions,
): AsyncGenerator<Finding, CheckSummary> {
  const run = new CheckRun(volume, options);
  for (let round = 1; ; round++) {
    const repairs = yield* run.round();
    if (repairs === 0 || round === MAX_ROUNDS) return run.summary();
  }
}

class CheckRun {
  readonly #volume: CheckedVolume;
  readonly #options: CheckOptions;
  /** Findings that were yielded, and whether they were repaired. */
  readonly #listed = new Map<string, boolean>();
  #unlisted = 0;
  #repaired = 0;
  /** A record cannot be read: what it says is not known, so what seems to follow from the others may be wrong. */
  #damaged = false;
  /** Of the round. */
  #left = { error: 0, warning: 0, note: 0 };
  #looked: Pick<CheckSummary, 'inodes' | 'segments' | 'mappedBlocks' | 'fragments'> = {
    ...{ inodes: 0, segments: 0, mappedBlocks: 0, fragments: 0 },
  };
  #bytesRead = 0;

  constructor(volume: CheckedVolume, options: CheckOptions) {
    this.#volume = volume;
    this.#options = options;
  }

  /** Returns how many repairs were made. */
  async *round(): AsyncGenerator<Finding, number> {
    const {
      atRest,
      data = false,
      settleMs = SETTLE_MS,
      onProgress,
      isCancelled = () => false,
    } = this.#options;
    const volume = this.#volume;
    const view = await volume.metadata.openView();
    const hash = nameHash(Number.parseInt(volume.volumeId.slice(0, 8), 16));
    const context = new CheckContext({ volume, view, hash, atRest, data, settleMs, onProgress, isCancelled });
    const paths = new Paths(context);
    const before = this.#repaired;
    this.#left = { error: 0, warning: 0, note: 0 };
    this.#damaged = false;
    try {
      for (const check of [...metadataChecks, ...nodeChecks]) {
        if (this.#damaged && nodeChecks.includes(check)) break;
        for await (const problem of check(context)) {
          const finding = await this.#finding(problem, paths);
          if (finding !== undefined) yield finding;
        }
        if (context.rootIsLost) break;
      }
    } finally {
      await view.close();
    }
    const { inodes, segments, mappedBlocks, fragments } = context;
    this.#looked = { inodes: inodes.count, segments: segments.count, mappedBlocks, fragments };
    this.#bytesRead += context.bytesRead;
    return this.#repaired - before;
  }

  /** Repairs it if that is wanted and possible. undefined: it was reported before, or too many were. */
  async #finding(problem: Problem, paths: Paths): Promise<Finding | undefined> {
    const { kind, detail, subject: ids } = problem;
    const { severity, advice } = findingKinds[kind];
    const subject = await paths.subject(ids);
    const repairable =
      problem.repair !== undefined ||
      problem.repairAtRest !== undefined ||
      problem.repairOnNodes !== undefined;
    if (kind === 'record-damaged') this.#damaged = true;
    const repaired = this.#options.repair === true && (await this.#repair(problem));
    if (repaired) this.#repaired++;
    else this.#left[severity]++;
    const name = `${kind} ${subject} ${detail}`;
    if (this.#listed.get(name) === repaired) return undefined;
    if (this.#listed.size >= MAX_LISTED) {
      this.#unlisted++;
      return undefined;
    }
    this.#listed.set(name, repaired);
    const tried =
      this.#options.repair === true && (this.#options.atRest || problem.repairAtRest === undefined);
    const failed = repairable && tried && !repaired;
    return { severity, kind, subject, detail, advice: failed ? NOT_NOW : advice, repairable, repaired, ids };
  }

  async #repair({ kind, repair, repairAtRest, repairOnNodes }: Problem): Promise<boolean> {
    if (this.#damaged && kind !== 'record-damaged') return false;
    if (repairOnNodes !== undefined) return repairOnNodes();
    const change = repair ?? (this.#options.atRest ? repairAtRest : undefined);
    if (change === undefined) return false;
    await this.#volume.metadata.backlog();
    return this.#volume.metadata.repair(change);
  }

  summary(): CheckSummary {
    return {
      ...this.#looked,
      bytesRead: this.#bytesRead,
      repaired: this.#repaired,
      errors: this.#left.error,
      warnings: this.#left.warning,
      notes: this.#left.note,
      unlisted: this.#unlisted,
    };
  }
}
