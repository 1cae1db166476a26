// CRC32C (Castagnoli, reflected): a table for any machine, three interleaved streams of the crc32 instruction, and
// carry-less folding of 256 bytes a step. All folding constants are powers of x computed once from the polynomial.
//
// A register holds a polynomial with bit 0 as the highest power. The carry-less product of such a register with a
// 32-bit constant K is the product times x^33 when read back as twice the width; the exponents below allow for that.
#include <string.h>

#include "kernels.h"

#define POLYNOMIAL 0x82f63b78u

static uint32_t tables[8][256];

// x^exponent mod P, reflected into 32 bits.
static uint32_t power_of_x(unsigned exponent) {
  uint32_t value = 0x80000000u;
  while (exponent-- > 0) value = (value >> 1) ^ ((value & 1) ? POLYNOMIAL : 0);
  return value;
}

static uint32_t crc32c_scalar(uint32_t crc, const uint8_t *data, size_t length) {
  crc = ~crc;
  for (; length >= 8; length -= 8, data += 8) {
    uint32_t low, high;
    memcpy(&low, data, 4);
    memcpy(&high, data + 4, 4);
    low ^= crc;
    crc = tables[7][low & 255] ^ tables[6][(low >> 8) & 255] ^ tables[5][(low >> 16) & 255] ^ tables[4][low >> 24] ^
          tables[3][high & 255] ^ tables[2][(high >> 8) & 255] ^ tables[1][(high >> 16) & 255] ^ tables[0][high >> 24];
  }
  while (length-- > 0) crc = (crc >> 8) ^ tables[0][(crc ^ *data++) & 255];
  return ~crc;
}

static void tables_init(void) {
  for (unsigned i = 0; i < 256; i++) {
    uint32_t value = i;
    for (int bit = 0; bit < 8; bit++) value = (value >> 1) ^ ((value & 1) ? POLYNOMIAL : 0);
    tables[0][i] = value;
  }
  for (unsigned i = 0; i < 256; i++) {
    for (int t = 1; t < 8; t++) tables[t][i] = (tables[t - 1][i] >> 8) ^ tables[0][tables[t - 1][i] & 255];
  }
}

#if defined(__x86_64__)
#include <immintrin.h>

// Streams of 1360 bytes make a 4 KiB block of three and a rest of 16; those of 168 serve shorter input.
#define LONG_STREAM 1360
#define SHORT_STREAM 168

static uint32_t long_shift[2], short_shift[2];
static uint32_t fold_2048[2], fold_512[2], fold_384[2], fold_256[2], fold_128[2], fold_1024[2];

// Constants that move a 128-bit register `bits` further: for its first and its second half.
static void fold_init(uint32_t fold[2], unsigned bits) {
  fold[0] = power_of_x(bits + 31);
  fold[1] = power_of_x(bits - 33);
}

static void x86_init(void) {
  long_shift[0] = power_of_x(8 * LONG_STREAM - 33);
  long_shift[1] = power_of_x(16 * LONG_STREAM - 33);
  short_shift[0] = power_of_x(8 * SHORT_STREAM - 33);
  short_shift[1] = power_of_x(16 * SHORT_STREAM - 33);
  fold_init(fold_2048, 2048);
  fold_init(fold_1024, 1024);
  fold_init(fold_512, 512);
  fold_init(fold_384, 384);
  fold_init(fold_256, 256);
  fold_init(fold_128, 128);
}

static inline uint64_t load64(const uint8_t *data) {
  uint64_t value;
  memcpy(&value, data, 8);
  return value;
}

#define SSE __attribute__((target("sse4.2,pclmul")))

// The state `crc` moved on by the distance that `shift` stands for, to be added to the last word of the next stream.
SSE static inline uint64_t moved(uint32_t crc, uint32_t shift) {
  return (uint64_t)_mm_cvtsi128_si64(
      _mm_clmulepi64_si128(_mm_cvtsi32_si128((int)crc), _mm_cvtsi32_si128((int)shift), 0));
}

SSE static inline uint32_t three_streams(uint32_t crc, const uint8_t *data, size_t stream, const uint32_t shift[2]) {
  uint64_t a = crc, b = 0, c = 0;
  size_t last = stream - 8;
  for (size_t i = 0; i < last; i += 8) {
    a = _mm_crc32_u64(a, load64(data + i));
    b = _mm_crc32_u64(b, load64(data + stream + i));
    c = _mm_crc32_u64(c, load64(data + 2 * stream + i));
  }
  a = _mm_crc32_u64(a, load64(data + last));
  b = _mm_crc32_u64(b, load64(data + stream + last));
  uint64_t before = moved((uint32_t)a, shift[1]) ^ moved((uint32_t)b, shift[0]);
  return (uint32_t)_mm_crc32_u64(c, load64(data + 2 * stream + last) ^ before);
}

