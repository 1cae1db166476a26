/** Records of very different lengths, each a function of its file and number alone. */
const lengths = [100, 4096, 5000, 40_000, 1, 300_000];

export function recordBytes(file, record) {
  const bytes = Buffer.alloc(lengths[record % lengths.length]);
  let state = (file * 7919 + record * 104_729 + 1) >>> 0;
  for (let index = 0; index < bytes.length; index++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    bytes[index] = state >>> 24;
  }
  return bytes;
}
