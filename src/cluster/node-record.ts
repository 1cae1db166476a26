/**
 * The coordinator's JSON records, checked on the way in: what does not look right is reported, not believed.
 */
import type { ManagerRecord, NodeRecord, VolumeSettings } from './coordinator.ts';

type Fields = Readonly<Record<string, unknown>>;

function fieldsOf(value: Uint8Array): Fields | undefined {
  try {
    const parsed: unknown = JSON.parse(Buffer.from(value.buffer, value.byteOffset, value.length).toString());
    return typeof parsed === 'object' && parsed !== null ? (parsed as Fields) : undefined;
  } catch {
    return undefined;
  }
}

const isCount = (value: unknown, least: number, most: number): value is number =>
  Number.isSafeInteger(value) && (value as number) >= least && (value as number) <= most;
const isNodeId = (value: unknown): value is number => isCount(value, 1, 65535);

export function encodeRecord(record: NodeRecord | ManagerRecord | VolumeSettings): Buffer {
  return Buffer.from(JSON.stringify(record));
}

export function decodeNodeRecord(value: Uint8Array): NodeRecord | undefined {
  const fields = fieldsOf(value);
  if (fields === undefined || !isNodeId(fields.id) || typeof fields.address !== 'string') return undefined;
  const { id, address, domain } = fields;
  if (domain === undefined) return { id, address };
  return typeof domain === 'string' ? { id, address, domain } : undefined;
}

export function decodeManagerRecord(value: Uint8Array): ManagerRecord | undefined {
  const fields = fieldsOf(value);
  if (fields === undefined || !isCount(fields.term, 0, 2 ** 21)) return undefined;
  const { term, primary, members } = fields;
  if (typeof primary !== 'string' || !Array.isArray(members) || !members.every(isNodeId)) return undefined;
  return { term, primary, members };
}

export function decodeVolumeSettings(value: Uint8Array): VolumeSettings | undefined {
  const fields = fieldsOf(value);
  if (fields === undefined || fields.formatVersion !== 1) return undefined;
  const { formatVersion, name, volumeId, dataFragments, parityFragments } = fields;
  if (typeof name !== 'string' || typeof volumeId !== 'string' || !/^[0-9a-f]{32}$/.test(volumeId)) {
    return undefined;
  }
  if (!isCount(dataFragments, 1, 32) || !isCount(parityFragments, 0, 3)) return undefined;
  return { formatVersion, name, volumeId, dataFragments, parityFragments };
}
