/** Extended attributes: each inode's list of names against its values, and against what the inode says of itself. */
import { keyBytes, keyLetters, perInodeKey, xattrKey } from '../format/metadata-keys.ts';
import { decodeNames, decodePlain, encodeNames, encodePlain } from '../format/metadata-records.ts';
import { type CheckContext, decoded } from './check-context.ts';
import { dropMark } from './load.ts';
import type { Problem } from './problem.ts';
import { rescuedRecord } from './record-rescue.ts';
import { ViewCursor } from './view-cursor.ts';

const NAME_AT = 7;

export class AttributeWalk {
  readonly #context: CheckContext;
  readonly #lists: ViewCursor;
  readonly #values: ViewCursor;

  constructor(context: CheckContext) {
    this.#context = context;
    this.#lists = new ViewCursor(context.view, keyLetters.xattrNames);
    this.#values = new ViewCursor(context.view, keyLetters.xattr);
  }

  /** `hasXattrs` of the inode; undefined if its record cannot be read. */
  async *check(inode: number, hasXattrs: boolean | undefined): AsyncGenerator<Problem> {
    const listed = await this.#takeList(inode);
    if (listed.why !== undefined) {
      const key = keyBytes(perInodeKey(keyLetters.xattrNames, inode));
      yield this.#damaged(inode, key, `names of its attributes: ${listed.why}`);
    }
    const missing = new Set(listed.names);
    for (; ; this.#values.advance()) {
      if (this.#values.isDry) await this.#values.fetch();
      if (this.#values.head === undefined || this.#values.inode !== inode) break;
      const { key, value } = this.#values.head;
      const name = key.toString('latin1', NAME_AT);
      const plain = decoded(() => decodePlain(value, this.#context.crc32c));
      if (plain.value === undefined)
        yield this.#damaged(inode, key, `value of its attribute ${name}: ${plain.why}`);
      if (missing.delete(name) || listed.why !== undefined) continue;
      yield {
        kind: 'attribute-unowned',
        subject: { inode },
        detail: `a value of the attribute ${name}, which it does not list`,
        repairAtRest: dropMark(xattrKey(inode, name)),
      };
    }
    if (missing.size > 0) yield this.#lost(inode, listed.names, missing);
    if (hasXattrs === undefined || listed.why !== undefined) return;
    if (hasXattrs !== listed.names.length > 0) yield this.#flagWrong(inode, hasXattrs);
  }

  async #takeList(inode: number): Promise<{ names: readonly string[]; why?: string }> {
    if (this.#lists.isDry) await this.#lists.fetch();
    if (this.#lists.head === undefined || this.#lists.inode !== inode) return { names: [] };
    const { value } = this.#lists.head;
    this.#lists.advance();
    const names = decoded(() => decodeNames(decodePlain(value, this.#context.crc32c)));
    return names.value === undefined ? { names: [], why: names.why } : { names: names.value };
  }

  #damaged(inode: number, key: Buffer, detail: string): Problem {
    const decode = (value: Buffer) => decodePlain(value, this.#context.crc32c);
    const repairOnNodes = rescuedRecord(this.#context, key, decode);
    return { kind: 'record-damaged', subject: { inode }, detail, repairOnNodes };
  }

  #lost(inode: number, names: readonly string[], missing: ReadonlySet<string>): Problem {
    const left = names.filter((name) => !missing.has(name));
    return {
      kind: 'attribute-lost',
      subject: { inode },
      detail: `the attributes ${[...missing].join(', ')} have no value any more`,
      repairAtRest: (redo, state) => {
        if (state.inodes.get(inode) === undefined) return false;
        const bytes = encodePlain(encodeNames(left), this.#context.crc32c);
        const key = perInodeKey(keyLetters.xattrNames, inode);
        redo.setRecord(key, left.length === 0 ? undefined : bytes);
        redo.changeInode(inode, { hasXattrs: left.length > 0 });
        return true;
      },
    };
  }

  #flagWrong(inode: number, hasXattrs: boolean): Problem {
    return {
      kind: 'attribute-flag-wrong',
      subject: { inode },
      detail: hasXattrs
        ? 'it says that it has attributes, and lists none'
        : 'it says that it has no attributes',
      repairAtRest: (redo, state) => {
        if (state.inodes.get(inode) === undefined) return false;
        redo.changeInode(inode, { hasXattrs: !hasXattrs });
        return true;
      },
    };
  }

  /** What belongs to inodes before `next` that are not there. */
  async *leftOver(next: number): AsyncGenerator<Problem> {
    for (const cursor of [this.#lists, this.#values]) {
      for (; ; cursor.advance()) {
        if (cursor.isDry) await cursor.fetch();
        if (cursor.head === undefined || cursor.inode >= next) break;
        yield {
          kind: 'attribute-unowned',
          subject: { inode: cursor.inode },
          detail: 'attributes belong to it, and it is not there',
          repairAtRest: dropMark(cursor.head.key.toString('latin1')),
        };
      }
    }
  }
}
