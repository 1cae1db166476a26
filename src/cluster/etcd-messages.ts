/** What the coordinator reads out of the answers of etcd's JSON gateway. Nothing in them is taken on trust. */
import { type CoordinatorEntry, CoordinatorUnavailable } from './coordinator.ts';
import type { Json } from './etcd-gateway.ts';

export function base64(bytes: string | Uint8Array): string {
  return (typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : Buffer.from(bytes)).toString('base64');
}

/** The end of the range of keys that begin with `prefix`: its last byte plus one. Prefixes are ASCII and not empty. */
export function rangeEnd(prefix: string): string {
  const bytes = Buffer.from(prefix);
  bytes[bytes.length - 1] = bytes[bytes.length - 1]! + 1;
  return base64(bytes);
}

export function objectAt(answer: Json, name: string): Json | undefined {
  const value = answer[name];
  return typeof value === 'object' && value !== null ? (value as Json) : undefined;
}

export function listAt(answer: Json, name: string): Json[] {
  const value = answer[name];
  return Array.isArray(value) ? value.filter((item) => typeof item === 'object' && item !== null) : [];
}

/** The revision of the store that the answer belongs to. */
export function revisionOf(answer: Json): number {
  return safeNumber(objectAt(answer, 'header')?.revision);
}

export function decodeEntries(answer: Json, prefix: string): CoordinatorEntry[] {
  return listAt(answer, 'kvs').map((pair) => decodeEntry(pair, prefix));
}

export function decodeEntry(pair: Json, prefix: string): CoordinatorEntry {
  const key = decodeBase64(pair.key).toString('latin1');
  if (!key.startsWith(prefix)) throw new CoordinatorUnavailable('etcd answered with a key of others');
  return {
    key: key.slice(prefix.length),
    value: decodeBase64(pair.value ?? ''),
    version: safeNumber(pair.mod_revision),
  };
}

function decodeBase64(value: unknown): Buffer {
  if (typeof value !== 'string') throw new CoordinatorUnavailable('etcd answered without a key');
  return Buffer.from(value, 'base64');
}

function safeNumber(value: unknown): number {
  const number = Number(value);
  if (!Number.isSafeInteger(number)) throw new CoordinatorUnavailable('etcd answered without a revision');
  return number;
}
