import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { FormatError } from '../../../src/format/fields.ts';
import {
  decodeFragmentDescription,
  encodeFragmentDescription,
  type FragmentDescription,
  fragmentDescriptionBytes,
} from '../../../src/format/fragment-header.ts';
import * as journalFile from '../../../src/format/journal-file.ts';
import * as journal from '../../../src/format/journal-messages.ts';
import * as replica from '../../../src/format/replica-messages.ts';
import * as replicaState from '../../../src/format/replica-state.ts';
import * as index from '../../../src/format/storage-index.ts';
import * as logFile from '../../../src/format/storage-log-file.ts';
import * as messages from '../../../src/format/storage-messages.ts';
import * as slot from '../../../src/format/storage-slot.ts';
import * as tombstones from '../../../src/format/storage-tombstones.ts';
import { scriptKernels } from '../../../src/platform/native/script-kernels.ts';

const { crc32c } = scriptKernels;
const volumeId = Buffer.from('000102030405060708090a0b0c0d0e0f', 'hex');
const nonce = Buffer.from('f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff', 'hex');

const description: FragmentDescription = {
  segmentId: 0x1_0000_0002,
  position: 4,
  generation: 1,
  term: 3,
  dataFragments: 4,
  parityFragments: 1,
  fragmentBlocks: 3,
  dataBlocks: 10,
  summaryBlocks: 1,
  nodes: [1, 2, 300, 4, 65535],
  checksums: Uint32Array.of(0xdeadbeef, 0, 7),
};
const place = { fileId: 9, headerOffset: 0x2_0000_1000, nonce };
const name = { segmentId: 2 ** 53 - 1, position: 31, generation: 255 };
const location = { fileId: 12, payloadOffset: 2 ** 40, fragmentBlocks: 1056 };
const entries = [
  { term: 2, bytes: Buffer.from('first') },
  { term: 3, bytes: Buffer.alloc(0) },
];
const operations = [
  { key: Buffer.from('key'), value: Buffer.from('value') },
  { key: Buffer.from('gone'), value: undefined },
  { key: Buffer.from('empty'), value: Buffer.alloc(0) },
];

/** A buffer of this length, filled by an encoder that expects one. Not zero before: the encoder owns every byte. */
function filled(lengthBytes: number, encode: (out: Buffer) => unknown): Buffer {
  const out = Buffer.alloc(lengthBytes, 0xaa);
  encode(out);
  return out;
}

function frame(): Buffer {
  const out = Buffer.alloc(8192, 0xaa);
  const end = journal.encodeJournalEntries(entries, out, journalFile.FRAME_HEADER_BYTES);
  const header = { lap: 5, offset: 4096, previousSequence: 77, previousTerm: 1 };
  return out.subarray(0, journalFile.sealFrame(header, out, end, crc32c));
}

interface Case {
  readonly page: string;
  readonly what: string;
  readonly bytes: Buffer;
  readonly decode: (bytes: Buffer) => unknown;
  readonly value: unknown;
  /** Every bit is covered by a checksum inside. */
  readonly checked?: true;
}

function message<T>(
  page: string,
  what: string,
  encode: (value: T) => Buffer,
  decode: (body: Buffer) => T,
  value: T,
): Case {
  return { page, what, bytes: encode(value), decode, value };
}

const fragmentHeaderBytes = logFile.fragmentHeaderBytes(3, 5);
const logFileHeader = { fileId: 9, nodeId: 300, volumeId, nonce };
const storageSlot = { kind: slot.slotKinds.storage, serial: 6, payload: Buffer.from('payload') };
const tombstonePage = {
  serial: 258,
  nonce,
  tombstones: [{ ...name, fileId: 9, headerOffset: 4096, lengthBytes: 1052672 }],
};
const fileHeader = { lap: 5, volumeId };

