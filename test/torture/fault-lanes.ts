/** Carries the schedule out: takes processes away and brings them back, until it is told to end; then everything is brought back. */
import { setTimeout as sleep } from 'node:timers/promises';
import { exitCodes } from '../../src/cli/failure.ts';
import { nodeProcessName } from '../../src/cli/volume/volume-layout.ts';
import { Away } from './away.ts';
import type { EventLog } from './event-log.ts';
import {
  type MountFault,
  mountFaults,
  type NodeFault,
  nodeFaults,
  type SupervisorFault,
  supervisorFaults,
} from './schedule.ts';
import type { TortureVolume } from './volume.ts';

/**
 * A command may meet a supervisor that is just being killed: it is given again, as a user would. How long it may go on failing counts from the last time that the supervisor
 * was taken away: a busy machine may need longer to start everything than the schedule lets the supervisor live.
 */
const RETRY_PAUSE_MS = 200;
const COMMAND_PATIENCE_MS = 120_000;

export interface LaneEvents {
  /** Calls in the volume may fail from now on, until `mountBack`. */
  mountGone(): void;
  mountBack(): void;
  /** What took long until now is no pause of the volume's. */
  mountWasFrozen(): void;
}

export class FaultLanes {
  readonly #volume: TortureVolume;
  readonly #log: EventLog;
  readonly #events: LaneEvents;
  readonly #away = new Away();
  readonly #ending = new AbortController();
  #faults = 0;
  #supervisorGoneMs = 0;

  constructor(volume: TortureVolume, log: EventLog, events: LaneEvents) {
    this.#volume = volume;
    this.#log = log;
    this.#events = events;
  }

  get faults(): number {
    return this.#faults;
  }

  /** Resolves when `end` was called and everything is back. Rejects when something does not come back. */
  async run(seed: number, parity: number): Promise<void> {
    const lanes: Promise<void>[] = [];
    for (let lane = 0; lane < parity; lane++) {
      const faults = nodeFaults(seed, lane, this.#volume.nodeIds);
      lanes.push(this.#lane(faults, (fault) => this.#nodeFault(fault)));
    }
    lanes.push(this.#lane(supervisorFaults(seed), (fault) => this.#supervisorFault(fault)));
    lanes.push(this.#lane(mountFaults(seed), (fault) => this.#mountFault(fault)));
    await Promise.all(lanes);
  }

  end(): void {
    this.#ending.abort();
  }

  async #lane<T extends { readonly pauseMs: number }>(
    faults: Generator<T>,
    carryOut: (fault: T) => Promise<void>,
  ): Promise<void> {
    for (const fault of faults) {
      await this.#pause(fault.pauseMs);
      if (this.#ending.signal.aborted) return;
      this.#faults += 1;
      await carryOut(fault);
    }
  }

  /** Ends early when the run does. */
  async #pause(ms: number): Promise<void> {
    await sleep(ms, undefined, { signal: this.#ending.signal }).catch(() => undefined);
  }

  async #command(...args: string[]): Promise<void> {
    const startMs = performance.now();
    for (;;) {
      const { code, stderr } = await this.#volume.tartan(...args);
      if (code === 0) return;
      const reason = stderr.trim().split('\n').at(-1);
      this.#log.say(`tartan ${args.join(' ')}: ${code}, ${reason}`);
      if (code === exitCodes.internal) throw new Error(`tartan ${args.join(' ')} met a defect: ${stderr}`);
      if (performance.now() - Math.max(startMs, this.#supervisorGoneMs) > COMMAND_PATIENCE_MS) {
        throw new Error(`tartan ${args.join(' ')} goes on failing with ${code}: ${reason}`);
      }
      await sleep(RETRY_PAUSE_MS);
    }
  }

  async #nodeFault(fault: NodeFault): Promise<void> {
    await this.#away.untilEverythingIsBack();
    const id = this.#away.take(fault.preference);
    const name = nodeProcessName(id);
    const identity = this.#volume.process(name);
    this.#log.say(`${name}: ${fault.kind} for ${fault.awayMs} ms`);
    if (fault.kind === 'stop-by-command') await this.#command('node', 'kill', String(id));
    else if (fault.kind === 'kill') this.#volume.signal(name, 'SIGKILL');
    else if (fault.kind === 'terminate') this.#volume.signal(name, 'SIGTERM');
    else this.#volume.signal(name, 'SIGSTOP');
    await this.#pause(fault.awayMs);
    if (fault.kind === 'freeze') {
      this.#volume.signal(name, 'SIGCONT');
      // Killed meanwhile, with everything else: then it is brought back like any other.
      if (this.#volume.process(name)?.pid === identity?.pid) {
        this.#log.say(`${name}: goes on`);
        return this.#away.giveBack(id);
      }
    }
    if (fault.kind === 'freeze-and-kill') this.#volume.signal(name, 'SIGKILL');
    const byItself = fault.kind === 'stop-by-command' || fault.back === 'node-start';
    await this.#command(...(byItself ? ['node', 'start', String(id)] : ['up']));
    this.#log.say(`${name}: is back`);
    this.#away.giveBack(id);
  }

  async #supervisorFault(fault: SupervisorFault): Promise<void> {
    await this.#away.untilEverythingIsBack();
    this.#log.say(`supervisor: ${fault.kind} for ${fault.awayMs} ms`);
    const frozen = this.#volume.process('supervisor');
    this.#volume.signal('supervisor', fault.kind === 'kill' ? 'SIGKILL' : 'SIGSTOP');
    await this.#pause(fault.awayMs);
    this.#supervisorGoneMs = performance.now();
    if (fault.kind === 'kill') {
      await this.#command('node', 'list');
    } else if (this.#volume.process('supervisor')?.pid === frozen?.pid) {
      this.#volume.signal('supervisor', 'SIGCONT');
    }
    this.#log.say('supervisor: is back');
  }

  async #mountFault(fault: MountFault): Promise<void> {
    if (fault.kind === 'freeze') {
      this.#log.say(`mount: freeze for ${fault.awayMs} ms`);
      this.#volume.signal('mount', 'SIGSTOP');
      await this.#pause(fault.awayMs);
      this.#events.mountWasFrozen();
      this.#volume.signal('mount', 'SIGCONT');
      this.#log.say('mount: goes on');
      return;
    }
    const all = fault.kind === 'kill-all';
    const work = async (): Promise<void> => {
      this.#log.say(all ? 'everything: kill' : `mount: kill for ${fault.awayMs} ms`);
      this.#events.mountGone();
      if (all) this.#volume.killEverything();
      else this.#volume.signal('mount', 'SIGKILL');
      await this.#pause(fault.awayMs);
      const startMs = performance.now();
      if (all) this.#supervisorGoneMs = startMs;
      await this.#command('up');
      this.#log.say(`mount: is back, up took ${Math.round(performance.now() - startMs)} ms`);
    };
    await (all ? this.#away.withEverythingDown(work) : work());
    this.#events.mountBack();
  }
}
