/**
 * Options of mount(8) and fstab: those that are ours, those that are meant for others and may stand in any fstab line, and an
 * error for the rest, so that no option is accepted without effect.
 */
import { CommandFailure, exitCodes } from '../failure.ts';
import { type Frontend, frontends } from '../volume/volume-file.ts';

/** For mount(8), systemd and boot scripts; they never mean anything to a file system. */
const FOR_OTHERS = new Set([
  'defaults',
  'auto',
  'noauto',
  'nofail',
  '_netdev',
  'user',
  'nouser',
  'users',
  'owner',
  'group',
]);
/** What a volume does anyway. */
const ALREADY_SO = new Set(['rw', 'suid', 'dev', 'exec', 'async', 'relatime']);

export interface MountOptions {
  readonly readOnly: boolean;
  readonly frontend: Frontend | undefined;
}

export function parseMountOptions(text: string): MountOptions {
  let readOnly = false;
  let frontend: Frontend | undefined;
  for (const option of text.split(',').map((part) => part.trim())) {
    if (option === '' || FOR_OTHERS.has(option) || /^(x-|X-|comment=)/.test(option)) continue;
    if (ALREADY_SO.has(option)) {
      if (option === 'rw') readOnly = false;
    } else if (option === 'ro') readOnly = true;
    else if (option.startsWith('frontend=')) frontend = parseFrontend(option.slice('frontend='.length));
    else {
      throw new CommandFailure(
        exitCodes.usage,
        `mount option ${option} is not known; known: ro, rw, frontend=NAME`,
      );
    }
  }
  return { readOnly, frontend };
}

function parseFrontend(name: string): Frontend {
  const found = frontends.find((frontend) => frontend === name);
  if (found !== undefined) return found;
  throw new CommandFailure(
    exitCodes.usage,
    `mount option frontend=${name}: choose from ${frontends.join(', ')}`,
  );
}
