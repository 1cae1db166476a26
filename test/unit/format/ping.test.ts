import { expect, test } from 'vitest';
import { decodePingReply, encodePingReply } from '../../../src/format/ping.ts';
import { golden } from './golden.ts';

const reply = { nodeId: 513, freeBytes: 2 ** 41, capacityBytes: 2 ** 42 + 1, usedBytes: 4096 };

test('a ping reply is laid out as its page says', () => {
  expect(encodePingReply(reply).toString('hex')).toBe(golden('ping.v1').toString('hex'));
  expect(decodePingReply(golden('ping.v1'))).toEqual(reply);
});

test.each([
  ['a later version', 0, 2],
  ['reserved bytes in use', 4, 1],
  ['a number beyond safe integers', 15, 1],
])('a ping reply with %s is refused', (_, offset, value) => {
  const bytes = Buffer.from(golden('ping.v1'));
  bytes[offset] = value;
  expect(decodePingReply(bytes)).toBeUndefined();
});

test('a ping reply of another length is refused', () => {
  expect(decodePingReply(golden('ping.v1').subarray(0, 31))).toBeUndefined();
  expect(decodePingReply(Buffer.alloc(0))).toBeUndefined();
});
