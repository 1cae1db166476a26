/**
 * A whole volume in one process: coordinator, storage nodes and a mount on simulated machines, each a Service that can be killed and
 * started again. A second mount can take the volume over; the newest mount that was opened is the one that serves.
 *
 * It knows how to bring everything back and when the cluster is healthy; which faults happen is the run's affair.
 */
import { assert } from '../../base/assert.ts';
import { coordinatorKeys } from '../../cluster/coordinator.ts';
import type { EmbeddedCoordinator } from '../../cluster/coordinator-embedded.ts';
import type { Volume } from '../../filesystem/volume.ts';
import type { Address } from '../../platform/platform.ts';
import type { StorageNode } from '../../storage/storage-node.ts';
import type { ClusterView, MountedFileSystem, SimulatedProcess, World } from '../contract.ts';
import type { Machine } from '../machine/machine.ts';
import {
  addMember,
  coordinatorProgram,
  type Layout,
  mountProgram,
  nodeProgram,
  VOLUME_ID,
} from './programs.ts';
import { Service } from './service.ts';
import type { ClusterShape } from './shape.ts';

const COORDINATOR_PORT = 7000;
const MOUNTS = ['mount', 'standby'] as const;

export type MountName = (typeof MOUNTS)[number];

/** Changes a program's process before it runs: where deliberate defects are planted. */
export type Alteration = (process: SimulatedProcess) => SimulatedProcess;

export interface ClusterOptions {
  readonly world: World;
  readonly shape: ClusterShape;
  readonly machine: (name: string) => Machine;
  readonly alter?: Alteration;
  /** Called when a mount begins to serve. */
  readonly onMounted?: (volume: Volume) => void;
}

class Mounted implements MountedFileSystem {
  readonly generation: number;
  readonly volume: Volume;
  readonly process: SimulatedProcess;
  readonly startedAtMs: number;
  /** Another mount serves the volume, or this one has noticed that it does. */
  superseded = false;
  diedAtMs?: number;

  constructor(
    generation: number,
    volume: Volume,
    process: SimulatedProcess,
    startedAtMs: number,
    world: World,
  ) {
    process.onDeath(() => {
      if (!this.superseded) this.diedAtMs = world.scheduler.nowMs;
    });
    this.generation = generation;
    this.volume = volume;
    this.process = process;
    this.startedAtMs = startedAtMs;
  }

  get alive(): boolean {
    return this.process.alive && !this.superseded;
  }
}

export class SimulatedCluster implements ClusterView {
  readonly shape: ClusterShape;
  readonly #world: World;
  readonly machines: readonly Machine[];
  readonly coordinatorService: Service<EmbeddedCoordinator>;
  readonly nodeServices: readonly Service<StorageNode>[];
  readonly mountServices: ReadonlyMap<MountName, Service<Volume>>;
  /** The mount that is meant to serve. */
  #activeName: MountName = 'mount';
  #mounted: Mounted | undefined;
  #beingDeposed: Mounted | undefined;
  #generation = 0;
  readonly #onMounted: (volume: Volume) => void;
  readonly #mountListeners = new Set<() => void>();
  readonly #layout: Layout;
  /** So many of the nodes have belonged to the volume. */
  #joined: number;
  readonly #struckOff = new Set<number>();

