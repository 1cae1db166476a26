/**
 * A member's replica against the primary's own store, both as they are behind the same checkpoint: two walks in key order, in step. Memory: a page
 * of each.
 */
import type { ReplicaOperation } from '../format/replica-messages.ts';
import { isMemberFailure, type MemberClient } from '../metadata/member-client.ts';
import type { StateView } from '../metadata/state-view.ts';
import type { CheckContext } from './check-context.ts';

const PAGE_RECORDS = 1024;
const FIRST_KEY = '\x01';
const END_KEY = '\xff';
const FROM_THE_START = new Uint8Array(0);

/** How many records differ, and the letter of the first one's key. */
interface Difference {
  count: number;
  firstKind: string;
}

/** moved: the replica stands behind another checkpoint than the store. */
export async function compareReplica(
  context: CheckContext,
  client: MemberClient,
): Promise<'same' | 'moved' | 'unreachable' | Difference> {
  const view = await context.volume.metadata.openView();
  try {
    return await compare(context, view, client);
  } catch (error) {
    if (isMemberFailure(error)) return 'unreachable';
    throw error;
  } finally {
    await view.close();
  }
}

async function compare(
  context: CheckContext,
  view: StateView,
  client: MemberClient,
): Promise<'same' | 'moved' | Difference> {
  const difference: Difference = { count: 0, firstKind: '' };
  const differs = (key: Uint8Array) => {
    if (difference.count++ === 0) difference.firstKind = String.fromCharCode(key[0]!);
  };
  const own = new OwnRecords(view);
  let after: Uint8Array = FROM_THE_START;
  let viewId = 0;
  for (let done = 0; ; ) {
    const page = await client.readSnapshot(viewId, after);
    if (page.appliedSequence !== view.appliedSequence) return 'moved';
    for (const operation of page.operations) await step(own, operation, differs);
    done += page.operations.length;
    context.progress('replicas', done, context.inodes.count);
    if (page.end) break;
    viewId = page.viewId;
    after = page.operations[page.operations.length - 1]!.key;
  }
  for (let rest = await own.head(); rest !== undefined; rest = await own.head()) {
    differs(rest[0]);
    own.advance();
  }
  return difference.count === 0 ? 'same' : difference;
}

/** Takes the own records up to the replica's one. */
async function step(
  own: OwnRecords,
  operation: ReplicaOperation,
  differs: (key: Uint8Array) => void,
): Promise<void> {
  for (;;) {
    const head = await own.head();
    const order = head === undefined ? 1 : Buffer.compare(head[0], operation.key);
    if (order > 0) {
      differs(operation.key); // the replica has it, the primary does not
      return;
    }
    own.advance();
    if (order < 0) differs(head![0]);
    else {
      if (Buffer.compare(head![1], operation.value ?? FROM_THE_START) !== 0) differs(operation.key);
      return;
    }
  }
}

class OwnRecords {
  readonly #view: StateView;
  #page: [Buffer, Buffer][] = [];
  #at = 0;
  #from = FIRST_KEY;
  #last = false;

  constructor(view: StateView) {
    this.#view = view;
  }

  async head(): Promise<[Buffer, Buffer] | undefined> {
    while (this.#at === this.#page.length && !this.#last) {
      this.#page = await this.#view.range(this.#from, END_KEY, PAGE_RECORDS);
      this.#at = 0;
      this.#last = this.#page.length < PAGE_RECORDS;
      const lastKey = this.#page.at(-1)?.[0];
      if (lastKey !== undefined) this.#from = `${lastKey.toString('latin1')}\0`;
    }
    return this.#page[this.#at];
  }

  advance(): void {
    this.#at++;
  }
}
