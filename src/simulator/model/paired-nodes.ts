/**
 * The inodes that both sides have found, each as the pair of numbers by which the two know it, with the look-ups that the run holds. The first is the root,
 * which stays.
 */
import type { Attributes } from '../../filesystem/file-system.ts';
import { CheckFailed } from '../contract.ts';
import { S_IFDIR, S_IFMT } from './model-inode.ts';

export interface PairedNode {
  readonly model: number;
  readonly real: number;
  readonly type: number;
  lookups: number;
}

export class PairedNodes {
  readonly #nodes: PairedNode[];

  /** `root`: what the tested side calls the directory that stands for the model's root. */
  constructor(root: number) {
    this.#nodes = [{ model: 1, real: root, type: S_IFDIR, lookups: 1 }];
  }

  get root(): PairedNode {
    return this.#nodes[0]!;
  }

  /** The pair of an inode that both have found, with one look-up more. */
  known(model: Attributes, real: Attributes): PairedNode {
    let node = this.#nodes.find((one) => one.model === model.inode);
    if (node === undefined) {
      node = { model: model.inode, real: real.inode, type: model.mode & S_IFMT, lookups: 0 };
      this.#nodes.push(node);
    }
    if (node.real !== real.inode)
      throw new CheckFailed(`inode ${real.inode} is not the expected ${node.real}`);
    node.lookups += 1;
    return node;
  }

  drop(node: PairedNode): void {
    this.#nodes.splice(this.#nodes.indexOf(node), 1);
  }

  /** All but the root, which are known no more. */
  dropAll(): PairedNode[] {
    return this.#nodes.splice(1);
  }

  /** Mostly a directory, and now and then what happens to be there. Of the first ten, so that the tree stays small. */
  directory(which: number): PairedNode {
    if (which === 9) return this.node(which);
    const directories = this.#nodes.slice(0, 10).filter(({ type }) => type === S_IFDIR);
    return directories[which % directories.length]!;
  }

  node(which: number): PairedNode {
    return this.#nodes[which % this.#nodes.length]!;
  }
}