SSE static uint32_t sse_continue(uint32_t state, const uint8_t *data, size_t length) {
  for (; length >= 3 * LONG_STREAM; length -= 3 * LONG_STREAM, data += 3 * LONG_STREAM)
    state = three_streams(state, data, LONG_STREAM, long_shift);
  for (; length >= 3 * SHORT_STREAM; length -= 3 * SHORT_STREAM, data += 3 * SHORT_STREAM)
    state = three_streams(state, data, SHORT_STREAM, short_shift);
  for (; length >= 8; length -= 8, data += 8) state = (uint32_t)_mm_crc32_u64(state, load64(data));
  while (length-- > 0) state = _mm_crc32_u8(state, *data++);
  return state;
}

SSE static uint32_t crc32c_sse(uint32_t crc, const uint8_t *data, size_t length) {
  return ~sse_continue(~crc, data, length);
}

#define AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,vpclmulqdq,sse4.2,pclmul")))

AVX512 static inline __m512i fold(__m512i value, __m512i constants, __m512i next) {
  __m512i low = _mm512_clmulepi64_epi128(value, constants, 0x00);
  __m512i high = _mm512_clmulepi64_epi128(value, constants, 0x11);
  return _mm512_ternarylogic_epi64(low, high, next, 0x96);
}

AVX512 static inline __m512i constants_of(const uint32_t pair[2]) {
  return _mm512_broadcast_i32x4(_mm_setr_epi32((int)pair[0], 0, (int)pair[1], 0));
}

AVX512 static uint32_t crc32c_avx512(uint32_t crc, const uint8_t *data, size_t length) {
  uint32_t state = ~crc;
  if (length < 512) return ~sse_continue(state, data, length);
  __m512i a = _mm512_loadu_si512(data), b = _mm512_loadu_si512(data + 64);
  __m512i c = _mm512_loadu_si512(data + 128), d = _mm512_loadu_si512(data + 192);
  a = _mm512_xor_si512(a, _mm512_zextsi128_si512(_mm_cvtsi32_si128((int)state)));
  __m512i by_2048 = constants_of(fold_2048);
  for (data += 256, length -= 256; length >= 256; data += 256, length -= 256) {
    a = fold(a, by_2048, _mm512_loadu_si512(data));
    b = fold(b, by_2048, _mm512_loadu_si512(data + 64));
    c = fold(c, by_2048, _mm512_loadu_si512(data + 128));
    d = fold(d, by_2048, _mm512_loadu_si512(data + 192));
  }
  __m512i by_512 = constants_of(fold_512);
  b = fold(a, by_512, b);
  d = fold(c, by_512, d);
  d = fold(b, constants_of(fold_1024), d);
  // The four 128-bit lanes lie 384, 256, 128 and 0 bits before the end; the last one is added unmultiplied.
  __m512i lanes = _mm512_setr_epi32((int)fold_384[0], 0, (int)fold_384[1], 0, (int)fold_256[0], 0, (int)fold_256[1], 0,
                                    (int)fold_128[0], 0, (int)fold_128[1], 0, 0, 0, 0, 0);
  __m512i sum = fold(d, lanes, _mm512_maskz_mov_epi64(0xc0, d));
  __m256i half = _mm256_xor_si256(_mm512_castsi512_si256(sum), _mm512_extracti64x4_epi64(sum, 1));
  __m128i rest = _mm_xor_si128(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
  state = (uint32_t)_mm_crc32_u64(0, (uint64_t)_mm_cvtsi128_si64(rest));
  state = (uint32_t)_mm_crc32_u64(state, (uint64_t)_mm_extract_epi64(rest, 1));
  return ~sse_continue(state, data, length);
}
#else
static void x86_init(void) {}
#endif

void crc32c_init(void) {
  tables_init();
  x86_init();
}

crc32c_function crc32c_at(tartan_level level) {
#if defined(__x86_64__)
  if (level >= LEVEL_AVX512) return crc32c_avx512;
  if (level >= LEVEL_AVX2) return crc32c_sse;
#endif
  return crc32c_scalar;
}
