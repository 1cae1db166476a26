/**
 * What a directory tree may look like: the state of names that was acknowledged last, and one for each change since. A crash leaves one of
 * them: changes are taken back from the end, never out of the middle. States are never changed once made.
 */
import type { Scan } from './name-scan.ts';
import { Wrong } from './worker.ts';

export interface FileNode {
  readonly kind: 'file';
  /** 0 until its creation was answered. */
  inode: number;
  content: Buffer;
  /** Its content was synced. */
  durable: boolean;
  /** Whole in this state and every later one: it replaced another file there. */
  wholeSince: Names | undefined;
}
export interface DirectoryNode {
  readonly kind: 'directory';
  inode: number;
}
export type NameNode = FileNode | DirectoryNode;

/** Paths below the directory that is worked in. Links are the same node. */
export type Names = ReadonlyMap<string, NameNode>;

export class NameModel {
  /** Never empty; the last is the current one. */
  #states: Names[] = [new Map()];

  get current(): Names {
    return this.#states.at(-1) ?? new Map();
  }

  get unacknowledged(): number {
    return this.#states.length - 1;
  }

  /** The change counts as possible from before `call`, and as done when it returns. */
  change(change: (names: Map<string, NameNode>) => void, call: () => void): void {
    const next = new Map(this.current);
    change(next);
    this.#states.push(next);
    call();
  }

  acknowledge(): void {
    this.#states = [this.current];
  }

  /** Finds the state that is there now; it becomes the only one. Returns how many changes were taken back. */
  adopt(scan: Scan): number {
    const index = this.#states.findIndex((state) => difference(state, scan) === undefined);
    const found = this.#states[index];
    if (found === undefined) {
      const differences = this.#states.map((state) => difference(state, scan));
      throw new Wrong(`no state since the last fsync is there: ${differences.join(' | ')}`);
    }
    for (const node of new Set(found.values())) {
      if (node.kind === 'file') this.#adoptContent(node, index, scan);
    }
    for (const [path, node] of found) node.inode = scan.get(path)?.inode ?? 0;
    const takenBack = this.#states.length - 1 - index;
    this.#states = [found];
    return takenBack;
  }

  #adoptContent(node: FileNode, index: number, scan: Scan): void {
    const [path] = [...(this.#states[index] ?? [])].find(([, each]) => each === node) ?? [''];
    const since =
      node.wholeSince === undefined ? Number.POSITIVE_INFINITY : this.#states.indexOf(node.wholeSince);
    const found = scan.get(path)?.content ?? Buffer.alloc(0);
    requireContent(path, node, found, node.durable || since <= index);
    node.content = found;
    node.durable = true;
    node.wholeSince = undefined;
  }

  /** Throws Wrong unless all is as the last change left it. */
  requireCurrent(scan: Scan): void {
    const what = difference(this.current, scan);
    if (what !== undefined) throw new Wrong(what);
    for (const [path, node] of this.current) {
      if (node.kind !== 'file') continue;
      requireContent(path, node, scan.get(path)?.content ?? Buffer.alloc(0), true);
      const links = [...this.current.values()].filter((each) => each === node).length;
      const found = scan.get(path)?.links;
      if (found !== links) throw new Wrong(`${path} has ${found} links and not ${links}`);
    }
  }
}

function requireContent(path: string, node: FileNode, found: Buffer, whole: boolean): void {
  if (found.equals(node.content)) return;
  if (whole) throw new Wrong(`${path} has ${found.length} bytes that differ from its ${node.content.length}`);
  const foreign = found.findIndex((byte, index) => byte !== 0 && byte !== node.content[index]);
  if (found.length > node.content.length || foreign >= 0) {
    throw new Wrong(`${path} has ${found.length} bytes, byte ${foreign} of which nobody wrote`);
  }
}

/** undefined if that is what is there. */
function difference(names: Names, scan: Scan): string | undefined {
  for (const [path, node] of names) {
    const found = scan.get(path);
    if (found === undefined) return `${path} is missing`;
    if (found.kind !== node.kind) return `${path} is a ${found.kind}`;
    if (node.inode !== 0 && found.inode !== node.inode) {
      return `${path} is inode ${found.inode} and not ${node.inode}`;
    }
  }
  for (const path of scan.keys()) if (!names.has(path)) return `${path} is there`;
  return undefined;
}
