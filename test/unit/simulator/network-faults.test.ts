import { beforeEach, describe, expect, test } from 'vitest';
import type { Address, Connection, MachineError } from '../../../src/platform/platform.ts';
import { createMachine, type Machine } from '../../../src/simulator/machine/machine.ts';
import type { MachineProcess } from '../../../src/simulator/machine/process.ts';
import { createWorld, type SimulatedWorld } from '../../../src/simulator/machine/world.ts';
import { noDisk } from './no-disk.ts';

const SERVICE: Address = { kind: 'tcp', host: 'server', port: 7_000 };
const SOCKET: Address = { kind: 'unix', path: '/run/socket' };

/** One end of a connection, and what its process hears of it. */
class End {
  text = '';
  readonly closed: (string | undefined)[] = [];
  readonly connection: Connection;

  constructor(connection: Connection) {
    this.connection = connection;
    connection.onData = (bytes) => {
      this.text += Buffer.from(bytes).toString();
    };
    connection.onClose = (reason: MachineError | undefined) => this.closed.push(reason?.code);
  }

  say(text: string): void {
    this.connection.send([Buffer.from(text)]);
  }
}

let world: SimulatedWorld;
let serverMachine: Machine;
let clientMachine: Machine;
let server: MachineProcess;
let client: MachineProcess;
let accepted: End[];
const pass = (durationMs: number) => world.run({ untilMs: world.scheduler.nowMs + durationMs });

async function listen(process: MachineProcess, address: Address): Promise<void> {
  const listening = process.platform.network.listen(address, (connection) => {
    accepted.push(new End(connection));
  });
  await world.complete(listening);
}

/** A connection from the client's process to the server's, both ends. */
async function connect(address = SERVICE, from = client): Promise<[End, End]> {
  const near = new End(await world.complete(from.platform.network.connect(address, 1_000)));
  await pass(10);
  return [near, accepted.at(-1)!];
}

beforeEach(async () => {
  world = createWorld(23);
  accepted = [];
  serverMachine = createMachine(world, { name: 'server', disk: noDisk });
  clientMachine = createMachine(world, { name: 'client', disk: noDisk });
  server = serverMachine.start('service');
  client = clientMachine.start('user');
  await listen(server, SERVICE);
});

describe('a killed process', () => {
  test('leaves its last words, and its connections are closed', async () => {
    const [near, far] = await connect();
    far.say('farewell');
    server.kill();
    await pass(10);
    expect(near).toMatchObject({ text: 'farewell', closed: [undefined] });
    expect([server.openConnections, client.openConnections, server.listeners]).toEqual([0, 0, 0]);
  });

  test('resets a connection whose bytes it had not read', async () => {
    const [near, far] = await connect();
    far.connection.pause();
    near.say('unread');
    await pass(10);
    server.kill();
    await pass(10);
    expect(near.closed).toEqual(['ECONNRESET']);
  });

  test('frees its addresses: they refuse until another one listens', async () => {
    await listen(server, SOCKET);
    server.kill();
    const { network } = client.platform;
    await expect(world.complete(network.connect(SERVICE, 1_000))).rejects.toMatchObject({
      code: 'ECONNREFUSED',
    });
    const next = serverMachine.start('service');
    await expect(world.complete(next.platform.network.connect(SOCKET, 1_000))).rejects.toMatchObject({
      code: 'ECONNREFUSED',
    });
    await listen(next, SOCKET);
    await listen(next, SERVICE);
    await connect();
    await connect(SOCKET, next);
    expect(next.openConnections).toBe(3);
  });

  test('says nothing more, and what was under way to it is lost', async () => {
    const [near, far] = await connect();
    near.say('too late');
    server.kill();
    far.say('from the grave');
    await pass(100);
    expect(far.text).toBe('');
    expect(near.text).toBe('');
  });
});

describe('a frozen process', () => {
  test('is connected to, and hears all of it when it thaws', async () => {
    server.freeze();
    const near = new End(await world.complete(client.platform.network.connect(SERVICE, 1_000)));
    near.say('hello ');
    await pass(1_000);
    near.say('again');
    near.connection.close();
    await pass(1_000);
    expect(accepted).toEqual([]);
    server.thaw();
    await pass(10);
    expect(accepted[0]).toMatchObject({ text: 'hello again', closed: [undefined] });
  });
});