const cases: Case[] = [
  {
    page: 'fragment-header',
    what: 'description',
    bytes: filled(fragmentDescriptionBytes(3, 5), (out) => encodeFragmentDescription(description, out, 0)),
    decode: (bytes) => decodeFragmentDescription(bytes, 0, bytes.length),
    value: description,
  },
  {
    page: 'storage-log-file',
    what: 'file',
    bytes: filled(4096, (out) => logFile.encodeLogFileHeader(logFileHeader, out, crc32c)),
    decode: (bytes) => logFile.decodeLogFileHeader(bytes, crc32c),
    value: logFileHeader,
    checked: true,
  },
  {
    page: 'storage-log-file',
    what: 'fragment',
    bytes: filled(fragmentHeaderBytes, (out) =>
      logFile.encodeFragmentHeader(place, description, out, crc32c),
    ),
    decode: (bytes) => logFile.decodeFragmentHeader(place, bytes, crc32c),
    value: description,
    checked: true,
  },
  {
    page: 'storage-slot',
    what: 'slot',
    bytes: filled(4096, (out) => slot.encodeSlot(storageSlot, out, crc32c)),
    decode: (bytes) => slot.decodeSlot(slot.slotKinds.storage, bytes, crc32c),
    value: storageSlot,
    checked: true,
  },
  message('storage-slot', 'storage', slot.encodeStorageSlotState, slot.decodeStorageSlotState, {
    term: 7,
    nodeId: 300,
    volumeId,
    nonce,
  }),
  message('storage-slot', 'journal', slot.encodeJournalSlotState, slot.decodeJournalSlotState, {
    term: 7,
    baseSequence: 2 ** 40,
    baseTerm: 6,
    firstLap: 5,
  }),
  {
    page: 'storage-tombstones',
    what: 'page',
    bytes: filled(4096, (out) => tombstones.encodeTombstonePage(tombstonePage, out, crc32c)),
    decode: (bytes) => tombstones.decodeTombstonePage(nonce, bytes, crc32c),
    value: tombstonePage,
    checked: true,
  },
  {
    page: 'storage-index',
    what: 'fragment-key',
    bytes: index.fragmentIndexKey(name.segmentId, name.position),
    decode: index.decodeFragmentIndexKey,
    value: { segmentId: name.segmentId, position: name.position },
  },
  message('storage-index', 'fragment', index.encodeIndexedFragment, index.decodeIndexedFragment, {
    fileId: 9,
    headerOffset: 2 ** 40,
    fragmentBlocks: 256,
    generation: 2,
    fragments: 5,
  }),
  message('storage-index', 'file-key', index.fileIndexKey, index.decodeFileIndexKey, 9),
  message('storage-index', 'file', index.encodeIndexedFile, index.decodeIndexedFile, {
    liveFragments: 3,
    liveBytes: 2 ** 33,
    indexedTo: 2 ** 32,
    sealed: true,
  }),
  message('storage-index', 'state', index.encodeIndexState, index.decodeIndexState, {
    nonce,
    nextFileId: 10,
    releasedTombstones: 2 ** 34,
  }),
  message(
    'storage-messages',
    'put-request',
    messages.encodePutRequest,
    messages.decodePutRequest,
    description,
  ),
  message('storage-messages', 'put-reply', messages.encodePutReply, messages.decodePutReply, {
    location,
    freeBytes: 2 ** 45,
  }),
  message('storage-messages', 'get-request', messages.encodeGetRequest, messages.decodeGetRequest, {
    ...name,
    firstBlock: 5,
    blockCount: 251,
  }),
  message('storage-messages', 'corrupt', messages.encodeCorruptBlock, messages.decodeCorruptBlock, 17),
  message('storage-messages', 'pledge-request', messages.encodePledgeRequest, messages.decodePledgeRequest, {
    term: 7,
    challenge: 2 ** 47 + 1,
  }),
  message('storage-messages', 'term', messages.encodeTerm, messages.decodeTerm, 2 ** 33 + 1),
  message('storage-messages', 'free-request', messages.encodeFreeRequest, messages.decodeFreeRequest, {
    term: 3,
    names: [name, { segmentId: 1, position: 0, generation: 0 }],
  }),
  message('storage-messages', 'free-reply', messages.encodeFreeReply, messages.decodeFreeReply, {
    freed: 2,
    freeBytes: 2 ** 41,
  }),
  message('storage-messages', 'list-request', messages.encodeListRequest, messages.decodeListRequest, {
    afterSegmentId: 2 ** 40,
    afterPosition: 31,
    limit: 100,
  }),
  message('storage-messages', 'list-reply', messages.encodeListReply, messages.decodeListReply, {
    more: true,
    fragments: [{ ...name, fragmentBlocks: 1056 }],
  }),
  message(
    'storage-messages',
    'describe-request',
    messages.encodeDescribeRequest,
    messages.decodeDescribeRequest,
    {
      segmentId: name.segmentId,
      position: 31,
    },
  ),
  message(
    'storage-messages',
    'statistics-reply',
    messages.encodeStatisticsReply,
    messages.decodeStatisticsReply,
    {
      capacityBytes: 2 ** 46,
      usedBytes: 2,
      freeBytes: 3,
      fragments: 4,
      logFiles: 5,
      term: 6,
      puts: 7,
      gets: 8,
      frees: 9,
      bytesWritten: 10,
      bytesRead: 11,
      corruptBlocks: 12,
    },
  ),
  message(
    'storage-messages',
    'locate-request',
    messages.encodeLocateRequest,
    messages.decodeLocateRequest,
    name,
  ),
  message(
    'storage-messages',
    'locate-reply',
    messages.encodeLocateReply,
    messages.decodeLocateReply,
    location,
  ),
  message(
    'storage-messages',
    'open-request',
    messages.encodeOpenLogFileRequest,
    messages.decodeOpenLogFileRequest,
    12,
  ),
  message(
    'storage-messages',
    'open-reply',
    messages.encodeOpenLogFileReply,
    messages.decodeOpenLogFileReply,
    {
      direct: true,
    },
  ),
  message('journal-messages', 'state', journal.encodeJournalState, journal.decodeJournalState, {
    term: 7,
    firstSequence: 2 ** 40,
    lastSequence: 2 ** 41,
    previousTerm: 5,
    lastTerm: 6,
    damagedSequence: 2 ** 41 + 1,
    endSequence: 2 ** 42,
    endTerm: 9,
    doubtfulEnd: true,
    blank: true,
  }),
  message('journal-messages', 'append-request', journal.encodeAppendRequest, journal.decodeAppendRequest, {
    term: 3,
    previousSequence: 2 ** 40,
    previousTerm: 2,
    entries,
  }),
  message('journal-messages', 'read-request', journal.encodeReadRequest, journal.decodeReadRequest, {
    fromSequence: 2 ** 40,
    maxBytes: 65536,
  }),
  message('journal-messages', 'read-reply', journal.encodeReadReply, journal.decodeReadReply, entries),
  message('journal-messages', 'trim-request', journal.encodeTrimRequest, journal.decodeTrimRequest, {
    term: 3,
    sequence: 2 ** 40,
  }),
  message('journal-messages', 'reset-request', journal.encodeResetRequest, journal.decodeResetRequest, {
    term: 3,
    sequence: 2 ** 40,
    sequenceTerm: 2,
  }),
  {
    page: 'journal-file',
    what: 'file',
    bytes: filled(4096, (out) => journalFile.encodeJournalFileHeader(fileHeader, out, crc32c)),
    decode: (bytes) => journalFile.decodeJournalFileHeader(bytes, crc32c),
    value: fileHeader,
    checked: true,
  },
  {
    page: 'journal-file',
    what: 'frame',
    bytes: frame(),
    decode: (bytes) => journalFile.decodeFrame(5, 4096, bytes, crc32c),
    value: { previousSequence: 77, previousTerm: 1, entries },
    checked: true,
  },
  message('replica-messages', 'state', replica.encodeReplicaState, replica.decodeReplicaState, {
    complete: true,
    appliedSequence: 2 ** 40,
  }),
  message('replica-messages', 'checkpoint', replica.encodeCheckpointPart, replica.decodeCheckpointPart, {
    term: 3,
    fromSequence: 5,
    toSequence: 2 ** 40,
    part: 2,
    final: true,
    operations,
  }),
  message(
    'replica-messages',
    'snapshot-request',
    replica.encodeSnapshotReadRequest,
    replica.decodeSnapshotReadRequest,
    {
      viewId: 4,
      afterKey: Buffer.from('key'),
      maxBytes: 65536,
    },
  ),
  message('replica-messages', 'snapshot-page', replica.encodeSnapshotPage, replica.decodeSnapshotPage, {
    viewId: 4,
    appliedSequence: 2 ** 40,
    end: false,
    operations,
  }),
  message(
    'replica-messages',
    'install',
    replica.encodeSnapshotInstallRequest,
    replica.decodeSnapshotInstallRequest,
    {
      term: 3,
      phase: 'page',
      page: 9,
      appliedSequence: 2 ** 40,
      operations,
    },
  ),
  {
    page: 'replica-state',
    what: 'state',
    bytes: replicaState.encodeStoredReplicaState({ complete: true, appliedSequence: 2 ** 40 }, crc32c),
    decode: (bytes) => replicaState.decodeStoredReplicaState(bytes, crc32c),
    value: { complete: true, appliedSequence: 2 ** 40 },
    checked: true,
  },
];

