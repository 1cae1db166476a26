/**
 * volume.json and volume.key: what a volume is on this machine. Written once at creation and replaced atomically when
 * the mount point changes, or nodes are added or removed. Byte-level rules: docs/format/volume-file.md. A file that does not match is refused, never guessed at.
 */
import { randomBytes } from 'node:crypto';
import {
  closeSync,
  existsSync,
  fsyncSync,
  linkSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { MAX_NODES, MAX_PARITY } from '../../base/limits.ts';
import { asFailure, CommandFailure, exitCodes, systemCode } from '../failure.ts';
import type { VolumeLayout } from './volume-layout.ts';

export const frontends = ['native', 'fuse-native'] as const;
export type Frontend = (typeof frontends)[number];

export interface VolumeFile {
  readonly formatVersion: 1;
  readonly name: string;
  /** 32 hex digits. */
  readonly volumeId: string;
  readonly nodes: readonly number[];
  /** The highest number that a node had which was removed: none is given twice. Absent: none was removed. */
  readonly highestNode?: number;
  /** What holds for single nodes, by their number. */
  readonly nodeSettings?: Readonly<Record<string, NodeSettings>>;
  readonly dataFragments: number;
  readonly parityFragments: number;
  /** Bytes that each node may use that has no settings of its own; null: what its disk has. */
  readonly capacityBytes: number | null;
  readonly mountPoint: string;
  readonly frontend: Frontend;
}

export interface NodeSettings {
  /** Nodes with the same label are likely to fail together. */
  readonly domain?: string;
  readonly capacityBytes?: number;
}

const KEY_BYTES = 32;
const VOLUME_NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/;
/** Not a number: a node without a label is a domain of its own, and is called by its number. */
const DOMAIN_LABEL = /^(?=.*[A-Za-z])[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/;

export function isVolumeName(text: string): boolean {
  return VOLUME_NAME.test(text);
}

export function isDomainLabel(text: string): boolean {
  return DOMAIN_LABEL.test(text);
}

export function volumeExists(layout: VolumeLayout): boolean {
  return existsSync(layout.settingsFile);
}

function isInteger(value: unknown, least: number, most: number): value is number {
  return typeof value === 'number' && Number.isInteger(value) && value >= least && value <= most;
}

const fieldRules: { readonly [Field in keyof Required<VolumeFile>]: (value: unknown) => boolean } = {
  formatVersion: (value) => value === 1,
  name: (value) => typeof value === 'string' && isVolumeName(value),
  volumeId: (value) => typeof value === 'string' && /^[0-9a-f]{32}$/.test(value),
  nodes: (value) =>
    Array.isArray(value) &&
    value.length >= 1 &&
    value.length <= MAX_NODES &&
    new Set(value).size === value.length &&
    value.every((id) => isInteger(id, 1, 65535)),
  highestNode: (value) => value === undefined || isInteger(value, 1, 65535),
  nodeSettings: (value) => value === undefined || areNodeSettings(value),
  dataFragments: (value) => isInteger(value, 1, MAX_NODES),
  parityFragments: (value) => isInteger(value, 0, MAX_PARITY),
  capacityBytes: (value) => value === null || isInteger(value, 1, Number.MAX_SAFE_INTEGER),
  mountPoint: (value) => typeof value === 'string' && value.startsWith('/'),
  frontend: (value) => frontends.includes(value as Frontend),
};

function areNodeSettings(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false;
  return Object.entries(value).every(([id, settings]: [string, unknown]) => {
    if (!/^[1-9]\d{0,4}$/.test(id) || typeof settings !== 'object' || settings === null) return false;
    return Object.entries(settings).every(([field, setting]: [string, unknown]) => {
      if (field === 'domain') return typeof setting === 'string' && isDomainLabel(setting);
      return field === 'capacityBytes' && isInteger(setting, 1, Number.MAX_SAFE_INTEGER);
    });
  });
}

/** Returns what is wrong with it, or undefined. */
export function volumeFileProblem(value: unknown): string | undefined {
  if (typeof value !== 'object' || value === null) return 'it is not a JSON object';
  const fields = value as Record<string, unknown>;
  if (fields.formatVersion !== 1) return `format version ${String(fields.formatVersion)} is not known`;
  for (const [field, rule] of Object.entries(fieldRules)) {
    if (!rule(fields[field])) return `field ${field} is missing or wrong`;
  }
  for (const field of Object.keys(fields)) {
    if (!(field in fieldRules)) return `field ${field} is not known`;
  }
  return undefined;
}

/** The highest number that any of its nodes has or had. */
export function highestNode({ nodes, highestNode: removed = 0 }: VolumeFile): number {
  return Math.max(removed, ...nodes);
}

export function readVolumeFile(layout: VolumeLayout): VolumeFile {
  let text: string;
  try {
    text = readFileSync(layout.settingsFile, 'utf8');
  } catch (error) {
    if (systemCode(error) === 'ENOENT') {
      throw new CommandFailure(
        exitCodes.configuration,
        `there is no volume in ${layout.directory}; create it with \`tartan up\` or say which with --volume or --dir`,
      );
    }
    throw asFailure(error, layout.settingsFile);
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new CommandFailure(exitCodes.configuration, `${layout.settingsFile} is not JSON`, error);
  }
  const problem = volumeFileProblem(value);
  if (problem !== undefined) {
    throw new CommandFailure(exitCodes.configuration, `${layout.settingsFile} cannot be used: ${problem}`);
  }
  return value as VolumeFile;
}

export function readVolumeKey(layout: VolumeLayout): Buffer {
  let key: Buffer;
  try {
    key = readFileSync(layout.keyFile);
  } catch (error) {
    throw asFailure(error, layout.keyFile);
  }
  if (key.length !== KEY_BYTES) {
    throw new CommandFailure(
      exitCodes.configuration,
      `${layout.keyFile} has ${key.length} bytes instead of ${KEY_BYTES}`,
    );
  }
  return key;
}

function writeDurably(path: string, bytes: Uint8Array, mode: number): void {
  const descriptor = openSync(path, 'w', mode);
  try {
    writeSync(descriptor, bytes);
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

function syncDirectory(path: string): void {
  const descriptor = openSync(path, 'r');
  fsyncSync(descriptor);
  closeSync(descriptor);
}

const encode = (file: VolumeFile): Buffer => Buffer.from(`${JSON.stringify(file, null, 2)}\n`);

/**
 * Creates the directory, the key and, last, the settings file, whose appearance makes the volume exist.
 * False: another process created it meanwhile.
 */
export function createVolume(
  layout: VolumeLayout,
  file: Omit<VolumeFile, 'formatVersion' | 'volumeId'>,
): boolean {
  const complete: VolumeFile = { formatVersion: 1, volumeId: randomBytes(16).toString('hex'), ...file };
  const settingsDraft = `${layout.settingsFile}.${process.pid}`;
  const keyDraft = `${layout.keyFile}.${process.pid}`;
  try {
    mkdirSync(layout.directory, { recursive: true, mode: 0o700 });
    writeDurably(keyDraft, randomBytes(KEY_BYTES), 0o600);
    writeDurably(settingsDraft, encode(complete), 0o644);
    // link(2) fails when the name exists: of two creators the first one's key stays, also after a crash in between.
    linkUnlessPresent(keyDraft, layout.keyFile);
    const created = linkUnlessPresent(settingsDraft, layout.settingsFile);
    syncDirectory(layout.directory);
    return created;
  } catch (error) {
    throw asFailure(error, layout.directory);
  } finally {
    rmSync(settingsDraft, { force: true });
    rmSync(keyDraft, { force: true });
  }
}

function linkUnlessPresent(from: string, to: string): boolean {
  try {
    linkSync(from, to);
    return true;
  } catch (error) {
    if (systemCode(error) === 'EEXIST') return false;
    throw error;
  }
}

/**
 * Replaces the file by what `change` makes of it, durably; returns what it says then. Another command may change it meanwhile: then `change`
 * is asked again, with what the other one wrote.
 */
export function changeVolumeFile(
  layout: VolumeLayout,
  change: (volume: VolumeFile) => VolumeFile,
): VolumeFile {
  for (;;) {
    const before = readVolumeFile(layout);
    const after = change(before);
    if (replaceVolumeFile(layout, before, after)) return after;
  }
}

/** False: it is not `before` any more. */
function replaceVolumeFile(layout: VolumeLayout, before: VolumeFile, after: VolumeFile): boolean {
  if (encode(after).equals(encode(before))) return true;
  const draft = `${layout.settingsFile}.${process.pid}`;
  try {
    writeDurably(draft, encode(after), statSync(layout.settingsFile).mode & 0o777);
    // The draft's way to the disk is what takes time: looked at after it, the file is not changed by another before the rename.
    const unchanged = encode(readVolumeFile(layout)).equals(encode(before));
    if (unchanged) {
      renameSync(draft, layout.settingsFile);
      syncDirectory(dirname(layout.settingsFile));
    }
    return unchanged;
  } catch (error) {
    throw asFailure(error, layout.settingsFile);
  } finally {
    rmSync(draft, { force: true });
  }
}