describe('a cut link', () => {
  test('is not noticed; everything arrives in order once it is mended', async () => {
    const [near, far] = await connect();
    near.say('before ');
    world.network.faults.cut('client', 'server');
    near.say('during ');
    far.say('answer');
    await pass(5_000);
    expect([far.text, far.closed, near.text, near.closed]).toEqual(['', [], '', []]);
    world.network.faults.mend('client', 'server');
    near.say('after');
    await pass(3_000);
    expect([far.text, near.text]).toEqual(['before during after', 'answer']);
  });

  test('in one direction lets the other one through, until the window is full', async () => {
    const [near, far] = await connect();
    world.network.faults.cutOneWay('client', 'server');
    near.say('lost for now');
    far.say('heard');
    await pass(100);
    expect([far.text, near.text]).toEqual(['', 'heard']);
    for (let i = 0; i < 4; i++) far.connection.send([Buffer.alloc(1_000_000, 'x')]);
    await pass(100);
    expect(near.text.length).toBeLessThan(2_000_000);
    expect(far.connection.queuedBytes).toBeGreaterThan(2_000_000);
    world.network.faults.clear();
    await pass(3_000);
    expect(near.text.length).toBe(4_000_005);
    expect(far.text).toBe('lost for now');
  });

  test.each([
    ['client', 'server'],
    ['server', 'client'],
  ])('from %s to %s makes connecting time out', async (from, to) => {
    world.network.faults.cutOneWay(from, to);
    await expect(world.complete(client.platform.network.connect(SERVICE, 700))).rejects.toMatchObject({
      code: 'ETIMEDOUT',
    });
    expect(world.scheduler.nowMs).toBeGreaterThanOrEqual(700);
    expect([server.openConnections, client.openConnections]).toEqual([0, 0]);
  });

  test('that is mended in time lets a connection be made after all', async () => {
    world.network.faults.cut('client', 'server');
    world.scheduler.after(1_500, () => world.network.faults.mend('client', 'server'));
    const connection = await world.complete(client.platform.network.connect(SERVICE, 10_000));
    expect(world.scheduler.nowMs).toBeGreaterThan(1_500);
    new End(connection).say('at last');
    await pass(10);
    expect(accepted[0]!.text).toBe('at last');
  });

  test('for long ends what is idle by the keep-alive, and not what waits for an acknowledgement', async () => {
    const [idle, idleFar] = await connect();
    const [waiting] = await connect();
    world.network.faults.cut('client', 'server');
    waiting.say('anybody?');
    await pass(19_000);
    expect([idle.closed, idleFar.closed]).toEqual([[], []]);
    await pass(2_000);
    expect([idle.closed, idleFar.closed, waiting.closed]).toEqual([['ETIMEDOUT'], ['ETIMEDOUT'], []]);
    await pass(1_000_000);
    expect(waiting.closed).toEqual(['ETIMEDOUT']);
  });

  test('after which one end has given up resets the other one, once it is mended', async () => {
    const [waiting, far] = await connect();
    world.network.faults.cut('client', 'server');
    waiting.say('anybody?');
    await pass(30_000);
    expect([waiting.closed, far.closed]).toEqual([[], ['ETIMEDOUT']]);
    world.network.faults.mend('client', 'server');
    await pass(5_000);
    expect(waiting.closed).toEqual(['ECONNRESET']);
    expect([server.openConnections, client.openConnections]).toEqual([0, 0]);
  });

  test('that comes and goes does not add up to a time-out', async () => {
    const [near, far] = await connect();
    for (let i = 0; i < 5; i++) {
      world.network.faults.cut('client', 'server');
      await pass(15_000);
      world.network.faults.mend('client', 'server');
      await pass(1_000);
    }
    near.say('still here');
    await pass(10);
    expect(far.text).toBe('still here');
  });

  test('between two machines does not touch a third, nor a machine itself', async () => {
    const third = createMachine(world, { name: 'third', disk: noDisk }).start('user');
    world.network.faults.partition(['client', 'server'], ['client']);
    const [near, far] = await connect(SERVICE, third);
    near.say('over another way');
    const [self, selfFar] = await connect({ kind: 'tcp', host: 'localhost', port: 7_000 }, server);
    self.say('to myself');
    await pass(10);
    expect([far.text, selfFar.text]).toEqual(['over another way', 'to myself']);
  });
});

