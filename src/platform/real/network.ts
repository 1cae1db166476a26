/** Unix sockets by the native channel, TCP by node:net. */

import { connectUnix, listenUnix } from '../native/unix-channel.ts';
import { type Logger, MachineError, type Network } from '../platform.ts';
import { connectTcp, listenTcp } from './tcp.ts';

/** Only the owner of the volume reaches its sockets. */
const SOCKET_MODE = 0o600;
const RETRY_MS = 10;

export function realNetwork(log: Logger): Network {
  return {
    async listen(address, onConnection) {
      if (address.kind === 'tcp') return listenTcp(address, onConnection);
      const listener = listenUnix(address.path, {
        mode: SOCKET_MODE,
        onConnection,
        onError: (reason) => log.warn('accept-failed', { path: address.path, code: reason.code }),
      });
      return { address, close: async () => listener.close() };
    },
    connect: (address, timeoutMs) =>
      address.kind === 'tcp' ? connectTcp(address, timeoutMs) : connectPatiently(address.path, timeoutMs),
  };
}

/** A Unix socket connects at once, or the listener's queue is full: then it is tried again. */
async function connectPatiently(path: string, timeoutMs: number) {
  const endMs = performance.now() + timeoutMs;
  for (;;) {
    try {
      return connectUnix(path);
    } catch (error) {
      if (!(error instanceof MachineError) || error.code !== 'EAGAIN' || performance.now() > endMs)
        throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
  }
}
