import { expect, test } from 'vitest';
import { FormatError } from '../../../src/format/fields.ts';
import {
  type BalanceSettings,
  type CopySettings,
  decodeBalanceSettings,
  decodeCopySettings,
  decodeHealSettings,
  decodeScrubState,
  encodeBalanceSettings,
  encodeCopySettings,
  encodeHealSettings,
  encodeScrubState,
  type HealSettings,
  type ScrubState,
} from '../../../src/format/maintenance-state.ts';
import { golden } from './golden.ts';

const heal: HealSettings = {
  ...{ paused: true, limitBytesPerSecond: 50_000_000, graceMs: 60_000, givenUp: [3, 65_535] },
};
const balance: BalanceSettings = {
  ...{ paused: true, limitBytesPerSecond: 10_000_000, draining: [3, 65_535], released: [65_535] },
};
const copies: CopySettings = {
  ...{ enabled: true, limitBytesPerSecond: 20_000_000, windowSeconds: 600 },
  ...{ readsPerDay: 600, busyBytesPerSecond: 2 ** 32 + 5 },
};
const scrub: ScrubState = {
  ...{ paused: false, underWay: true, limitBytesPerSecond: 0, intervalSeconds: 2_592_000 },
  ...{ position: 2 ** 32 + 7, startedMs: 1_700_000_000_123, finishedMs: 1_600_000_000_456 },
  ...{ bytesRead: 2 ** 40 + 5, segments: 300, found: 2, repaired: 1 },
};

test('states of background work are read and written as before', () => {
  expect(decodeHealSettings(golden('maintenance-heal.v1'))).toEqual(heal);
  expect(encodeHealSettings(heal)).toEqual(golden('maintenance-heal.v1'));
  expect(decodeBalanceSettings(golden('maintenance-balance.v1'))).toEqual(balance);
  expect(encodeBalanceSettings(balance)).toEqual(golden('maintenance-balance.v1'));
  expect(decodeCopySettings(golden('maintenance-copies.v1'))).toEqual(copies);
  expect(encodeCopySettings(copies)).toEqual(golden('maintenance-copies.v1'));
  expect(decodeScrubState(golden('maintenance-scrub.v1'))).toEqual(scrub);
  expect(encodeScrubState(scrub)).toEqual(golden('maintenance-scrub.v1'));
});

test('other versions, lengths, flags and reserved bytes are refused', () => {
  const changed = (bytes: Buffer, at: number, value: number): Buffer => {
    bytes[at] = value;
    return bytes;
  };
  for (const bad of [
    changed(encodeHealSettings(heal), 0, 2),
    changed(encodeHealSettings(heal), 1, 2),
    changed(encodeHealSettings(heal), 2, 3),
    encodeHealSettings(heal).subarray(0, 15),
  ]) {
    expect(() => decodeHealSettings(bad)).toThrow(FormatError);
  }
  for (const bad of [
    changed(encodeCopySettings(copies), 0, 2),
    changed(encodeCopySettings(copies), 1, 2),
    changed(encodeCopySettings(copies), 3, 1),
    encodeCopySettings({ ...copies, windowSeconds: 0 }),
    encodeCopySettings(copies).subarray(0, 27),
  ]) {
    expect(() => decodeCopySettings(bad)).toThrow(FormatError);
  }
  for (const bad of [
    changed(encodeBalanceSettings(balance), 0, 2),
    changed(encodeBalanceSettings(balance), 1, 2),
    changed(encodeBalanceSettings(balance), 2, 3),
    changed(encodeBalanceSettings(balance), 4, 3),
    changed(encodeBalanceSettings(balance), 7, 1),
    encodeBalanceSettings(balance).subarray(0, 15),
  ]) {
    expect(() => decodeBalanceSettings(bad)).toThrow(FormatError);
  }
  for (const bad of [
    changed(encodeScrubState(scrub), 0, 2),
    changed(encodeScrubState(scrub), 1, 4),
    changed(encodeScrubState(scrub), 3, 1),
    encodeScrubState(scrub).subarray(0, 59),
  ]) {
    expect(() => decodeScrubState(bad)).toThrow(FormatError);
  }
});
