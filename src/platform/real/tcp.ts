/**
 * Connections between machines, over node:net. Payloads are copied once on the way out, because the caller's memory is only lent during `send`.
 */
import { createServer, type Server, Socket } from 'node:net';
import type { Address, Connection, Listener, MachineError } from '../platform.ts';
import { MachineError as Failure } from '../platform.ts';
import { toMachineError } from './machine-error.ts';

const KEEP_ALIVE_MS = 10_000;
/** How long a closed connection may take to send what is queued. */
const LINGER_MS = 1_000;

type TcpAddress = Extract<Address, { kind: 'tcp' }>;

export class TcpConnection implements Connection {
  readonly peer: string;
  readonly #socket: Socket;
  #onData: Connection['onData'];
  #onClose: Connection['onClose'];
  #paused = false;
  #closed = false;
  /** Set when the end came before anybody listened. */
  #missedClose: { reason: MachineError | undefined } | undefined;

  constructor(socket: Socket) {
    this.#socket = socket;
    this.peer = `tcp:${socket.remoteAddress}:${socket.remotePort}`;
    socket.setNoDelay(true);
    socket.setKeepAlive(true, KEEP_ALIVE_MS);
    socket.pause();
    let failure: MachineError | undefined;
    socket.on('data', (bytes) => this.#onData?.(bytes));
    socket.on('error', (error) => {
      failure = toMachineError(error, this.peer) as MachineError;
    });
    socket.on('close', () => this.#ended(failure));
  }

  get queuedBytes(): number {
    return this.#socket.writableLength;
  }

  get onData(): Connection['onData'] {
    return this.#onData;
  }

  set onData(receive: Connection['onData']) {
    this.#onData = receive;
    this.#readIfWanted();
  }

  get onClose(): Connection['onClose'] {
    return this.#onClose;
  }

  set onClose(run: Connection['onClose']) {
    this.#onClose = run;
    const missed = this.#missedClose;
    if (run === undefined || missed === undefined) return;
    this.#missedClose = undefined;
    queueMicrotask(() => run(missed.reason));
  }

  send(parts: readonly Uint8Array[]): void {
    if (!this.#closed) this.#socket.write(Buffer.concat(parts));
  }

  pause(): void {
    this.#paused = true;
    this.#readIfWanted();
  }

  resume(): void {
    this.#paused = false;
    this.#readIfWanted();
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#onData = undefined;
    this.#onClose = undefined;
    this.#socket.destroySoon();
    setTimeout(() => this.#socket.destroy(), LINGER_MS).unref();
  }

  #readIfWanted(): void {
    if (this.#onData !== undefined && !this.#paused) this.#socket.resume();
    else this.#socket.pause();
  }

  #ended(reason: MachineError | undefined): void {
    if (this.#closed) return;
    this.#closed = true;
    const run = this.#onClose;
    this.#onClose = undefined;
    if (run === undefined) this.#missedClose = { reason };
    else run(reason);
  }
}

export function listenTcp(
  address: TcpAddress,
  onConnection: (connection: Connection) => void,
): Promise<Listener> {
  return new Promise((resolve, reject) => {
    const server: Server = createServer((socket) => onConnection(new TcpConnection(socket)));
    server.once('error', (error) => reject(toMachineError(error, `listen on ${address.host}`)));
    server.listen(address.port, address.host, () => {
      const bound = server.address();
      const port = typeof bound === 'object' && bound !== null ? bound.port : address.port;
      resolve({
        address: { kind: 'tcp', host: address.host, port },
        // Connections that were accepted go on; the port is free at once.
        close: async () => {
          server.close();
        },
      });
    });
  });
}

export function connectTcp(address: TcpAddress, timeoutMs: number): Promise<Connection> {
  return new Promise((resolve, reject) => {
    const what = `connect to ${address.host}:${address.port}`;
    const socket = new Socket();
    const timer = setTimeout(() => {
      socket.destroy();
      reject(new Failure('ETIMEDOUT', `${what}: ETIMEDOUT`));
    }, timeoutMs);
    const failed = (error: Error): void => {
      clearTimeout(timer);
      reject(toMachineError(error, what));
    };
    socket.once('error', failed);
    socket.connect(address.port, address.host, () => {
      clearTimeout(timer);
      socket.off('error', failed);
      resolve(new TcpConnection(socket));
    });
  });
}
