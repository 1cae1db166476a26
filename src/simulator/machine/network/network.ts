/**
 * The network between all machines of a run, and its faults: links that are slow, lossy or cut, one way or both, machines that fall silent.
 *
 * A machine reaches itself over a link too, which nothing cuts.
 */
import { assert } from '../../../base/assert.ts';
import type { Dice, Gate, Scheduler, World } from '../../contract.ts';
import type { RollingTrace } from '../trace.ts';
import { ChunkPool } from './chunk-pool.ts';
import type { Endpoint } from './endpoint.ts';
import { Link, type LinkOptions } from './link.ts';
import { MachineSockets } from './machine-sockets.ts';
import type { PipeWorld } from './pipe.ts';
import { ProcessNetwork } from './process-network.ts';

/** As between machines of one rack, and between processes of one machine. */
const RACK_LINK: LinkOptions = { latencyMs: 0.05, jitterMs: 0.05, lossRate: 0 };
const LOCAL_LINK: LinkOptions = { latencyMs: 0.01, jitterMs: 0.01, lossRate: 0 };

interface NetworkWorld extends World {
  readonly trace: RollingTrace;
}

export class SimulatedNetwork implements PipeWorld {
  readonly world: NetworkWorld;
  readonly chunks = new ChunkPool();
  readonly dice: Dice;
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
      const options = from === to ? LOCAL_LINK : RACK_LINK;
      link = new Link(from, to, options, this.dice.fork(`${from} to ${to}`));
      links.set(to, link);
    }
    return link;
  }

  /** Nothing gets from the one to the other any more; the way back stays. */
  cutOneWay(from: string, to: string): void {
    assert(from !== to, 'a machine always reaches itself');
    this.trace.event('link-cut', { from, to });
    this.link(from, to).cut();
  }

  cut(one: string, other: string): void {
    this.cutOneWay(one, other);
    this.cutOneWay(other, one);
  }

  /** Cuts every link between the two groups. */
  partition(some: readonly string[], others: readonly string[]): void {
    for (const one of some) for (const other of others) this.cut(one, other);
  }

  healOneWay(from: string, to: string): void {
    this.trace.event('link-healed', { from, to });
    this.link(from, to).heal();
  }

  heal(one: string, other: string): void {
    this.healOneWay(one, other);
    this.healOneWay(other, one);
  }

  /** All links are whole and quick again. */
  healAll(): void {
    this.trace.event('network-healed');
    for (const [from, links] of this.#links) {
      for (const [to, link] of links) {
        link.options = from === to ? LOCAL_LINK : RACK_LINK;
        link.heal();
      }
    }
  }

  /** Makes the way from the one to the other slow or lossy; what is not given stays. */
  tune(from: string, to: string, options: Partial<LinkOptions>): void {
    this.trace.event('link-tuned', { from, to, ...options });
    const link = this.link(from, to);
    link.options = { ...link.options, ...options };
  }

  /** The machine falls silent, and the other ends of its connections do not hear of it. Its processes are still to be killed. */
  losePower(machineName: string): void {
    const sockets = this.socketsOf(machineName)!;
    sockets.powered = false;
    const orphans = this.#orphans.get(machineName) ?? [];
    for (const process of this.#processes.get(machineName)!) {
      for (const endpoint of process.endpoints) {
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
