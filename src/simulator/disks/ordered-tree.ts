/**
 * An ordered map that is never changed: each change gives a new one that shares all but a few nodes with the old. So a snapshot
 * costs nothing, and a database can go back to any state that somebody still names.
 *
 * Keys are strings of bytes (latin1), whose order is that of the bytes. Values belong to the map.
 */
type Tree = Leaf | Branch;
interface Leaf {
  readonly kind: 'leaf';
  readonly keys: readonly string[];
  readonly values: readonly Buffer[];
}
interface Branch {
  readonly kind: 'branch';
  /** The smallest key of each child when the child was made: nothing smaller was ever put there, except into the first. */
  readonly keys: readonly string[];
  readonly children: readonly Tree[];
}

export interface Range {
  readonly from?: { readonly key: string; readonly inclusive: boolean };
  readonly to?: { readonly key: string; readonly inclusive: boolean };
  readonly reverse?: boolean;
}

export type Entry = readonly [key: string, value: Buffer];

const MAX_WIDTH = 32;
const EMPTY: Leaf = { kind: 'leaf', keys: [], values: [] };

export class OrderedTree {
  static readonly empty = new OrderedTree(EMPTY, 0);
  readonly #root: Tree;
  /** Of all keys and values. */
  readonly lengthBytes: number;

  private constructor(root: Tree, lengthBytes: number) {
    this.#root = root;
    this.lengthBytes = lengthBytes;
  }

  get(key: string): Buffer | undefined {
    let at = this.#root;
    while (at.kind === 'branch') at = at.children[childOf(at, key)]!;
    const index = firstNotBelow(at.keys, key);
    return at.keys[index] === key ? at.values[index] : undefined;
  }

  put(key: string, value: Buffer): OrderedTree {
    const before = this.get(key);
    const lengthBytes =
      this.lengthBytes + value.length + (before === undefined ? key.length : -before.length);
    const [left, right] = put(this.#root, key, value);
    const root = right === undefined ? left : branchOf([left, right]);
    return new OrderedTree(root, lengthBytes);
  }

  remove(key: string): OrderedTree {
    const before = this.get(key);
    if (before === undefined) return this;
    const root = remove(this.#root, key) ?? EMPTY;
    return new OrderedTree(root, this.lengthBytes - key.length - before.length);
  }

  /** The first `limit` entries of the range, in its direction. */
  entries(range: Range, limit: number): Entry[] {
    const found: Entry[] = [];
    if (limit > 0) collect(this.#root, range, limit, found);
    return found;
  }
}

function put(tree: Tree, key: string, value: Buffer): readonly [Tree, Tree?] {
  if (tree.kind === 'leaf') {
    const index = firstNotBelow(tree.keys, key);
    if (tree.keys[index] === key)
      return [{ kind: 'leaf', keys: tree.keys, values: tree.values.with(index, value) }];
    const keys = tree.keys.toSpliced(index, 0, key);
    const values = tree.values.toSpliced(index, 0, value);
    if (keys.length <= MAX_WIDTH) return [{ kind: 'leaf', keys, values }];
    const half = keys.length >> 1;
    return [
      { kind: 'leaf', keys: keys.slice(0, half), values: values.slice(0, half) },
      { kind: 'leaf', keys: keys.slice(half), values: values.slice(half) },
    ];
  }
  const index = childOf(tree, key);
  const [left, right] = put(tree.children[index]!, key, value);
  if (right === undefined)
    return [{ kind: 'branch', keys: tree.keys, children: tree.children.with(index, left) }];
  const children = tree.children.toSpliced(index, 1, left, right);
  const keys = tree.keys.toSpliced(index + 1, 0, right.keys[0]!);
  if (children.length <= MAX_WIDTH) return [{ kind: 'branch', keys, children }];
  const half = children.length >> 1;
  return [
    { kind: 'branch', keys: keys.slice(0, half), children: children.slice(0, half) },
    { kind: 'branch', keys: keys.slice(half), children: children.slice(half) },
  ];
}

/** Of a key that is there. Undefined: nothing is left. */
function remove(tree: Tree, key: string): Tree | undefined {
  if (tree.kind === 'leaf') {
    if (tree.keys.length === 1) return undefined;
    const index = firstNotBelow(tree.keys, key);
    return { kind: 'leaf', keys: tree.keys.toSpliced(index, 1), values: tree.values.toSpliced(index, 1) };
  }
  const index = childOf(tree, key);
  const child = remove(tree.children[index]!, key);
  if (child !== undefined)
    return { kind: 'branch', keys: tree.keys, children: tree.children.with(index, child) };
  if (tree.children.length === 1) return undefined;
  if (tree.children.length === 2) return tree.children[1 - index];
  return {
    kind: 'branch',
    keys: tree.keys.toSpliced(index, 1),
    children: tree.children.toSpliced(index, 1),
  };
}

/** False: enough. */
function collect(tree: Tree, range: Range, limit: number, found: Entry[]): boolean {
  const { from, to, reverse = false } = range;
  const lowest =
    from === undefined
      ? 0
      : tree.kind === 'leaf'
        ? firstNotBelow(tree.keys, from.key)
        : childOf(tree, from.key);
  const highest =
    to === undefined
      ? tree.keys.length - 1
      : tree.kind === 'leaf'
        ? firstAbove(tree.keys, to.key) - 1
        : childOf(tree, to.key);
  const step = reverse ? -1 : 1;
  for (let index = reverse ? highest : lowest; index >= lowest && index <= highest; index += step) {
    if (tree.kind === 'branch') {
      if (!collect(tree.children[index]!, range, limit, found)) return false;
      continue;
    }
    const key = tree.keys[index]!;
    if ((key === from?.key && !from.inclusive) || (key === to?.key && !to.inclusive)) continue;
    found.push([key, tree.values[index]!]);
    if (found.length === limit) return false;
  }
  return true;
}

function branchOf(children: readonly Tree[]): Branch {
  return { kind: 'branch', keys: children.map(({ keys }) => keys[0]!), children };
}

/** The child where the key is or would be. */
function childOf({ keys }: Branch, key: string): number {
  return Math.max(0, firstAbove(keys, key) - 1);
}

function firstNotBelow(keys: readonly string[], key: string): number {
  let low = 0;
  let high = keys.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (keys[middle]! < key) low = middle + 1;
    else high = middle;
  }
  return low;
}

function firstAbove(keys: readonly string[], key: string): number {
  let low = 0;
  let high = keys.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (keys[middle]! <= key) low = middle + 1;
    else high = middle;
  }
  return low;
}
