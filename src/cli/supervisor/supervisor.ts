/**
 * The supervisor: hosts the embedded coordinator, starts the volume's node and mount processes, and answers control commands.
 * It carries no data: when it dies, nodes and mount go on, and the next supervisor adopts them by their pid files.
 *
 * Which nodes are meant to be down, and whether others are restarted when they die, is kept as marks in the run directory, so that it outlives
 * the supervisor; an orderly shut-down forgets it.
 */
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { type Coordinator, coordinatorKeys, type ManagerRecord } from '../../cluster/coordinator.ts';
import type { NodeLinks } from '../../cluster/nodes.ts';
import type { Logger } from '../../platform/platform.ts';
import { CommandFailure, exitCodes } from '../failure.ts';
import { readVolumeFile, type VolumeFile } from '../volume/volume-file.ts';
import { nodeProcessName, type VolumeLayout } from '../volume/volume-layout.ts';
import type {
  Explanation,
  MountFacts,
  MountRequest,
  MountSettings,
  MountStatistics,
  NodeFacts,
  SupervisorRequest,
  VolumeFacts,
} from './control-messages.ts';
import { linkedNode } from './linked-node.ts';
import { ManagedProcess } from './managed-process.ts';
import { MOUNT_NODE_ARGS, STORAGE_NODE_ARGS } from './node-options.ts';
import { registerVolume, removedNodes } from './registration.ts';

/** A process that keeps dying is restarted with growing pauses. */
const RESTART_FIRST_MS = 200;
const RESTART_MOST_MS = 30_000;
const MEET_TIMEOUT_MS = 4_000;
const STEADY_MS = 60_000;
const MOUNT_FACTS_TIMEOUT_MS = 2_000;
/** An unmount writes out everything that is dirty. */
const UNMOUNT_TIMEOUT_MS = 10 * 60_000;
const FORCED_UNMOUNT_TIMEOUT_MS = 15_000;

export interface SupervisorOptions {
  readonly layout: VolumeLayout;
  /** As it was when the supervisor began. */
  readonly volume: VolumeFile;
  readonly coordinator: Coordinator;
  readonly links: NodeLinks;
  readonly log: Logger;
  callMount<T>(request: MountRequest, timeoutMs: number): Promise<T>;
}

export class Supervisor {
  readonly #options: SupervisorOptions;
  readonly #nodes = new Map<number, ManagedProcess>();
  readonly #mount: ManagedProcess;
  readonly #restarts = new Map<string, { delayMs: number; startedAtMs: number }>();
  #mountSettings: MountSettings | undefined;
  #restart = false;
  #taking: Promise<void> = Promise.resolve();
  #shuttingDown = false;
  #shutDownDone = false;

  constructor(options: SupervisorOptions) {
    this.#options = options;
    for (const id of options.volume.nodes) this.#nodes.set(id, this.#managedNode(id));
    this.#mount = this.#managed('mount', MOUNT_NODE_ARGS, () => this.#restartMount());
  }

