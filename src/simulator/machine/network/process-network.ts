/** The network as one process sees it. With the process go its listeners and its ends of connections. */
import type { Address, Connection, Listener, Network } from '../../../platform/platform.ts';
import type { Gate } from '../../contract.ts';
import { connect } from './connecting.ts';
import type { Endpoint, EndpointHolder } from './endpoint.ts';
import type { ListenerEntry, MachineSockets } from './machine-sockets.ts';
import type { SimulatedNetwork } from './network.ts';

const never = <T>(): Promise<T> => new Promise(() => {});

export class ProcessNetwork implements Network, EndpointHolder {
  readonly gate: Gate;
  readonly sockets: MachineSockets;
  readonly endpoints = new Set<Endpoint>();
  readonly lingering = new Set<Endpoint>();
  readonly #network: SimulatedNetwork;
  readonly #listeners = new Set<ListenerEntry>();

  constructor(network: SimulatedNetwork, sockets: MachineSockets, gate: Gate) {
    this.#network = network;
    this.sockets = sockets;
    this.gate = gate;
    gate.onDeath(() => this.#died());
  }

  get openConnections(): number {
    return this.endpoints.size;
  }

  get listeners(): number {
    return this.#listeners.size;
  }

  async listen(address: Address, onConnection: (connection: Connection) => void): Promise<Listener> {
    if (!this.gate.alive) return never();
    const entry = this.sockets.listen(address, this, onConnection);
    this.#listeners.add(entry);
    return {
      address: entry.address,
      close: async () => {
        if (!this.gate.alive) return never();
        this.sockets.unlisten(entry, true);
        this.#listeners.delete(entry);
      },
    };
  }

  connect(address: Address, timeoutMs: number): Promise<Connection> {
    if (!this.gate.alive) return never();
    return new Promise((resolve, reject) => {
      connect(this.#network, this, address, timeoutMs, resolve, reject);
    });
  }

  #died(): void {
    for (const entry of this.#listeners) this.sockets.unlisten(entry, false);
    this.#listeners.clear();
    for (const endpoint of [...this.endpoints, ...this.lingering]) endpoint.closeForDead();
    this.lingering.clear();
  }
}
