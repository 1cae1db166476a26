/** A real etcd on loopback, with a directory of its own. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';

export interface EtcdServer {
  readonly endpoint: string;
  /** Kills it and starts it again on the same data. */
  restart(): Promise<void>;
  close(): Promise<void>;
}

export function etcdIsInstalled(): boolean {
  return spawnSync('etcd', ['--version']).status === 0;
}

export async function startEtcd(): Promise<EtcdServer> {
  const directory = mkdtempSync('/var/tmp/tartan-etcd-');
  const [clientPort, peerPort] = await Promise.all([freePort(), freePort()]);
  const endpoint = `http://127.0.0.1:${clientPort}`;
  const peer = `http://127.0.0.1:${peerPort}`;
  const start = async (): Promise<ChildProcess> => {
    const child = spawn(
      'etcd',
      [
        ...['--data-dir', directory, '--name', 'test', '--log-level', 'error', '--unsafe-no-fsync'],
        ...['--listen-client-urls', endpoint, '--advertise-client-urls', endpoint],
        ...['--listen-peer-urls', peer, '--initial-advertise-peer-urls', peer],
        ...['--initial-cluster', `test=${peer}`],
      ],
      { stdio: 'ignore' },
    );
    await answers(endpoint, child);
    return child;
  };
  let child = await start();
  return {
    endpoint,
    async restart() {
      await kill(child);
      child = await start();
    },
    async close() {
      await kill(child);
      rmSync(directory, { recursive: true });
    },
  };
}

async function answers(endpoint: string, child: ChildProcess): Promise<void> {
  const endMs = performance.now() + 90_000;
  while (performance.now() < endMs) {
    if (child.exitCode !== null) throw new Error(`etcd ended with ${child.exitCode}`);
    const reply = await fetch(`${endpoint}/health`).catch(() => undefined);
    if (reply?.ok) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  child.kill('SIGKILL');
  throw new Error('etcd does not answer');
}

function kill(child: ChildProcess): Promise<void> {
  return new Promise((resolve) => {
    child.once('exit', () => resolve());
    child.kill('SIGKILL');
  });
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      const port = typeof address === 'object' && address !== null ? address.port : 0;
      server.close(() => resolve(port));
    });
  });
}
