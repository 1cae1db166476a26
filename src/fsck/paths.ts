/** What people call the thing that a problem is about: its path where one leads to it. Names are looked up when they are needed. */
import { keyLetters, perInodeKey } from '../format/metadata-keys.ts';
import { decodeEntry } from '../format/metadata-records.ts';
import { ROOT } from '../metadata/state.ts';
import { type CheckContext, decoded } from './check-context.ts';
import type { Subject } from './findings.ts';
import { recordsOf } from './view-cursor.ts';

const TERM_FACTOR = 2 ** 32;
const MAX_DEPTH = 4096;
const MAX_KNOWN = 10_000;

export class Paths {
  readonly #context: CheckContext;
  readonly #names = new Map<number, string>();

  constructor(context: CheckContext) {
    this.#context = context;
  }

  async subject(subject: Subject): Promise<string> {
    const { inode, name, segmentId, position, nodeId } = subject;
    const onNode = nodeId === undefined ? '' : ` on node ${nodeId}`;
    if (inode !== undefined) {
      const path = await this.#path(inode);
      if (name === undefined) return path;
      return path === '/' ? `/${shown(name)}` : `${path}/${shown(name)}`;
    }
    if (segmentId !== undefined) {
      const segment = segmentText(segmentId);
      return position === undefined
        ? `segment ${segment}${onNode}`
        : `fragment ${position} of segment ${segment}${onNode}`;
    }
    return nodeId === undefined ? 'volume' : `node ${nodeId}`;
  }

  async #path(inode: number): Promise<string> {
    const { inodes } = this.#context;
    const parts: string[] = [];
    let at = inode;
    while (at !== ROOT && parts.length < MAX_DEPTH) {
      const rank = inodes.rank(at);
      const parent = rank < 0 ? -1 : inodes.parent(rank);
      const name = parent < 0 ? undefined : await this.#nameIn(inodes.number(parent), at);
      if (name === undefined)
        return parts.length === 0 ? `inode ${inode}` : `inode ${at}/${parts.reverse().join('/')}`;
      parts.push(shown(name));
      at = inodes.number(parent);
    }
    return `/${parts.reverse().join('/')}`;
  }

  async #nameIn(parent: number, inode: number): Promise<string | undefined> {
    const known = this.#names.get(inode);
    if (known !== undefined) return known;
    const prefix = perInodeKey(keyLetters.entry, parent);
    for await (const { value } of recordsOf(this.#context.view, prefix)) {
      const entry = decoded(() => decodeEntry(value, this.#context.crc32c)).value;
      if (entry?.inode !== inode) continue;
      if (this.#names.size >= MAX_KNOWN) this.#names.clear();
      this.#names.set(inode, entry.name);
      return entry.name;
    }
    return undefined;
  }
}

/** Names are byte strings. */
function shown(name: string): string {
  return Buffer.from(name, 'latin1').toString('utf8');
}

/** term.number, as everywhere else. */
export function segmentText(segmentId: number): string {
  return `${Math.floor(segmentId / TERM_FACTOR)}.${segmentId % TERM_FACTOR}`;
}
