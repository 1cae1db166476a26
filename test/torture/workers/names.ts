/**
 * Creates, links, renames, replaces and removes files and directories, and syncs the directory it changed last: what that acknowledged is
 * there for ever, and what came later is taken back from the end if at all.
 */
import {
  closeSync,
  fstatSync,
  fsyncSync,
  linkSync,
  mkdirSync,
  openSync,
  renameSync,
  rmdirSync,
  statSync,
  unlinkSync,
  writeSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { Dice } from '../dice.ts';
import { patternBytes, syncDirectory } from './bytes.ts';
import { type FileNode, NameModel, type NameNode } from './name-model.ts';
import { scanTree } from './name-scan.ts';
import { runWorker, type Workload, Wrong } from './worker.ts';

const DIRECTORIES = ['d0', 'd1', 'd2', 'd3'];
const FILE_NAMES = ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'];
const CONTENT_BYTES = [0, 10, 4096, 5000, 20_000];

class NameWorkload implements Workload {
  readonly #dice: Dice;
  readonly #model = new NameModel();
  #changedDirectory = '.';
  #files = 0;

  constructor(seed: number) {
    this.#dice = new Dice(seed, 'names');
  }

  step(): void {
    const kind = this.#dice.between(0, 99);
    if (kind < 10) this.#makeDirectory();
    else if (kind < 35) this.#create();
    else if (kind < 45) this.#replace();
    else if (kind < 60) this.#renameFile();
    else if (kind < 65) this.#renameDirectory();
    else if (kind < 72) this.#link();
    else if (kind < 82) this.#unlink();
    else if (kind < 86) this.#removeDirectory();
    else if (kind < 88) this.#model.requireCurrent(scanTree('.'));
    else this.#sync();
  }

  #existing(kind: NameNode['kind']): string[] {
    return [...this.#model.current].filter(([, node]) => node.kind === kind).map(([path]) => path);
  }

  /** A path for a file, taken or not; undefined without a directory. */
  #somePath(): string | undefined {
    const directories = this.#existing('directory');
    if (directories.length === 0) return undefined;
    return join(this.#dice.pick(directories), this.#dice.pick(FILE_NAMES));
  }

  #someFile(): string | undefined {
    const files = this.#existing('file');
    return files.length === 0 ? undefined : this.#dice.pick(files);
  }

  #change(path: string, change: (names: Map<string, NameNode>) => void, call: () => void): void {
    this.#changedDirectory = dirname(path);
    this.#model.change(change, call);
  }

  #makeDirectory(): void {
    const path = this.#dice.pick(DIRECTORIES);
    if (this.#model.current.has(path)) return void expectCode('EEXIST', () => mkdirSync(path));
    const node: NameNode = { kind: 'directory', inode: 0 };
    this.#change(
      path,
      (names) => names.set(path, node),
      () => mkdirSync(path),
    );
    node.inode = statSync(path).ino;
  }

  #create(): void {
    const path = this.#somePath();
    if (path === undefined) return;
    if (this.#model.current.has(path)) {
      return void expectCode('EEXIST', () => openSync(path, 'wx'));
    }
    this.#createAt(path);
  }

  #createAt(path: string): FileNode {
    this.#files += 1;
    const content = patternBytes(this.#files, this.#dice.pick(CONTENT_BYTES));
    const node: FileNode = { kind: 'file', inode: 0, content, durable: false, wholeSince: undefined };
    let descriptor = -1;
    this.#change(
      path,
      (names) => names.set(path, node),
      () => {
        descriptor = openSync(path, 'wx');
      },
    );
    try {
      node.inode = fstatSync(descriptor).ino;
      for (let done = 0; done < content.length; ) done += writeSync(descriptor, content, done);
      if (this.#dice.chance(0.3)) {
        fsyncSync(descriptor);
        node.durable = true;
      }
    } finally {
      closeSync(descriptor);
    }
    return node;
  }

  /** As programs do that save a file: the new one beside it, then renamed over it. */
  #replace(): void {
    const path = this.#somePath();
    if (path === undefined) return;
    const draft = `${path}.draft`;
    // One that is there is left from a crash between the two: it is put in its place now.
    if (!this.#model.current.has(draft)) this.#createAt(draft);
    this.#rename(draft, path);
  }

  #renameFile(): void {
    const from = this.#someFile();
    const to = this.#somePath();
    if (from === undefined || to === undefined) return;
    this.#rename(from, to);
  }

  #rename(from: string, to: string): void {
    const node = this.#model.current.get(from);
    const replaced = this.#model.current.get(to);
    // Two names of one file: rename(2) does nothing at all.
    if (node === replaced || node?.kind !== 'file') return;
    this.#change(
      to,
      (names) => {
        names.delete(from);
        names.set(to, node);
      },
      () => renameSync(from, to),
    );
    if (replaced !== undefined) node.wholeSince ??= this.#model.current;
  }

  #renameDirectory(): void {
    const directories = this.#existing('directory');
    if (directories.length === 0) return;
    const from = this.#dice.pick(directories);
    const to = this.#dice.pick(DIRECTORIES);
    if (this.#model.current.has(to)) return;
    this.#change(
      to,
      (names) => {
        for (const [path, node] of this.#model.current) {
          if (path !== from && !path.startsWith(`${from}/`)) continue;
          names.delete(path);
          names.set(to + path.slice(from.length), node);
        }
      },
      () => renameSync(from, to),
    );
  }

  #link(): void {
    const from = this.#someFile();
    const to = this.#somePath();
    if (from === undefined || to === undefined) return;
    const call = () => linkSync(from, to);
    if (this.#model.current.has(to)) return void expectCode('EEXIST', call);
    const node = this.#model.current.get(from);
    if (node === undefined) return;
    this.#change(to, (names) => names.set(to, node), call);
  }

  #unlink(): void {
    const path = this.#someFile();
    if (path === undefined) return;
    this.#change(
      path,
      (names) => names.delete(path),
      () => unlinkSync(path),
    );
  }

  #removeDirectory(): void {
    const directories = this.#existing('directory');
    if (directories.length === 0) return;
    const path = this.#dice.pick(directories);
    const call = () => rmdirSync(path);
    if ([...this.#model.current.keys()].some((each) => each.startsWith(`${path}/`))) {
      return void expectCode('ENOTEMPTY', call);
    }
    this.#change(path, (names) => names.delete(path), call);
  }

  #sync(): void {
    if (this.#model.unacknowledged === 0) return;
    syncDirectory(this.#changedDirectory);
    this.#model.acknowledge();
  }

  recover(): string {
    const scan = scanTree('.');
    const takenBack = this.#model.adopt(scan);
    this.#changedDirectory = '.';
    return `${scan.size} names, ${takenBack} changes without fsync taken back`;
  }

  verify(): string {
    const scan = scanTree('.');
    this.#model.requireCurrent(scan);
    return `${scan.size} names with their content`;
  }

  abandon(): void {
    // Nothing stays open between operations.
  }
}

/** The call has to fail with just this code. */
function expectCode(code: string, call: () => unknown): void {
  try {
    call();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === code) return;
    throw error;
  }
  throw new Wrong(`a call succeeded that should have failed with ${code}`);
}

await runWorker((seed) => new NameWorkload(seed));