describe('a machine that lost power', () => {
  test('falls silent; what is sent to it after it is back is reset', async () => {
    const [near] = await connect();
    serverMachine.losePower();
    near.say('anybody?');
    await pass(5_000);
    expect(near.closed).toEqual([]);
    serverMachine.start('service');
    await pass(3_000);
    expect(near.closed).toEqual(['ECONNRESET']);
    expect(client.openConnections).toBe(0);
  });

  test('resets at once who sends only after it is back, and the idle ones when they ask', async () => {
    const [eager] = await connect();
    const [idle] = await connect();
    serverMachine.losePower();
    await pass(1_000);
    serverMachine.start('service');
    eager.say('hello?');
    await pass(2);
    expect([eager.closed, idle.closed]).toEqual([['ECONNRESET'], []]);
    await pass(11_000);
    expect(idle.closed).toEqual(['ECONNRESET']);
  });

  test('does not answer, and refuses where nobody listens once it is back', async () => {
    serverMachine.losePower();
    const { network } = client.platform;
    await expect(world.complete(network.connect(SERVICE, 500))).rejects.toMatchObject({ code: 'ETIMEDOUT' });
    serverMachine.start('service');
    await expect(world.complete(network.connect(SERVICE, 500))).rejects.toMatchObject({
      code: 'ECONNREFUSED',
    });
  });

  test('and does not come back is given up', async () => {
    const [near] = await connect();
    serverMachine.losePower();
    await pass(21_000);
    expect(near.closed).toEqual(['ETIMEDOUT']);
  });
});

describe('other troubles', () => {
  test('a half-open connection is reset at one end, and the other end does not know', async () => {
    const ends: (string | undefined)[][] = [];
    for (let i = 0; i < 16; i++) await connect();
    for (const end of accepted) ends.push(end.closed);
    world.network.faults.breakHalf('client', 'server');
    await pass(100);
    const told = accepted.filter((end) => end.closed.length > 0);
    expect(told.length).toBeGreaterThan(2);
    expect(told.length).toBeLessThan(14);
    expect(server.openConnections).toBe(16 - told.length);
    expect(client.openConnections).toBe(told.length);
    accepted.find((end) => end.closed.length === 0)!.say('into the void');
    const [near, far] = await connect();
    near.say('a new one');
    await pass(100);
    expect(far.text).toBe('a new one');
  });

  test('a slow link is slow in both directions, and quick again afterwards', async () => {
    const [near, far] = await connect();
    const journey = async (): Promise<number> => {
      const from = world.scheduler.nowMs;
      far.text = '';
      near.say('x');
      await world.run({ until: () => far.text !== '' });
      return world.scheduler.nowMs - from;
    };
    world.network.faults.delay('server', 'client', 300);
    expect(await journey()).toBeGreaterThan(300);
    world.network.faults.delay('server', 'client', 0);
    expect(await journey()).toBeLessThan(10);
  });

  test('a lossy link delivers everything, late', async () => {
    const [near, far] = await connect();
    world.network.faults.lose('client', 'server', 0.3);
    let sent = '';
    for (let i = 0; i < 100; i++) {
      near.say(`${i} `);
      sent += `${i} `;
      await pass(1);
    }
    expect(far.text.length).toBeLessThan(sent.length);
    await pass(20_000);
    expect(far.text).toBe(sent);
  });

  test('a host that does not exist is not found', async () => {
    const connecting = client.platform.network.connect({ ...SERVICE, host: 'nowhere' }, 1_000);
    await expect(world.complete(connecting)).rejects.toMatchObject({ code: 'ENOTFOUND' });
  });

  test('a Unix socket and a loopback address are reached from their own machine only', async () => {
    await listen(server, SOCKET);
    await listen(server, { kind: 'tcp', host: '127.0.0.1', port: 7_001 });
    for (const address of [SOCKET, { ...SERVICE, port: 7_001 }])
      await expect(world.complete(client.platform.network.connect(address, 1_000))).rejects.toMatchObject({
        code: expect.stringMatching(/ENOENT|ECONNREFUSED/),
      });
    await connect(SOCKET, server);
    await connect({ ...SERVICE, port: 7_001 }, server);
  });
});
