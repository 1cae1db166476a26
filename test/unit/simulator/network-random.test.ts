/** Connections under random troubles: what arrives is always the beginning of what was sent, and all of it once the troubles are over. */
import { expect, test } from 'vitest';
import type { Connection } from '../../../src/platform/platform.ts';
import type { Dice } from '../../../src/simulator/contract.ts';
import { createMachine, type Machine } from '../../../src/simulator/machine/machine.ts';
import type { MachineProcess } from '../../../src/simulator/machine/process.ts';
import { createWorld, type SimulatedWorld } from '../../../src/simulator/machine/world.ts';
import { noDisk } from './no-disk.ts';

const RUN_MS = 3_000;
const names = ['a', 'b', 'c'];

/** One direction: bytes count up, so that each says where it belongs. */
class Stream {
  sentBytes = 0;
  receivedBytes = 0;
  /** Why not everything has to arrive. */
  broken = false;
  wrong = 0;

  next(lengthBytes: number): Buffer {
    const bytes = Buffer.alloc(lengthBytes);
    for (let i = 0; i < lengthBytes; i++) bytes[i] = (this.sentBytes + i) % 251;
    this.sentBytes += lengthBytes;
    return bytes;
  }

  take(bytes: Uint8Array): void {
    for (let i = 0; i < bytes.length; i++) if (bytes[i] !== (this.receivedBytes + i) % 251) this.wrong++;
    this.receivedBytes += bytes.length;
  }
}

class Side {
  readonly process: MachineProcess;
  readonly connection: Connection;
  readonly out: Stream;
  ended = 0;
  gone = false;

  constructor(process: MachineProcess, connection: Connection, out: Stream, inn: Stream) {
    this.process = process;
    this.connection = connection;
    this.out = out;
    connection.onData = (bytes) => {
      expect(process.alive && !process.frozen && !this.gone).toBe(true);
      inn.take(bytes);
    };
    connection.onClose = () => this.ended++;
  }

  close(): void {
    this.gone = true;
    this.connection.close();
  }
}

interface Scene {
  readonly world: SimulatedWorld;
  readonly machines: Machine[];
  readonly processes: MachineProcess[];
  readonly sides: Side[];
  readonly streams: Stream[];
}

async function prepare(seed: number): Promise<Scene> {
  const world = createWorld(seed);
  const machines = names.map((name) => createMachine(world, { name, disk: noDisk }));
  const processes = machines.map((machine) => machine.start('program'));
  const sides: Side[] = [];
  const streams: Stream[] = [];
  for (const from of processes) {
    for (const [index, to] of processes.entries()) {
      const address = { kind: 'tcp', host: names[index]!, port: 7_000 + sides.length } as const;
      let accepted: Connection | undefined;
      await world.complete(
        to.platform.network.listen(address, (connection) => {
          accepted = connection;
        }),
      );
      const connection = await world.complete(from.platform.network.connect(address, 1_000));
      await world.run({ until: () => accepted !== undefined });
      const [there, back] = [new Stream(), new Stream()];
      streams.push(there, back);
      sides.push(new Side(from, connection, there, back), new Side(to, accepted!, back, there));
    }
  }
  return { world, machines, processes, sides, streams };
}

/** Troubles that end; nothing that was sent may be lost by them. */
function trouble({ world, processes, sides }: Scene, dice: Dice): void {
  const { faults } = world.network;
  const [one, other] = [dice.pick(names), dice.pick(names)];
  const process = dice.pick(processes);
  const side = dice.pick(sides);
  const kinds: readonly (readonly [begin: () => void, end: () => void])[] = [
    [() => faults.cutOneWay(one, other), () => faults.mend(one, other)],
    [() => faults.cut(one, other), () => faults.mend(one, other)],
    [() => process.freeze(), () => process.thaw()],
    [() => side.connection.pause(), () => side.connection.resume()],
    [() => faults.delay(one, other, 30), () => faults.delay(one, other, 0)],
    [() => faults.lose(one, other, 0.2), () => faults.lose(one, other, 0)],
  ];
  const [begin, end] = dice.pick(kinds);
  begin();
  world.scheduler.after(dice.below(400), end);
}

async function disturb(scene: Scene, dice: Dice): Promise<void> {
  const { world, sides } = scene;
  for (let i = 0; i < 40; i++) world.scheduler.after(dice.below(RUN_MS), () => trouble(scene, dice));
  for (let i = 0; i < 600; i++) {
    world.scheduler.after(dice.below(RUN_MS), () => {
      const side = dice.pick(sides);
      if (side.process.frozen || side.gone) return;
      side.connection.send([side.out.next(dice.chance(0.02) ? dice.below(400_000) : dice.below(300))]);
    });
  }
  await world.run({ untilMs: world.scheduler.nowMs + RUN_MS + 500 });
  for (const process of scene.processes) process.thaw();
  for (const side of sides) side.connection.resume();
  world.network.faults.clear();
  await world.run({ untilMs: world.scheduler.nowMs + 30_000 });
}

test('troubles that end lose nothing', async () => {
  for (let seed = 1; seed <= 12; seed++) {
    const scene = await prepare(seed);
    await disturb(scene, scene.world.dice.fork('troubles'));
    expect(scene.world.failure).toBeUndefined();
    for (const stream of scene.streams) {
      expect(stream.wrong).toBe(0);
      expect(stream.receivedBytes).toBe(stream.sentBytes);
    }
    for (const side of scene.sides) expect([side.ended, side.connection.queuedBytes]).toEqual([0, 0]);
  }
});

test('whatever dies, every other end hears of it once, and nothing is left in the network', async () => {
  for (let seed = 1; seed <= 12; seed++) {
    const scene = await prepare(seed);
    const { world, machines, sides } = scene;
    const dice = world.dice.fork('deaths');
    const die = (): void => {
      const machine = dice.pick(machines);
      if (dice.chance(0.3)) dice.pick(sides).close();
      else if (dice.chance(0.4)) world.network.faults.breakHalf(dice.pick(names), dice.pick(names));
      else if (dice.chance(0.5)) dice.pick(scene.processes).kill();
      else {
        machine.losePower();
        world.scheduler.after(dice.below(1_000), () => machine.start('another'));
      }
    };
    for (let i = 0; i < 4; i++) world.scheduler.after(dice.below(RUN_MS), die);
    await disturb(scene, dice);
    // Whoever still believes in a connection asks now.
    for (const side of sides) if (side.process.alive && !side.gone) side.connection.send([side.out.next(1)]);
    await world.run({ untilMs: world.scheduler.nowMs + 1_000_000 });
    expect(world.failure).toBeUndefined();
    for (const stream of scene.streams) expect(stream.wrong).toBe(0);
    for (let index = 0; index < sides.length; index += 2) {
      const [near, far] = [sides[index]!, sides[index + 1]!];
      for (const [side, peer] of [
        [near, far],
        [far, near],
      ] as const) {
        const peerOver = !peer.process.alive || peer.gone || peer.ended > 0;
        const hears = side.process.alive && !side.gone;
        if (hears) expect(side.ended).toBe(peerOver ? 1 : 0);
        else expect(side.ended).toBeLessThanOrEqual(1);
      }
    }
    for (const process of scene.processes) process.kill();
    await world.run({ untilMs: world.scheduler.nowMs + 30_000 });
    for (const process of scene.processes)
      expect([process.openConnections, process.listeners]).toEqual([0, 0]);
    for (const link of world.network.links()) expect(link.users).toBe(0);
  }
});
