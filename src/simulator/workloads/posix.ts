/**
 * Random operations of the whole interface on a small tree, compared with the model step by step. After a crash the tree must be one
 * that the promises allow (model/crash-history.ts); the model then goes on from what was found.
 *
 * After a failure that faults explain, the operation's effect is unknown: everything is synced, read and judged in the same way.
 */
import type { BlockRanges } from '../../base/block-ranges.ts';
import type { ErrnoError } from '../../base/errno.ts';
import { BLOCK_BYTES } from '../../base/units.ts';
import { toErrno } from '../../filesystem/errors.ts';
import type { FileSystem } from '../../filesystem/file-system.ts';
import {
  CheckFailed,
  type Dice,
  type MountedFileSystem,
  MountLost,
  type Workload,
  type WorkloadContext,
} from '../contract.ts';
import { CrashHistory } from '../model/crash-history.ts';
import { MemoryFileSystem } from '../model/memory-file-system.ts';
import { type Kind, type Operation, WEIGHTS } from '../model/operation.ts';
import { PairedRun } from '../model/paired-run.ts';
import {
  difference,
  linesOf,
  readContents,
  readTree,
  S_IFMT,
  S_IFREG,
  type Tree,
  treeOfModel,
} from '../model/tree.ts';
import { Tolerated } from '../model/two-sides.ts';
import { pause } from './loop.ts';
import { type FoundContents, modelOf } from './model-of.ts';
import { permits, Session } from './session.ts';
import { survivedUntilMs } from './tracked-file.ts';

/** Offsets reach over this many blocks. */
const SPAN_BLOCKS = 48;
const LONGEST_PAUSE_MS = 60;
const COMPARE_ALL_EVERY = 40;

/** More of names than where only reading and writing is looked at: they are what crashes may mix up. */
const names = { create: 6, makeDirectory: 2, link: 4, unlink: 4, rename: 10, fsyncDirectory: 2 };
const kinds = Object.entries({ ...WEIGHTS, ...names }) as [Kind, number][];
const totalWeight = kinds.reduce((sum, [, weight]) => sum + weight, 0);

/** What was found in the workload's directory. */
interface Found {
  readonly tree: Tree;
  readonly contents: ReadonlyMap<number, FoundContents>;
}

/** What is known about one mount. */
interface Running {
  readonly session: Session;
  readonly root: number;
  readonly paired: PairedRun;
}

export class PosixWorkload implements Workload {
  readonly name: string;
  readonly #limit: number;
  #model = new MemoryFileSystem();
  #history: CrashHistory | undefined;
  #running: Running | undefined;
  #lastMount: MountedFileSystem | undefined;
  #done = 0;
  /** An operation failed in a way that leaves its effect open; the moment of the history before it. */
  #openSince: number | undefined;
  #last = '';

  /** Does at most `operations` in each phase, in a directory with the workload's name. */
  constructor(name = 'posix', operations = Number.POSITIVE_INFINITY) {
    this.name = name;
    this.#limit = operations;
  }

  async run(context: WorkloadContext): Promise<void> {
    for (let count = 0; count < this.#limit && !context.stopping; count++) {
      try {
        const { paired } = await this.#ready(context);
        await this.#step(context, paired);
        await pause(context, context.dice);
      } catch (error) {
        if (!(error instanceof MountLost)) throw error;
      }
    }
  }

  async check(context: WorkloadContext): Promise<void> {
    for (let isDone = false; !isDone; ) {
      try {
        const { session, root, paired } = await this.#ready(context);
        await this.#compareExactly(session, root);
        await paired.compareAll();
        await session.insist('syncAll', {}, (one) => one.syncAll());
        this.#history?.synced('all');
        await this.#compareExactly(session, root);
        isDone = true;
      } catch (error) {
        if (error instanceof Tolerated)
          throw new CheckFailed(`${this.name}: ${error.message} after the faults`);
        if (!(error instanceof MountLost)) throw error;
      }
    }
  }

  async #step(context: WorkloadContext, paired: PairedRun): Promise<void> {
    const operation = drawOperation(context.dice);
    const before = this.#history!.moment;
    this.#done += 1;
    this.#last = JSON.stringify(operation);
    try {
      await paired.apply(operation);
      this.#history!.answered();
      if (this.#done % COMPARE_ALL_EVERY === 0) await paired.compareAll();
    } catch (error) {
      if (error instanceof Tolerated) this.#openSince = before;
      else if (error instanceof CheckFailed)
        throw new CheckFailed(`${this.name}: operation ${this.#done}, ${this.#last}: ${error.message}`);
      else throw error;
    }
  }

