/**
 * What only a simulator sees: at rest every process has given back what it took. All memory for segments but the open one's is free, all
 * memory for reads, each process has a few connections and timers and no more after long runs than after short ones.
 */
import {
  type Checker,
  CheckFailed,
  type ClusterView,
  type SimulatedProcess,
  type World,
} from '../contract.ts';

/** Read-ahead lets go of its memory when a stream has paused, and frozen calls come to their end. */
const REST_MS = 20_000;
const RETRY_MS = 500;
/** To each node a mount has one connection, and to the coordinator one; a node has some of each mount that lives. */
const SPARE_CONNECTIONS = 4;
/** A ping and its watch for each connection, and a few of each part. */
const TIMERS_FOR_EACH_CONNECTION = 4;
const SPARE_TIMERS = 16;

export class Leaks implements Checker {
  readonly name = 'leaks';

  async phase(cluster: ClusterView, world: World): Promise<void> {
    const endMs = world.scheduler.nowMs + REST_MS;
    for (;;) {
      const leak = findLeak(cluster);
      if (leak === undefined) return;
      if (world.scheduler.nowMs > endMs) throw new CheckFailed(leak);
      await new Promise<void>((resolve) => world.scheduler.after(RETRY_MS, resolve));
    }
  }
}

function findLeak(cluster: ClusterView): string | undefined {
  const { mount, mountProcess, nodes, segmentSlots } = cluster;
  if (mount === undefined || mountProcess === undefined) return undefined;
  const { writer, reader } = mount.volume;
  const { freeSlots, inFlight } = writer.statistics();
  const open = writer.openSegmentId === undefined ? 0 : 1;
  if (inFlight > 0 || freeSlots + open < segmentSlots)
    return `${freeSlots} of ${segmentSlots} segment buffers are free, ${open} is open, ${inFlight} are on their way`;
  const { usedPoolBytes } = reader.statistics();
  if (usedPoolBytes > 0) return `${usedPoolBytes} bytes for reads are in use`;
  const mounts = 2;
  return (
    crowded(mountProcess, nodes.length + SPARE_CONNECTIONS) ??
    nodes.map(({ process }) => process && crowded(process, mounts + SPARE_CONNECTIONS)).find(Boolean)
  );
}

function crowded(process: SimulatedProcess, mostConnections: number): string | undefined {
  const { name, openConnections, liveTimers } = process;
  if (openConnections > mostConnections) return `${name} has ${openConnections} connections`;
  const mostTimers = SPARE_TIMERS + TIMERS_FOR_EACH_CONNECTION * mostConnections;
  return liveTimers > mostTimers ? `${name} has ${liveTimers} timers` : undefined;
}
