import { expect, test } from 'vitest';
import {
  type AvailabilityState,
  decodeAvailabilityState,
  decodeCarriedRate,
  decodeDomainTimes,
  decodeNodeTimes,
  encodeAvailabilityState,
  encodeCarriedRate,
  encodeDomainTimes,
  encodeNodeTimes,
} from '../../../src/format/availability-state.ts';
import { FormatError } from '../../../src/format/fields.ts';
import { golden } from './golden.ts';

const state: AvailabilityState = {
  ...{ paused: true, targetUnavailability: 1e-5, shape: { dataFragments: 3, parityFragments: 2 } },
  ...{ limitBytesPerSecond: 50_000_000, changedMs: 1_700_000_000_123, groups: [] },
};
const grouped: AvailabilityState = {
  ...state,
  groups: [
    [1, 2, 3, 4, 5],
    [6, 7, 8, 9, 300],
  ],
};
const times = [
  { nodeId: 1, upMs: 3_600_000.5, downMs: 0, failures: 0, repairs: 0 },
  { nodeId: 65_535, upMs: 1e12, downMs: 7_200_000, failures: 2.5, repairs: 1.25 },
];

const domains = [
  { domain: 'rack-1', upMs: 3_600_000.5, downMs: 0, failures: 0, repairs: 0 },
  { domain: 'x', upMs: 1e12, downMs: 7_200_000, failures: 2.5, repairs: 1.25 },
];

test('what is asked for and what was seen is read and written as before', () => {
  expect(decodeAvailabilityState(golden('availability-state.v1'))).toEqual(state);
  expect(encodeAvailabilityState(state)).toEqual(golden('availability-state.v1'));
  expect(decodeAvailabilityState(golden('availability-state.v2'))).toEqual(grouped);
  expect(encodeAvailabilityState(grouped)).toEqual(golden('availability-state.v2'));
  expect(decodeNodeTimes(golden('node-times.v1'))).toEqual(times);
  expect(encodeNodeTimes(times)).toEqual(golden('node-times.v1'));
  expect(decodeDomainTimes(golden('domain-times.v1'))).toEqual(domains);
  expect(encodeDomainTimes(domains)).toEqual(golden('domain-times.v1'));
  expect(decodeCarriedRate(golden('carried-rate.v1'))).toBe(123_456_789.5);
  expect(encodeCarriedRate(123_456_789.5)).toEqual(golden('carried-rate.v1'));
});

test('without a target and a choice both are absent again', () => {
  const nothing = { ...state, targetUnavailability: undefined, shape: undefined };
  expect(decodeAvailabilityState(encodeAvailabilityState(nothing))).toEqual(nothing);
});

test('other versions, lengths, flags, shapes and numbers are refused', () => {
  const changed = (bytes: Buffer, at: number, value: number): Buffer => {
    bytes[at] = value;
    return bytes;
  };
  for (const bad of [
    changed(encodeAvailabilityState(state), 0, 2),
    changed(encodeAvailabilityState(state), 1, 2),
    changed(encodeAvailabilityState(state), 2, 0),
    changed(encodeAvailabilityState(state), 2, 31),
    changed(encodeAvailabilityState(state), 3, 4),
    changed(encodeAvailabilityState(state), 11, 0xbf),
    encodeAvailabilityState(state).subarray(0, 27),
    Buffer.concat([encodeAvailabilityState(state), Buffer.alloc(1)]),
    changed(encodeAvailabilityState(grouped), 0, 1),
    changed(encodeAvailabilityState(grouped), 0, 3),
    changed(encodeAvailabilityState(grouped), 28, 9),
    // One group only, a number left out, a node twice.
    encodeAvailabilityState({ ...grouped, groups: [[1, 2]] }),
    changed(encodeAvailabilityState(grouped), 31, 1),
    changed(encodeAvailabilityState(grouped), 29, 2),
    encodeAvailabilityState(grouped).subarray(0, 58),
    encodeAvailabilityState(grouped).subarray(0, 28),
  ]) {
    expect(() => decodeAvailabilityState(bad)).toThrow(FormatError);
  }
  for (const bad of [
    changed(encodeNodeTimes(times), 0, 2),
    changed(encodeNodeTimes(times), 1, 3),
    changed(encodeNodeTimes(times), 2, 1),
    changed(encodeNodeTimes(times), 13, 0xbf),
    encodeNodeTimes(times).subarray(0, 3),
  ]) {
    expect(() => decodeNodeTimes(bad)).toThrow(FormatError);
  }
  for (const bad of [
    changed(encodeDomainTimes(domains), 0, 2),
    changed(encodeDomainTimes(domains), 1, 3),
    changed(encodeDomainTimes(domains), 3, 1),
    changed(encodeDomainTimes(domains), 4, 0),
    changed(encodeDomainTimes(domains), 4, 64),
    encodeDomainTimes(domains).subarray(0, -1),
    encodeDomainTimes(domains).subarray(0, 3),
  ]) {
    expect(() => decodeDomainTimes(bad)).toThrow(FormatError);
  }
  for (const bad of [
    changed(encodeCarriedRate(1), 0, 2),
    changed(encodeCarriedRate(1), 3, 1),
    changed(encodeCarriedRate(1), 11, 0xbf),
    encodeCarriedRate(0),
    encodeCarriedRate(1).subarray(0, 11),
  ]) {
    expect(() => decodeCarriedRate(bad)).toThrow(FormatError);
  }
});
