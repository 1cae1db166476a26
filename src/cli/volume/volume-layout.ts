/**
 * Where the parts of a volume lie on this machine: pure path arithmetic, the one place that knows it.
 */
import { homedir, userInfo } from 'node:os';
import { join, resolve } from 'node:path';

export const DEFAULT_VOLUME_NAME = 'tartan';

export interface VolumeLayout {
  readonly directory: string;
  readonly settingsFile: string;
  readonly keyFile: string;
  readonly coordinatorDirectory: string;
  readonly runDirectory: string;
  readonly logDirectory: string;
  readonly supervisorSocket: string;
  readonly mountSocket: string;
  readonly mountDirectory: string;
  nodeDirectory(id: number): string;
  nodeSocket(id: number): string;
  /** Pid file of a process by its name: `supervisor`, `mount`, `node-3`. */
  pidFile(process: string): string;
  logFile(process: string): string;
  /** How the volume is mounted now: outlives the supervisor, not an unmount. */
  readonly mountSettingsFile: string;
  /** Present while processes that die are restarted: outlives the supervisor, not an orderly end. */
  readonly restartMark: string;
  /** Present while a node is down because somebody asked for it. */
  stoppedMark(id: number): string;
}

export function volumeLayout(directory: string): VolumeLayout {
  const root = resolve(directory);
  const run = join(root, 'run');
  const logs = join(root, 'logs');
  return {
    directory: root,
    settingsFile: join(root, 'volume.json'),
    keyFile: join(root, 'volume.key'),
    coordinatorDirectory: join(root, 'coordinator'),
    runDirectory: run,
    logDirectory: logs,
    supervisorSocket: join(run, 'supervisor.sock'),
    mountSocket: join(run, 'mount.sock'),
    mountDirectory: join(root, 'mount'),
    nodeDirectory: (id) => join(root, 'nodes', String(id)),
    nodeSocket: (id) => join(run, `node-${id}.sock`),
    pidFile: (name) => join(run, `${name}.pid`),
    logFile: (name) => join(logs, `${name}.log`),
    mountSettingsFile: join(run, 'mount.json'),
    restartMark: join(run, 'restart'),
    stoppedMark: (id) => join(run, `node-${id}.stopped`),
  };
}

const isRoot = (): boolean => userInfo().uid === 0;

export function defaultVolumeDirectory(name: string): string {
  return isRoot() ? join('/var/lib/tartan', name) : join(homedir(), '.local/share/tartan', name);
}

export function defaultMountPoint(name: string): string {
  return isRoot() ? join('/mnt', name) : join(homedir(), name);
}

export function nodeProcessName(id: number): string {
  return `node-${id}`;
}
