/**
 * Making a connection: one journey there, one back, and a third until the listener's owner hears of it. The listener's system answers,
 * so a process that is frozen is connected to all the same. Without an answer the question is asked again, until the time is up.
 */
import { type Address, type Connection, MachineError } from '../../../platform/platform.ts';
import { Endpoint } from './endpoint.ts';
import { describe, isLoopback, type MachineSockets } from './machine-sockets.ts';
import type { SimulatedNetwork } from './network.ts';
import type { ProcessNetwork } from './process-network.ts';

const FIRST_RETRY_MS = 1_000;

export function connect(
  network: SimulatedNetwork,
  caller: ProcessNetwork,
  address: Address,
  timeoutMs: number,
  resolve: (connection: Connection) => void,
  reject: (reason: MachineError) => void,
): void {
  const { scheduler } = network.world;
  const { gate, sockets } = caller;
  const target = targetOf(network, sockets, address);
  let over = false;
  const fail = (code: string): void => {
    if (over) return;
    over = true;
    timeout.cancel();
    reject(new MachineError(code, `connect to ${describe(address)}: ${code}`));
  };
  const timeout = gate.after(timeoutMs, () => fail('ETIMEDOUT'));
  if (target === undefined) {
    gate.after(0, () => fail('ENOTFOUND'));
    return;
  }
  const away = network.link(sockets.name, target.name);
  const back = network.link(target.name, sockets.name);
  const unreachable = (): boolean => away.isCut || back.isCut || !target.powered;
  const ask = (retryMs: number): void => {
    if (over || !gate.alive) return;
    if (unreachable()) scheduler.after(retryMs, () => ask(retryMs * 2));
    else scheduler.after(away.delayMs(), () => arrive(retryMs));
  };
  const arrive = (retryMs: number): void => {
    if (over || !gate.alive) return;
    if (unreachable()) {
      scheduler.after(retryMs, () => ask(retryMs * 2));
      return;
    }
    const backMs = back.delayMs();
    const entry = target.listenerAt(address, target === sockets);
    if (entry === undefined) {
      gate.after(backMs, () => fail(target.refusal(address)));
      return;
    }
    const [client, server] = join(network, caller, entry.holder as ProcessNetwork, address);
    entry.holder.gate.after(backMs + away.delayMs(), () => {
      // The listener was closed before it took this one.
      if (!entry.open) server.close();
      else if (!server.over) entry.onConnection(server);
    });
    gate.after(backMs, () => {
      if (over) {
        client.close();
        return;
      }
      over = true;
      timeout.cancel();
      resolve(client);
    });
  };
  ask(FIRST_RETRY_MS);
}

function targetOf(
  network: SimulatedNetwork,
  sockets: MachineSockets,
  address: Address,
): MachineSockets | undefined {
  if (address.kind === 'unix' || isLoopback(address.host)) return sockets;
  return network.socketsOf(address.host);
}

function join(
  network: SimulatedNetwork,
  caller: ProcessNetwork,
  listener: ProcessNetwork,
  address: Address,
): [client: Endpoint, server: Endpoint] {
  const from = caller.sockets;
  const unix = address.kind === 'unix';
  const client = new Endpoint(
    network,
    address.kind,
    unix ? `unix:${address.path}` : `tcp:${describe(address)}`,
    caller,
  );
  const clientName = unix ? `a client of unix:${address.path}` : `tcp:${from.name}:${from.freePort()}`;
  const server = new Endpoint(network, address.kind, clientName, listener);
  const away = network.link(from.name, listener.sockets.name);
  const back = network.link(listener.sockets.name, from.name);
  Endpoint.join(network, client, away, server, back);
  return [client, server];
}