  #managed(name: string, nodeArgs: readonly string[], restart: () => void): ManagedProcess {
    const { layout, log } = this.#options;
    return new ManagedProcess({
      name,
      pidFile: layout.pidFile(name),
      logFile: layout.logFile(name),
      nodeArgs,
      log,
      onUnexpectedEnd: restart,
    });
  }

  #managedNode(id: number): ManagedProcess {
    return this.#managed(nodeProcessName(id), STORAGE_NODE_ARGS, () => {
      this.#restartLater(nodeProcessName(id), () => this.startNode(id));
    });
  }

  /** Finds the processes that an earlier supervisor left behind. */
  adopt(): void {
    for (const node of this.#nodes.values()) node.adopt();
    this.#mount.adopt();
    const { mountSettingsFile, restartMark } = this.#options.layout;
    this.#restart = existsSync(restartMark);
    if (existsSync(mountSettingsFile)) {
      this.#mountSettings = JSON.parse(readFileSync(mountSettingsFile, 'utf8')) as MountSettings;
    }
  }

  run(request: SupervisorRequest): Promise<unknown> {
    switch (request.command) {
      case 'facts':
        return this.facts();
      case 'take-nodes':
        return this.takeNodes();
      case 'start-node':
        rmSync(this.#options.layout.stoppedMark(request.id), { force: true });
        return this.startNode(request.id);
      case 'stop-node':
        return this.#stopNode(request.id, request.signal);
      case 'await-nodes':
        return this.#nodesStarted();
      case 'start-mount':
        return this.#startMount(request.mount);
      case 'stop-mount':
        return this.#stopMount(request.lazy);
      case 'set-restart':
        return this.#setRestart(request.restart);
      case 'explain':
        return this.#options.callMount<Explanation>(request, MOUNT_FACTS_TIMEOUT_MS);
      case 'shut-down':
        return this.#shutDown(request.lazy);
      default:
        return Promise.reject(
          new CommandFailure(exitCodes.usage, 'the supervisor does not know this command'),
        );
    }
  }

  /** Registers the nodes that the volume's file has and this does not know yet, and dismisses those that it has no longer. Starts none. */
  takeNodes(): Promise<void> {
    // One after the other: each goes by the file as it is then.
    const taken = this.#taking.then(() => this.#takeNodesNow());
    this.#taking = taken.catch(() => undefined); // whoever waits for it hears of it
    return taken;
  }

  async #takeNodesNow(): Promise<void> {
    const { layout, coordinator } = this.#options;
    const volume = readVolumeFile(layout);
    await registerVolume(coordinator, volume, layout);
    for (const id of volume.nodes) {
      if (!this.#nodes.has(id)) this.#nodes.set(id, this.#managedNode(id));
    }
    for (const id of await removedNodes(coordinator, volume)) await this.#dismiss(id);
  }

  /** Its process first: while it is listed, somebody comes back to it. */
  async #dismiss(id: number): Promise<void> {
    const { layout, coordinator, log } = this.#options;
    const node = this.#nodes.get(id) ?? this.#managedNode(id);
    node.adopt();
    await node.stop('SIGTERM');
    await coordinator.delete(coordinatorKeys.node(id));
    this.#nodes.delete(id);
    rmSync(layout.stoppedMark(id), { force: true });
    log.info('node-dismissed', { id });
  }

  async #setRestart(restart: boolean): Promise<void> {
    this.#restart = restart;
    const { restartMark } = this.#options.layout;
    if (restart) writeFileSync(restartMark, '');
    else rmSync(restartMark, { force: true });
  }

  async startNode(id: number): Promise<void> {
    await this.#node(id).start(['node', '--dir', this.#options.layout.directory, '--id', String(id)]);
    await this.#linked(id);
  }

  async #nodesStarted(): Promise<void> {
    await Promise.all([...this.#nodes.values()].map((node) => node.settled));
  }

  /** Whoever asks for the volume's state next finds the node in it: this process's link is up, and the mount's. */
  async #linked(id: number): Promise<void> {
    await linkedNode(this.#options.links, id);
    if (this.#mount.phase !== 'running') return;
    try {
      await this.#options.callMount({ command: 'meet-node', id }, MEET_TIMEOUT_MS);
    } catch (error) {
      this.#options.log.warn('node-not-met', { id, error: String(error) });
    }
  }

  #node(id: number): ManagedProcess {
    const node = this.#nodes.get(id);
    if (node !== undefined) return node;
    const known = [...this.#nodes.keys()].join(', ');
    throw new CommandFailure(exitCodes.usage, `there is no node ${id}; this volume has ${known}`);
  }

  async #stopNode(id: number, signal: 'SIGTERM' | 'SIGKILL'): Promise<void> {
    const node = this.#node(id);
    writeFileSync(this.#options.layout.stoppedMark(id), '');
    await node.stop(signal);
  }

  async #startMount(settings: MountSettings): Promise<void> {
    const running = this.#mountSettings;
    if (
      this.#mount.phase !== 'absent' &&
      running !== undefined &&
      running.mountPoint !== settings.mountPoint
    ) {
      throw new CommandFailure(
        exitCodes.configuration,
        `the volume is mounted at ${running.mountPoint}; unmount it first: tartan umount ${running.mountPoint}`,
      );
    }
    this.#mountSettings = settings;
    writeFileSync(this.#options.layout.mountSettingsFile, JSON.stringify(settings));
    const args = ['mount', '--dir', this.#options.layout.directory, '--settings', JSON.stringify(settings)];
    await this.#mount.start(args);
  }

  async #stopMount(lazy: boolean): Promise<void> {
    if (this.#mount.phase === 'starting') await this.#mount.stop('SIGTERM');
    else if (this.#mount.phase === 'running') await (lazy ? this.#forceUnmount() : this.#unmount());
    rmSync(this.#options.layout.mountSettingsFile, { force: true });
    this.#mountSettings = undefined;
  }

  async #unmount(): Promise<void> {
    await this.#options.callMount({ command: 'unmount', lazy: false }, UNMOUNT_TIMEOUT_MS);
    await this.#mount.stop('SIGTERM');
  }

  /** A mount process that does not answer is killed: what was not durable is given up. */
  async #forceUnmount(): Promise<void> {
    try {
      await this.#options.callMount({ command: 'unmount', lazy: true }, FORCED_UNMOUNT_TIMEOUT_MS);
      await this.#mount.stop('SIGTERM');
    } catch (error) {
      this.#options.log.warn('mount-given-up', { error: String(error) });
      await this.#mount.stop('SIGKILL');
    }
  }

  async #shutDown(lazy: boolean): Promise<void> {
    await this.#stopMount(lazy);
    this.#shuttingDown = true;
    await Promise.all([...this.#nodes.values()].map((node) => node.stop('SIGTERM')));
    for (const id of this.#nodes.keys()) rmSync(this.#options.layout.stoppedMark(id), { force: true });
    await this.#setRestart(false);
    this.#shutDownDone = true;
  }

  /** Nothing of the volume runs any more but the supervisor itself. */
  get isShutDown(): boolean {
    return this.#shutDownDone;
  }

  get hasRunningNodes(): boolean {
    return [...this.#nodes.values()].some((node) => node.phase === 'running');
  }

  #restartMount(): void {
    const settings = this.#mountSettings;
    if (settings !== undefined) this.#restartLater('mount', () => this.#startMount(settings));
  }

  #restartLater(name: string, start: () => Promise<void>): void {
    if (!this.#restart || this.#shuttingDown) return;
    const now = performance.now();
    const last = this.#restarts.get(name);
    const soon = last !== undefined && now - last.startedAtMs < STEADY_MS;
    const delayMs = soon ? Math.min(last.delayMs * 2, RESTART_MOST_MS) : RESTART_FIRST_MS;
    this.#restarts.set(name, { delayMs, startedAtMs: now + delayMs });
    this.#options.log.info('restart', { process: name, delayMs });
    setTimeout(() => {
      if (this.#shuttingDown || this.#isStoppedOnPurpose(name)) return;
      start().catch((error: unknown) => {
        this.#options.log.error('restart-failed', { process: name, error: String(error) });
        this.#restartLater(name, start);
      });
    }, delayMs);
  }

  #isStoppedOnPurpose(name: string): boolean {
    return [...this.#nodes.keys()].some(
      (id) => nodeProcessName(id) === name && existsSync(this.#options.layout.stoppedMark(id)),
    );
  }

  async facts(): Promise<VolumeFacts> {
    for (const each of [...this.#nodes.values(), this.#mount]) {
      each.refresh();
      each.adopt();
    }
    const record = await this.#options.coordinator.get(coordinatorKeys.manager);
    const manager = record === undefined ? undefined : (JSON.parse(record.value.toString()) as ManagerRecord);
    return {
      supervisorPid: process.pid,
      restart: this.#restart,
      nodes: [...this.#nodes.keys()].map((id) => this.#nodeFacts(id)),
      mount: await this.#mountFacts(),
      manager: manager === undefined ? null : { term: manager.term, members: manager.members },
    };
  }

  #nodeFacts(id: number): NodeFacts {
    const node = this.#node(id);
    const link = this.#options.links.links.get(id);
    return {
      id,
      address: `unix:${this.#options.layout.nodeSocket(id)}`,
      pid: node.identity?.pid ?? null,
      process: node.phase,
      detail: node.detail,
      stoppedOnPurpose: existsSync(this.#options.layout.stoppedMark(id)),
      failure: node.failure?.message ?? null,
      link: link?.state ?? 'down',
      domain: link === undefined || link.domain === String(id) ? null : link.domain,
      usedBytes: link?.usedBytes ?? 0,
      capacityBytes: link?.capacityBytes ?? 0,
    };
  }

  async #mountFacts(): Promise<MountFacts | null> {
    const settings = this.#mountSettings;
    if (settings === undefined) return null;
    let statistics: MountStatistics | null = null;
    if (this.#mount.phase === 'running') {
      try {
        statistics = await this.#options.callMount<MountStatistics>(
          { command: 'facts' },
          MOUNT_FACTS_TIMEOUT_MS,
        );
      } catch (error) {
        // A mount that does not answer is a fact, too: it shows as one without statistics.
        this.#options.log.warn('mount-silent', { error: String(error) });
      }
    }
    return {
      path: settings.mountPoint,
      pid: this.#mount.identity?.pid ?? null,
      process: this.#mount.phase,
      detail: this.#mount.detail,
      failure: this.#mount.failure?.message ?? null,
      statistics,
    };
  }
}