/** Golden files hold a line for each structure: its name, its length, and its bytes in hexadecimal without the zeros at the end. */
function golden(page: string): Map<string, Buffer> {
  const text = readFileSync(new URL(`../../golden/${page}.v1.hex`, import.meta.url), 'utf8');
  const found = new Map<string, Buffer>();
  for (const line of text.trim().split('\n')) {
    const [what, lengthBytes, hex] = line.split(' ');
    const bytes = Buffer.alloc(Number(lengthBytes));
    bytes.write(hex ?? '', 'hex');
    found.set(what!, bytes);
  }
  return found;
}

function refuses(one: Case, bytes: Buffer): boolean {
  try {
    one.decode(bytes);
    return false;
  } catch (error) {
    expect(error).toBeInstanceOf(FormatError);
    return true;
  }
}

describe.each(cases)('$page $what', (one) => {
  test('is encoded and decoded as the golden file has it', () => {
    const known = golden(one.page).get(one.what);
    expect(known?.toString('hex')).toBe(one.bytes.toString('hex'));
    expect(one.decode(known!)).toEqual(one.value);
  });

  test('is refused when it is cut short or longer than it says', () => {
    for (let length = 0; length < one.bytes.length; length += one.bytes.length > 500 ? 97 : 1) {
      expect(refuses(one, Buffer.from(one.bytes.subarray(0, length))), `${length} bytes`).toBe(true);
    }
    if (one.page !== 'fragment-header') {
      expect(refuses(one, Buffer.concat([one.bytes, Buffer.alloc(1)]))).toBe(true);
    }
  });

  test('with any byte changed is refused or decoded to something else, and never fails otherwise', () => {
    const changed = Buffer.from(one.bytes);
    for (let at = 0; at < changed.length; at += changed.length > 500 && at > 300 ? 61 : 1) {
      for (const bit of [0x01, 0x80]) {
        changed[at] = changed[at]! ^ bit;
        if (!refuses(one, changed)) {
          expect(one.checked, `byte ${at}`).toBeUndefined();
          expect(one.decode(changed)).not.toEqual(one.value);
        }
        changed[at] = changed[at]! ^ bit;
      }
    }
  });
});

test('every line of the golden files is tested', () => {
  for (const page of new Set(cases.map((one) => one.page))) {
    const tested = cases.filter((one) => one.page === page).map((one) => one.what);
    expect([...golden(page).keys()].sort()).toEqual(tested.sort());
  }
});