  /** A mount that is alive, and a model that is known to be what it shows. */
  async #ready(context: WorkloadContext): Promise<Running> {
    let running = this.#running;
    if (running === undefined || !running.session.isAlive) {
      this.#running = undefined;
      const session = new Session(context, await context.mounted(), this.name);
      const root = await session.directory(this.name);
      running = await this.#adopt(session, root);
    } else if (this.#openSince !== undefined) {
      const { session, root, paired } = running;
      await session.insist('syncAll', {}, (one) => one.syncAll());
      this.#history!.synced('all', this.#openSince);
      await session.attempt('abandon', {}, (one) => paired.abandon(one));
      running = await this.#adopt(session, root);
    }
    return running;
  }

  /** Judges what is there, and makes it what the model knows. */
  async #adopt(session: Session, root: number): Promise<Running> {
    const found = await read(session, root);
    if (this.#history !== undefined) {
      const bytes = new Map([...found.contents].map(([inode, contents]) => [inode, contents.bytes]));
      try {
        this.#history.check(found.tree, bytes, survivedUntilMs(session.context, this.#lastMount));
      } catch (error) {
        if (!(error instanceof CheckFailed)) throw error;
        const when = `mount ${session.mount.generation}, after operation ${this.#done} (${this.#last})`;
        throw new CheckFailed(`${this.name}: ${when}: ${error.message}`);
      }
    }
    this.#model = modelOf(found.tree, found.contents);
    this.#history = new CrashHistory(this.#model, () => session.context.world.scheduler.nowMs);
    this.#openSince = undefined;
    this.#lastMount = session.mount;
    const paired = new PairedRun(this.#model, this.#tested(session, root));
    this.#running = { session, root, paired };
    return this.#running;
  }

  #tested(session: Session, root: number) {
    const { context } = session;
    return {
      call: <T>(what: string, operation: (one: FileSystem) => T | Promise<T>) =>
        session.attempt(what, { operation: this.#done }, operation),
      root,
      comparesTimes: false,
      pause: () => context.sleep(context.dice.unit() * LONGEST_PAUSE_MS),
      tolerates: (code: ErrnoError['code']) => permits(context, code),
      synced: (what: number | 'names' | 'all') => this.#history!.synced(what),
    };
  }

  /** Also what the model does not know of. */
  async #compareExactly(session: Session, root: number): Promise<void> {
    const found = await read(session, root);
    const expected = treeOfModel(this.#model);
    const [wanted, got] = [linesOf(expected), linesOf(found.tree)];
    if (wanted.join('\n') !== got.join('\n'))
      session.fail(`the tree is not what it should be: ${difference(wanted, got)}`);
    for (const [index, { inode, mode, path }] of expected.entries()) {
      if ((mode & S_IFMT) !== S_IFREG) continue;
      const { sizeBytes } = this.#model.getAttributes(inode);
      const bytes = Buffer.concat(this.#model.read(inode, 0, 0, sizeBytes).parts);
      const { bytes: there } = found.contents.get(found.tree[index]!.inode)!;
      if (!bytes.equals(there))
        session.fail(`${path}: ${there.length} bytes differ from the ${bytes.length} expected`);
    }
  }
}

async function read(session: Session, root: number): Promise<Found> {
  const run = <T>(what: string, operation: (one: FileSystem) => T | Promise<T>) =>
    session.insist(what, { reading: true }, operation);
  const tree = await readTree(run, root);
  const contents = new Map<number, FoundContents>();
  for (const { inode, mode } of tree)
    if ((mode & S_IFMT) === S_IFREG && !contents.has(inode)) {
      const read = await readContents(run, inode);
      contents.set(inode, {
        ...read,
        reservation: await run('reservation', () => reservationOf(session, inode)),
      });
    }
  return { tree, contents };
}

/** No call of the file system tells which blocks it is: how many there are shows in the attributes. */
function reservationOf({ mount }: Session, inode: number): BlockRanges {
  try {
    return mount.volume.metadata.reservation(inode);
  } catch (error) {
    throw toErrno(error);
  }
}

function drawOperation(dice: Dice): Operation {
  let at = dice.below(totalWeight);
  let kind: Kind = 'pause';
  for (const [one, weight] of kinds) {
    at -= weight;
    if (at >= 0) continue;
    kind = one;
    break;
  }
  return {
    kind,
    node: dice.below(10),
    name: dice.chance(1 / 13) ? 4 : dice.below(4),
    other: dice.below(10),
    offset: drawOffset(dice),
    length: drawLength(dice),
  };
}

function drawOffset(dice: Dice): number {
  if (dice.chance(0.5)) return dice.below(SPAN_BLOCKS * BLOCK_BYTES);
  return Math.max(0, dice.below(SPAN_BLOCKS) * BLOCK_BYTES + dice.below(5) - 2);
}

function drawLength(dice: Dice): number {
  const choice = dice.below(3);
  if (choice === 0) return dice.below(3 * BLOCK_BYTES);
  return choice === 1 ? dice.below(13) * BLOCK_BYTES : dice.below(40 * BLOCK_BYTES);
}
