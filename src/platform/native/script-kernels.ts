/** The kernels in TypeScript. See kernels.ts. */
import { multiply, parityCoefficient } from './galois.ts';
import { type KernelPrimitives, kernelsOf } from './kernels.ts';

const CASTAGNOLI = 0x82f63b78;
const TABLES = 8;

/** Row t advances a byte's contribution over t more bytes. */
const tables = new Int32Array(TABLES * 256);
for (let byte = 0; byte < 256; byte++) {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = (value >>> 1) ^ (value & 1 ? CASTAGNOLI : 0);
  tables[byte] = value;
}
for (let at = 256; at < TABLES * 256; at++) {
  const previous = tables[at - 256]!;
  tables[at] = (previous >>> 8) ^ tables[previous & 255]!;
}

function crc32c(bytes: Uint8Array, from: number, to: number, seed: number): number {
  let state = ~seed;
  let at = from;
  for (; at + 8 <= to; at += 8) {
    state ^= bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24);
    state =
      tables[1792 + (state & 255)]! ^
      tables[1536 + ((state >>> 8) & 255)]! ^
      tables[1280 + ((state >>> 16) & 255)]! ^
      tables[1024 + (state >>> 24)]! ^
      tables[768 + bytes[at + 4]!]! ^
      tables[512 + bytes[at + 5]!]! ^
      tables[256 + bytes[at + 6]!]! ^
      tables[bytes[at + 7]!]!;
  }
  for (; at < to; at++) state = (state >>> 8) ^ tables[(state ^ bytes[at]!) & 255]!;
  return ~state >>> 0;
}

/** Multiplication tables of the coefficients in use, made on demand: 64 KiB at most. */
const products = new Map<number, Uint8Array>();
function productsOf(coefficient: number): Uint8Array {
  let table = products.get(coefficient);
  if (table === undefined) {
    table = Uint8Array.from({ length: 256 }, (_, value) => multiply(coefficient, value));
    products.set(coefficient, table);
  }
  return table;
}

function addProduct(out: Uint8Array, input: Uint8Array, coefficient: number): void {
  const lengthBytes = out.length;
  if (coefficient === 1) {
    addTo(out, input);
  } else if (coefficient !== 0) {
    const table = productsOf(coefficient);
    for (let at = 0; at < lengthBytes; at++) out[at]! ^= table[input[at]!]!;
  }
}

/** XOR, by words where both sides are aligned to them. */
function addTo(out: Uint8Array, input: Uint8Array): void {
  let at = 0;
  if (out.byteOffset % 4 === 0 && input.byteOffset % 4 === 0) {
    const wordCount = out.length >>> 2;
    const outWords = new Int32Array(out.buffer, out.byteOffset, wordCount);
    const inputWords = new Int32Array(input.buffer, input.byteOffset, wordCount);
    for (let word = 0; word < wordCount; word++) outWords[word]! ^= inputWords[word]!;
    at = wordCount * 4;
  }
  for (; at < out.length; at++) out[at]! ^= input[at]!;
}

const primitives: KernelPrimitives = {
  name: 'script',
  crc32c: (bytes, seed) => crc32c(bytes, 0, bytes.length, seed),
  crc32cBlocks(bytes, blockBytes, out, outIndex) {
    const blockCount = bytes.length / blockBytes;
    for (let block = 0; block < blockCount; block++) {
      out[outIndex + block] = crc32c(bytes, block * blockBytes, (block + 1) * blockBytes, 0);
    }
  },
  encodeParity(parity, data, firstRow) {
    parity.forEach((out, row) => {
      out.fill(0);
      data.forEach((input, index) => {
        addProduct(out, input, parityCoefficient(firstRow + row, index));
      });
    });
  },
  combine(outs, inputs, coefficients) {
    outs.forEach((out, row) => {
      out.fill(0);
      inputs.forEach((input, index) => {
        addProduct(out, input, coefficients[row * inputs.length + index]!);
      });
    });
  },
};

export const scriptKernels = kernelsOf(primitives);
