/**
 * What the primary believes of its journal's members is true: each has on its disk what it has acknowledged, and so every committed entry.
 *
 * Members whose disk has lied (faults of the disk other than the loss of power) are left out, and so is a primary that is just
 * being deposed: its members have heard of a newer one.
 */
import { type Checker, CheckFailed, type ClusterView } from '../contract.ts';

export class JournalMembers implements Checker {
  readonly name = 'journal-members';

  step(cluster: ClusterView): void {
    const { mount } = cluster;
    if (mount === undefined || cluster.takingOver) return;
    for (const { nodeId, durableSequence } of mount.volume.metadata.ensemble) {
      const node = cluster.nodes.find(({ id }) => id === nodeId);
      if (node?.storage === undefined || node.diskHasLied) continue;
      const { endSequence, term } = node.storage.journal.state();
      if (endSequence >= durableSequence) continue;
      throw new CheckFailed(
        `the primary counts entry ${durableSequence} as durable on node ${nodeId}, whose journal ends with ${endSequence} (term ${term})`,
      );
    }
  }
}
