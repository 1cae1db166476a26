/** Waiting for the link to a node that has just started. */
import type { NodeLinks } from '../../cluster/nodes.ts';

const TIMEOUT_MS = 3_000;

/**
 * A node that has started answers; the link to it may be pausing between two attempts to connect, and does not have to. Returns when it is up,
 * or after three seconds: whoever asks about the node then hears how it is.
 */
export async function linkedNode(links: NodeLinks, id: number): Promise<void> {
  const isUp = (): boolean => links.links.get(id)?.state === 'up';
  if (isUp()) return;
  await new Promise<void>((resolve) => {
    const finish = (): void => {
      clearTimeout(timer);
      unsubscribe();
      resolve();
    };
    const timer = setTimeout(finish, TIMEOUT_MS);
    const unsubscribe = links.onChange(() => {
      if (isUp()) finish();
    });
    void hasten(links, id);
  });
}

async function hasten(links: NodeLinks, id: number): Promise<void> {
  // An attempt that was under way may have met nobody yet.
  if (!(await links.reach([id]))) await links.reach([id]);
}
