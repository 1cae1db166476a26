/**
 * Attaches a /dev/fuse descriptor to a mount point: by mount(2) with privilege, by fusermount3 without.
 */
import { getSystemErrorName } from 'node:util';
import { fuseAddon } from './channel.ts';
import { MountError } from './mount-error.ts';
import { isPrivileged, runHelper } from './unmount.ts';

const MS_RDONLY = 1;

export interface DeviceOptions {
  /** Shown as the device in mount tables. */
  readonly source: string;
  readonly mountPoint: string;
  readonly readOnly: boolean;
  readonly allowOther: boolean;
}

/** Returns the descriptor of a connection that waits for its INIT to be answered. The caller owns it. */
export function attachDevice(options: DeviceOptions): Promise<number> {
  return isPrivileged() ? attachByKernel(options) : attachByHelper(options);
}

async function attachByKernel(options: DeviceOptions): Promise<number> {
  const addon = fuseAddon();
  const descriptor = addon.fuseOpenDevice();
  if (descriptor < 0) throw noDevice(descriptor);
  const data = [`fd=${descriptor}`, 'rootmode=40000', 'user_id=0', 'group_id=0', 'default_permissions'];
  if (options.allowOther) data.push('allow_other');
  const flags = options.readOnly ? MS_RDONLY : 0;
  const result = addon.fuseMount(options.source, options.mountPoint, flags, data.join(','));
  if (result === 0) return descriptor;
  addon.fuseCloseDescriptor(descriptor);
  const code = getSystemErrorName(result);
  if (code !== 'EPERM') throw new MountError('failed', `cannot mount on ${options.mountPoint}: ${code}`);
  throw new MountError(
    'no-permission',
    `this process may not mount, not even as root, so ${options.mountPoint} cannot be: start the container with --cap-add SYS_ADMIN`,
  );
}

async function attachByHelper(options: DeviceOptions): Promise<number> {
  const addon = fuseAddon();
  const pair = addon.fuseSocketPair();
  if (typeof pair === 'number') throw new MountError('failed', `no socket pair: ${getSystemErrorName(pair)}`);
  const [ours, theirs] = pair;
  // Separators in the name are escaped as fusermount reads them.
  const source = options.source.replace(/[\\,]/g, '\\$&');
  const settings = [`fsname=${source}`, 'subtype=tartan', 'default_permissions'];
  if (options.allowOther) settings.push('allow_other');
  if (options.readOnly) settings.push('ro');
  try {
    const outcome = await runHelper(['-o', settings.join(','), '--', options.mountPoint], theirs);
    if (outcome.code !== 0) throw refused(options, outcome.message);
    const descriptor = addon.fuseReceiveDescriptor(ours);
    if (descriptor < 0)
      throw new MountError('failed', `fusermount3 sent no descriptor: ${getSystemErrorName(descriptor)}`);
    return descriptor;
  } finally {
    addon.fuseCloseDescriptor(ours);
    addon.fuseCloseDescriptor(theirs);
  }
}

function refused(options: DeviceOptions, message: string): MountError {
  const hint = options.allowOther ? ' (access for other users needs user_allow_other in /etc/fuse.conf)' : '';
  return new MountError('helper-refused', `cannot mount on ${options.mountPoint}: ${message}${hint}`);
}

function noDevice(result: number): MountError {
  const code = getSystemErrorName(result);
  const advice =
    code === 'ENOENT' || code === 'ENODEV' || code === 'ENXIO'
      ? 'load the module with modprobe fuse, or give the container --device /dev/fuse'
      : 'the process needs access to it';
  return new MountError('no-device', `cannot open /dev/fuse (${code}): ${advice}`);
}
