import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  bulkMode,
  decodeFrameHeader,
  emptyFrameHeader,
  encodeFrameHeader,
  FRAME_HEADER_BYTES,
  type FrameHeader,
  frameKind,
} from '../../../src/format/frame.ts';
import { nativeKernels } from '../../../src/platform/native/native-kernels.ts';
import { golden } from './golden.ts';

const request: FrameHeader = {
  kind: frameKind.request,
  hasDescriptor: false,
  requestId: 0x01020304,
  code: 16,
  payloadMode: bulkMode.slab,
  intoMode: bulkMode.slab,
  bodyBytes: 5,
  payloadBytes: 4096,
  payloadChecksum: 0,
  intoBytes: 8192,
  payloadOffset: 2 ** 33 + 4096,
  intoOffset: 65536,
};

function decoded(bytes: Buffer): FrameHeader | string {
  const header = emptyFrameHeader();
  return decodeFrameHeader(bytes, 0, header) ?? header;
}

test('a frame is laid out as its page says', () => {
  const body = Buffer.from('hello');
  const frame = Buffer.alloc(FRAME_HEADER_BYTES + body.length);
  encodeFrameHeader(request, frame, 0);
  body.copy(frame, FRAME_HEADER_BYTES);
  frame.writeUInt32LE(nativeKernels.crc32c(frame.subarray(4)), 0);
  expect(frame.toString('hex')).toBe(golden('frame.v1').toString('hex'));
  expect(decoded(golden('frame.v1'))).toEqual(request);
});

test('every header that makes sense survives its codec', () => {
  const offset = fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER });
  const u32 = fc.integer({ min: 0, max: 2 ** 32 - 1 });
  const arbitrary = fc
    .record({
      requestId: u32,
      code: fc.integer({ min: 0, max: 65535 }),
      payloadMode: fc.constantFrom(...Object.values(bulkMode)),
      intoMode: fc.constantFrom(...Object.values(bulkMode)),
      bodyBytes: u32,
      payloadBytes: u32,
      payloadChecksum: u32,
      intoBytes: u32,
      payloadOffset: offset,
      intoOffset: offset,
    })
    .map(
      (fields): FrameHeader => ({
        ...fields,
        kind: frameKind.request,
        hasDescriptor: false,
        payloadBytes: fields.payloadMode === bulkMode.none ? 0 : fields.payloadBytes,
        payloadChecksum: fields.payloadMode === bulkMode.inline ? fields.payloadChecksum : 0,
        payloadOffset: fields.payloadMode === bulkMode.slab ? fields.payloadOffset : 0,
        intoBytes: fields.intoMode === bulkMode.none ? 0 : fields.intoBytes,
        intoOffset: fields.intoMode === bulkMode.slab ? fields.intoOffset : 0,
      }),
    );
  fc.assert(
    fc.property(arbitrary, (header) => {
      const bytes = Buffer.alloc(FRAME_HEADER_BYTES);
      encodeFrameHeader(header, bytes, 0);
      expect(decoded(bytes)).toEqual(header);
    }),
  );
});

test.each([
  ['another magic', 4, 0x55, /not a frame/],
  ['a later version', 5, 2, /version 2/],
  ['an unknown kind', 6, 9, /kind 9/],
  ['an unknown flag', 7, 2, /flags/],
  ['an unknown payload mode', 14, 3, /bulk mode/],
  ['an unknown mode for the reply', 15, 3, /bulk mode/],
  ['a payload without a mode', 14, 0, /payload length without payload/],
  ['a checksum of a payload by reference', 24, 1, /checksum without inline/],
  ['reply room without a mode', 15, 0, /reply room without a mode/],
  ['an inline payload with an offset', 14, 1, /payload offset without slab/],
  ['an inline reply with an offset', 15, 1, /reply offset without slab/],
  ['an offset beyond safe integers', 39, 1, /out of range/],
  ['reply room in a reply', 6, frameKind.reply, /reply room outside a request/],
  ['a payload in a control frame', 6, frameKind.goodbye, /reply room outside a request/],
])('a frame with %s is refused', (_, offset, value, reason) => {
  const bytes = Buffer.alloc(FRAME_HEADER_BYTES);
  encodeFrameHeader(request, bytes, 0);
  bytes[offset] = value;
  expect(decoded(bytes)).toMatch(reason);
});

test('no bytes make the decoder throw', () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 48, maxLength: 48 }), (bytes) => {
      bytes[4] = 0x54;
      bytes[5] = 1;
      decoded(Buffer.from(bytes));
    }),
    { numRuns: 1000 },
  );
});