  constructor(options: ClusterOptions) {
    const { world, shape, machine, alter = (process) => process } = options;
    this.#world = world;
    this.#onMounted = options.onMounted ?? (() => {});
    this.shape = shape;
    const machines = new Map<string, Machine>();
    const machineOf = (name: string): Machine => {
      const key = shape.oneMachine ? 'machine' : name;
      const made = machines.get(key) ?? machine(key);
      machines.set(key, made);
      return made;
    };
    this.#joined = shape.nodes - shape.lateNodes;
    const layout = layoutOf(shape, (id) => id <= this.#joined && !this.#struckOff.has(id));
    this.#layout = layout;
    this.coordinatorService = new Service({
      world,
      machine: machineOf('coordinator'),
      name: 'coordinator',
      main: (process) => coordinatorProgram(alter(process).platform, layout),
    });
    this.nodeServices = Array.from({ length: shape.nodes }, (_, index) => {
      const name = nodeName(index + 1);
      return new Service({
        world,
        machine: machineOf(name),
        name,
        main: (process) => nodeProgram(alter(process).platform, layout, index + 1),
      });
    });
    this.mountServices = new Map(
      MOUNTS.map((name) => [
        name,
        new Service<Volume>({
          world,
          machine: machineOf(name),
          name,
          main: (process) => mountProgram(alter(process).platform, layout, name),
          onRunning: (volume, process) => this.#opened(name, volume, process),
          onDown: () => this.#mountChanged(),
        }),
      ]),
    );
    this.machines = [...machines.values()];
  }

  get dataFragments(): number {
    return this.shape.dataFragments;
  }

  get parityFragments(): number {
    return this.shape.parityFragments;
  }

  get volumeId(): string {
    return VOLUME_ID;
  }

  get segmentSlots(): number {
    return this.shape.slotCount;
  }

  get mountProcess(): SimulatedProcess | undefined {
    return this.#mounted?.alive === true ? this.#mounted.process : undefined;
  }

  get coordinator(): EmbeddedCoordinator | undefined {
    return this.coordinatorService.running;
  }

  get nodes(): ClusterView['nodes'] {
    return this.nodeServices.map((service, index) => ({
      id: index + 1,
      machine: service.machine,
      storage: service.running,
      process: service.process,
      diskHasLied: service.machine.disk.counters.faults > 0,
    }));
  }

  get mount(): MountedFileSystem | undefined {
    return this.#mounted?.alive === true ? this.#mounted : undefined;
  }

  get takingOver(): boolean {
    return this.#beingDeposed !== undefined && this.#beingDeposed === this.#mounted;
  }

  get activeMount(): Service<Volume> {
    return this.mountService(this.#activeName);
  }

  get services(): readonly Service<unknown>[] {
    return [this.coordinatorService, ...this.nodeServices, ...this.mountServices.values()];
  }

  mountService(name: MountName): Service<Volume> {
    const service = this.mountServices.get(name);
    assert(service !== undefined, `there is a mount called ${name}`);
    return service;
  }

  service(name: string): Service<unknown> {
    const service = this.services.find((each) => each.name === name);
    assert(service !== undefined, `there is a process called ${name}`);
    return service;
  }

  /** Called whenever a mount begins to serve or ends. */
  onMountChange(listener: () => void): () => void {
    this.#mountListeners.add(listener);
    return () => this.#mountListeners.delete(listener);
  }

  /** One more of the late nodes belongs to the volume; if the coordinator is away, when it returns. undefined: none is left. */
  join(): number | undefined {
    if (this.#joined === this.shape.nodes) return undefined;
    this.#joined += 1;
    this.#world.trace.event('join', { node: this.#joined });
    const { coordinator } = this;
    // It may die under it; its next start makes up for that.
    if (coordinator !== undefined) addMember(coordinator, this.#layout, this.#joined).catch(() => undefined);
    return this.#joined;
  }

  /** The node does not belong to the volume any more; if the coordinator is away, when it returns. */
  strikeOff(id: number): void {
    this.#struckOff.add(id);
    this.#world.trace.event('strike-off', { node: id });
    this.coordinator?.delete(coordinatorKeys.node(id)).catch(() => undefined);
  }

  get #members(): number {
    return this.#joined - this.#struckOff.size;
  }

  start(): void {
    this.coordinatorService.start();
    for (const service of this.nodeServices) service.start();
    this.activeMount.start();
  }

  /** The other mount opens the volume, whatever the present one believes. Returns the one that is deposed by that. */
  takeOver(): Service<Volume> {
    const old = this.activeMount;
    this.#beingDeposed = this.#mounted;
    this.#activeName = this.#activeName === 'mount' ? 'standby' : 'mount';
    this.#world.trace.event('take-over', { by: this.#activeName });
    // One that is still opening the volume would depose its successor, and serve nobody.
    if (old.running === undefined) old.kill();
    // What an earlier take-over left running there is of an older reign.
    this.activeMount.kill();
    this.activeMount.start();
    return old;
  }

  /** Another mount is opening the volume: errors of this one are right from now on. */
  isBeingDeposed(mount: MountedFileSystem): boolean {
    return mount === this.#beingDeposed;
  }

  /** A mount that noticed that it was deposed serves nobody any more. */
  giveUp(mount: MountedFileSystem): void {
    if (mount !== this.#mounted || this.#mounted.superseded) return;
    this.#mounted.superseded = true;
    this.#mountChanged();
  }

  losePower(machine: Machine): void {
    for (const service of this.services) if (service.machine === machine) service.stopWanting();
    machine.losePower();
  }

  /** Starts what runs on the machine, but no mount that was deposed. */
  powerOn(machine: Machine): void {
    for (const service of this.services) if (service.machine === machine) this.restart(service);
  }

  restart(service: Service<unknown>): void {
    if (service !== this.activeMount && this.isMount(service)) return;
    service.start();
  }

  isMount(service: Service<unknown>): boolean {
    return MOUNTS.some((name) => name === service.name);
  }

  /** Everything runs, and nothing that was deposed does. */
  bringBack(): void {
    for (const service of this.services) {
      service.thaw();
      if (this.isMount(service) && service !== this.activeMount) service.kill();
      else service.start();
    }
  }

  /** What keeps the cluster from being healthy; undefined: nothing. */
  ailment(): string | undefined {
    if (this.coordinator === undefined) return 'the coordinator does not serve';
    const down = this.nodeServices.filter((service) => service.running === undefined);
    if (down.length > 0) return `${down.map((service) => service.name).join(', ')} do not serve`;
    const { mount } = this;
    if (mount === undefined) return 'no mount serves';
    const { links, metadata, writer, shape, upkeep } = mount.volume;
    if (metadata.trouble !== undefined) return `metadata: ${metadata.trouble.message}`;
    if (writer.trouble !== undefined) return `log: ${writer.trouble.message}`;
    for (const link of links.links.values()) {
      if (link.state !== 'up') return `the mount sees node ${link.id} ${link.state}`;
    }
    if (links.links.size !== this.#members) return `the mount knows ${links.links.size} nodes`;
    const staying = this.#members - upkeep.balance().draining.length;
    const able = staying > shape.parityFragments ? staying : this.#members;
    const members = Math.min(able, Math.max(3, shape.parityFragments + 1));
    const present = metadata.ensemble.length;
    // One that was added for more parity stays until the journal changes its members for another reason.
    return present >= members ? undefined : `the journal has ${present} members of ${members}`;
  }

  #opened(name: MountName, volume: Volume, process: SimulatedProcess): void {
    if (name !== this.#activeName) return;
    if (this.#mounted !== undefined) this.#mounted.superseded = true;
    this.#generation += 1;
    const { startedAtMs } = this.mountService(name);
    this.#mounted = new Mounted(this.#generation, volume, process, startedAtMs, this.#world);
    this.#world.trace.event('mounted', {
      by: name,
      generation: this.#generation,
      term: volume.metadata.term,
    });
    this.#onMounted(volume);
    this.#mountChanged();
  }

  #mountChanged(): void {
    for (const listener of [...this.#mountListeners]) listener();
  }
}

export function nodeName(id: number): string {
  return `node-${id}`;
}

function layoutOf(shape: ClusterShape, isMember: (id: number) => boolean): Layout {
  const address = (name: string, port: number): Address =>
    shape.oneMachine ? { kind: 'unix', path: `/run/${name}` } : { kind: 'tcp', host: name, port };
  return {
    shape,
    coordinatorAddress: address('coordinator', COORDINATOR_PORT),
    isMember,
    nodeAddress: (id) => address(nodeName(id), COORDINATOR_PORT + id),
  };
}
