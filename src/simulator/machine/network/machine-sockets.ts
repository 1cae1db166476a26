/** What the system of one machine knows of the network: who listens where, which ports are taken, and whether it runs at all. */
import { type Address, MachineError } from '../../../platform/platform.ts';
import type { Endpoint, EndpointHolder } from './endpoint.ts';

const FIRST_PORT = 32_768;
const LAST_PORT = 60_999;
const loopbackHosts = new Set(['localhost', '127.0.0.1', '::1']);

export const isLoopback = (host: string): boolean => loopbackHosts.has(host);

export interface ListenerEntry {
  readonly address: Address;
  readonly holder: EndpointHolder;
  readonly onConnection: (endpoint: Endpoint) => void;
  open: boolean;
}

export class MachineSockets {
  readonly name: string;
  powered = true;
  readonly #listeners = new Map<string, ListenerEntry>();
  /** Socket files whose listener died without removing them. */
  readonly #stalePaths = new Set<string>();
  #nextPort = FIRST_PORT;

  constructor(name: string) {
    this.name = name;
  }

  /** The address with a port, if it had none. */
  listen(
    address: Address,
    holder: EndpointHolder,
    onConnection: ListenerEntry['onConnection'],
  ): ListenerEntry {
    const bound =
      address.kind === 'tcp' && address.port === 0 ? { ...address, port: this.freePort() } : address;
    const key = keyOf(bound);
    if (this.#listeners.has(key))
      throw new MachineError('EADDRINUSE', `listen on ${describe(bound)}: EADDRINUSE`);
    const entry: ListenerEntry = { address: bound, holder, onConnection, open: true };
    this.#listeners.set(key, entry);
    if (bound.kind === 'unix') this.#stalePaths.delete(bound.path);
    return entry;
  }

  /** `orderly`: by its owner, who removes the socket file. */
  unlisten(entry: ListenerEntry, orderly: boolean): void {
    if (!entry.open) return;
    entry.open = false;
    this.#listeners.delete(keyOf(entry.address));
    if (!orderly && entry.address.kind === 'unix') this.#stalePaths.add(entry.address.path);
  }

  /** Who listens at the address, as seen from this machine itself or from another. */
  listenerAt(address: Address, local: boolean): ListenerEntry | undefined {
    const entry = this.#listeners.get(keyOf(address));
    if (entry?.address.kind === 'tcp' && isLoopback(entry.address.host) && !local) return undefined;
    return entry;
  }

  /** What connecting fails with where nobody listens. */
  refusal(address: Address): string {
    return address.kind === 'unix' && !this.#stalePaths.has(address.path) ? 'ENOENT' : 'ECONNREFUSED';
  }

  freePort(): number {
    do {
      this.#nextPort = this.#nextPort >= LAST_PORT ? FIRST_PORT : this.#nextPort + 1;
    } while (this.#listeners.has(`tcp:${this.#nextPort}`));
    return this.#nextPort;
  }
}

/** A port is taken on all addresses of the machine at once. */
const keyOf = (address: Address): string =>
  address.kind === 'unix' ? `unix:${address.path}` : `tcp:${address.port}`;

export const describe = (address: Address): string =>
  address.kind === 'unix' ? address.path : `${address.host}:${address.port}`;
