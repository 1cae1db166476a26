/**
 * The network between all machines of a run. A machine reaches itself over a link too.
 */
import { assert } from '../../../base/assert.ts';
import type { Dice, Gate, Scheduler, World } from '../../contract.ts';
import type { RollingTrace } from '../trace.ts';
import { ChunkPool } from './chunk-pool.ts';
import type { Endpoint } from './endpoint.ts';
import { Link, type LinkSpeed } from './link.ts';
import { MachineSockets } from './machine-sockets.ts';
import { NetworkFaults } from './network-faults.ts';
import type { PipeWorld } from './pipe.ts';
import { ProcessNetwork } from './process-network.ts';

/** As between processes of one machine, and between machines of one rack. */
const LOCAL_LINK: LinkSpeed = { latencyMs: 0.01, jitterMs: 0.01 };
const RACK_LINK: LinkSpeed = { latencyMs: 0.05, jitterMs: 0.05 };

interface NetworkWorld extends World {
  readonly trace: RollingTrace;
}

export class SimulatedNetwork implements PipeWorld {
  readonly world: NetworkWorld;
  readonly chunks = new ChunkPool();
  readonly dice: Dice;
  readonly faults = new NetworkFaults(this);
  readonly #machines = new Map<string, MachineSockets>();
  readonly #processes = new Map<string, Set<ProcessNetwork>>();
  /** By sender, then by receiver. */
  readonly #links = new Map<string, Map<string, Link>>();
  /** The far ends of what a lost machine had open, until it is back and can refuse them. */
  readonly #orphans = new Map<string, Endpoint[]>();

  constructor(world: NetworkWorld) {
    this.world = world;
    this.dice = world.dice.fork('network');
  }

  get scheduler(): Scheduler {
    return this.world.scheduler;
  }

  get trace(): RollingTrace {
    return this.world.trace;
  }

  addMachine(name: string): void {
    assert(!this.#machines.has(name), `machine ${name} is new`);
    this.#machines.set(name, new MachineSockets(name));
    this.#processes.set(name, new Set());
  }

  forProcess(machineName: string, gate: Gate): ProcessNetwork {
    const network = new ProcessNetwork(this, this.socketsOf(machineName)!, gate);
    const siblings = this.#processes.get(machineName)!;
    siblings.add(network);
    gate.onDeath(() => siblings.delete(network));
    return network;
  }

  socketsOf(machineName: string): MachineSockets | undefined {
    return this.#machines.get(machineName);
  }

  link(from: string, to: string): Link {
    let links = this.#links.get(from);
    if (links === undefined) {
      links = new Map();
      this.#links.set(from, links);
    }
    let link = links.get(to);
    if (link === undefined) {
      const speed = from === to ? LOCAL_LINK : RACK_LINK;
      link = new Link(from, to, speed, this.dice.fork(`${from} to ${to}`));
      links.set(to, link);
    }
    return link;
  }

  /** All links that were ever used, or tuned. */
  *links(): Iterable<Link> {
    for (const links of this.#links.values()) yield* links.values();
  }

  /** What the processes of the one machine have open to the other. */
  endpointsBetween(machineName: string, otherName: string): Endpoint[] {
    const found: Endpoint[] = [];
    for (const process of this.#processes.get(machineName) ?? []) {
      for (const endpoint of process.endpoints) if (endpoint.leadsTo(otherName)) found.push(endpoint);
    }
    return found;
  }

  /** The machine falls silent, and the other ends of its connections do not hear of it. Its processes are still to be killed. */
  losePower(machineName: string): void {
    const sockets = this.socketsOf(machineName)!;
    sockets.powered = false;
    const orphans = this.#orphans.get(machineName) ?? [];
    for (const process of this.#processes.get(machineName)!) {
      for (const endpoint of [...process.endpoints, ...process.lingering]) {
        orphans.push(endpoint.other);
        endpoint.vanish();
      }
    }
    this.#orphans.set(
      machineName,
      orphans.filter((endpoint) => !endpoint.over),
    );
  }

  /** It answers again; what it does not remember it refuses. */
  powerOn(machineName: string): void {
    const sockets = this.socketsOf(machineName)!;
    if (sockets.powered) return;
    sockets.powered = true;
    const orphans = this.#orphans.get(machineName) ?? [];
    this.#orphans.delete(machineName);
    for (const orphan of orphans) {
      if (!orphan.over) orphan.refuse();
    }
  }
}
