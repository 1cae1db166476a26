// The GF(2^8) kernels with vector instructions. A column of one or more vectors is taken through all shards with its
// sums in registers, so every input byte is read once and every output byte written once. GFNI's affine form is
// used, because its multiplication is over another polynomial.
#include <stdbool.h>

#include "kernels.h"

static void encode_scalar(uint8_t *const *parity, int rows, int first_row, const uint8_t *const *data, int data_count,
                          size_t length) {
  gf256_encode_scalar(parity, rows, first_row, data, data_count, 0, length);
}

static void combine_scalar(uint8_t *const *out, int out_count, const uint8_t *const *inputs, int input_count,
                           const uint8_t *coefficients, size_t length) {
  gf256_combine_scalar(out, out_count, inputs, input_count, coefficients, 0, length);
}

#if defined(__x86_64__)
#include <immintrin.h>

#define INLINE static inline __attribute__((always_inline))
#define AVX2 __attribute__((target("avx2")))
#define GFNI __attribute__((target("avx2,gfni")))
#define AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,gfni")))

AVX2 INLINE __m256i load256(const uint8_t *at) { return _mm256_loadu_si256((const __m256i *)at); }
AVX2 INLINE void store256(uint8_t *at, __m256i value) { _mm256_storeu_si256((__m256i *)at, value); }

// Eight times the byte-wise doubling: shift, and reduce where the top bit fell out.
AVX2 INLINE __m256i twice256(__m256i v) {
  __m256i carries = _mm256_cmpgt_epi8(_mm256_setzero_si256(), v);
  return _mm256_xor_si256(_mm256_add_epi8(v, v), _mm256_and_si256(carries, _mm256_set1_epi8(0x1d)));
}

// One body a level. `rows` and `first_row` are constants at every call, so the loops over them disappear.
#define ENCODE_COLUMNS(TARGET, NAME, VECTOR, BYTES, COLUMNS, LOAD, STORE, STEP)                                    \
  TARGET INLINE size_t NAME(uint8_t *const *parity, const int rows, const int first_row,                           \
                            const uint8_t *const *data, int data_count, size_t length) {                           \
    size_t at = 0;                                                                                                 \
    for (; at + (BYTES) * (COLUMNS) <= length; at += (BYTES) * (COLUMNS)) {                                        \
      VECTOR sums[MAX_ROWS][COLUMNS];                                                                              \
      for (int c = 0; c < (COLUMNS); c++) {                                                                        \
        VECTOR first = LOAD(data[data_count - 1] + at + (size_t)c * (BYTES));                                      \
        for (int i = 0; i < rows; i++) sums[i][c] = first;                                                         \
      }                                                                                                            \
      for (int j = data_count - 2; j >= 0; j--) {                                                                  \
        for (int c = 0; c < (COLUMNS); c++) {                                                                      \
          VECTOR next = LOAD(data[j] + at + (size_t)c * (BYTES));                                                  \
          for (int i = 0; i < rows; i++) sums[i][c] = STEP(sums[i][c], first_row + i, next);                       \
        }                                                                                                          \
      }                                                                                                            \
      for (int i = 0; i < rows; i++)                                                                               \
        for (int c = 0; c < (COLUMNS); c++) STORE(parity[i] + at + (size_t)c * (BYTES), sums[i][c]);               \
    }                                                                                                              \
    return at;                                                                                                     \
  }

// Chooses the body by the rows wanted, and leaves the tail to the scalar code.
#define ENCODE(TARGET, NAME, COLUMNS_OF)                                                                           \
  TARGET static void NAME(uint8_t *const *parity, int rows, int first_row, const uint8_t *const *data,             \
                          int data_count, size_t length) {                                                         \
    size_t done = 0;                                                                                               \
    switch (rows * 4 + first_row) {                                                                                \
      case 4: done = COLUMNS_OF(parity, 1, 0, data, data_count, length); break;                                    \
      case 5: done = COLUMNS_OF(parity, 1, 1, data, data_count, length); break;                                    \
      case 6: done = COLUMNS_OF(parity, 1, 2, data, data_count, length); break;                                    \
      case 8: done = COLUMNS_OF(parity, 2, 0, data, data_count, length); break;                                    \
      case 9: done = COLUMNS_OF(parity, 2, 1, data, data_count, length); break;                                    \
      case 12: done = COLUMNS_OF(parity, 3, 0, data, data_count, length); break;                                   \
      default: break;                                                                                              \
    }                                                                                                              \
    gf256_encode_scalar(parity, rows, first_row, data, data_count, done, length);                                  \
  }

AVX2 INLINE __m256i step_avx2(__m256i sum, int row, __m256i next) {
  if (row >= 1) sum = twice256(sum);
  if (row >= 2) sum = twice256(sum);
  return _mm256_xor_si256(sum, next);
}
ENCODE_COLUMNS(AVX2, encode_columns_avx2, __m256i, 32, 4, load256, store256, step_avx2)
ENCODE(AVX2, encode_avx2, encode_columns_avx2)

GFNI INLINE __m256i step_gfni(__m256i sum, int row, __m256i next) {
  if (row >= 1) sum = _mm256_gf2p8affine_epi64_epi8(sum, _mm256_set1_epi64x((long long)gf256_matrices[1 << row]), 0);
  return _mm256_xor_si256(sum, next);
}
ENCODE_COLUMNS(GFNI, encode_columns_gfni, __m256i, 32, 4, load256, store256, step_gfni)
ENCODE(GFNI, encode_gfni, encode_columns_gfni)

#define load512(at) _mm512_loadu_si512(at)
#define store512(at, value) _mm512_storeu_si512(at, value)
AVX512 INLINE __m512i step_avx512(__m512i sum, int row, __m512i next) {
  if (row >= 1) sum = _mm512_gf2p8affine_epi64_epi8(sum, _mm512_set1_epi64((long long)gf256_matrices[1 << row]), 0);
  return _mm512_xor_si512(sum, next);
}
ENCODE_COLUMNS(AVX512, encode_columns_avx512, __m512i, 64, 4, load512, store512, step_avx512)
ENCODE(AVX512, encode_avx512, encode_columns_avx512)

#define COMBINE_COLUMNS(TARGET, NAME, VECTOR, BYTES, COLUMNS, ZERO, LOAD, STORE, XOR, FACTOR, FACTOR_OF, TIMES)    \
  TARGET INLINE size_t NAME(uint8_t *const *out, const int out_count, const uint8_t *const *inputs,                \
                            int input_count, const uint8_t *coefficients, size_t length) {                         \
    size_t at = 0;                                                                                                 \
    for (; at + (BYTES) * (COLUMNS) <= length; at += (BYTES) * (COLUMNS)) {                                        \
      VECTOR sums[MAX_ROWS][COLUMNS];                                                                              \
      for (int i = 0; i < out_count; i++)                                                                          \
        for (int c = 0; c < (COLUMNS); c++) sums[i][c] = ZERO;                                                     \
      for (int j = 0; j < input_count; j++) {                                                                      \
        VECTOR input[COLUMNS];                                                                                     \
        for (int c = 0; c < (COLUMNS); c++) input[c] = LOAD(inputs[j] + at + (size_t)c * (BYTES));                 \
        for (int i = 0; i < out_count; i++) {                                                                      \
          FACTOR factor = FACTOR_OF(coefficients[i * input_count + j]);                                            \
          for (int c = 0; c < (COLUMNS); c++) sums[i][c] = XOR(sums[i][c], TIMES(input[c], factor));               \
        }                                                                                                          \
      }                                                                                                            \
      for (int i = 0; i < out_count; i++)                                                                          \
        for (int c = 0; c < (COLUMNS); c++) STORE(out[i] + at + (size_t)c * (BYTES), sums[i][c]);                  \
    }                                                                                                              \
    return at;                                                                                                     \
  }

#define COMBINE(TARGET, NAME, COLUMNS_OF)                                                                          \
  TARGET static void NAME(uint8_t *const *out, int out_count, const uint8_t *const *inputs, int input_count,       \
                          const uint8_t *coefficients, size_t length) {                                            \
    size_t done = 0;                                                                                               \
    switch (out_count) {                                                                                           \
      case 1: done = COLUMNS_OF(out, 1, inputs, input_count, coefficients, length); break;                         \
      case 2: done = COLUMNS_OF(out, 2, inputs, input_count, coefficients, length); break;                         \
      case 3: done = COLUMNS_OF(out, 3, inputs, input_count, coefficients, length); break;                         \
      default: break;                                                                                              \
    }                                                                                                              \
    gf256_combine_scalar(out, out_count, inputs, input_count, coefficients, done, length);                         \
  }

typedef struct {
  __m256i low, high;
} nibble_factor;

AVX2 INLINE nibble_factor nibble_factor_of(uint8_t coefficient) {
  const __m128i *nibbles = (const __m128i *)gf256_nibbles[coefficient];
  return (nibble_factor){_mm256_broadcastsi128_si256(_mm_loadu_si128(nibbles)),
                         _mm256_broadcastsi128_si256(_mm_loadu_si128(nibbles + 1))};
}
AVX2 INLINE __m256i times_avx2(__m256i value, nibble_factor factor) {
  __m256i mask = _mm256_set1_epi8(15);
  __m256i low = _mm256_shuffle_epi8(factor.low, _mm256_and_si256(value, mask));
  __m256i high = _mm256_shuffle_epi8(factor.high, _mm256_and_si256(_mm256_srli_epi64(value, 4), mask));
  return _mm256_xor_si256(low, high);
}
COMBINE_COLUMNS(AVX2, combine_columns_avx2, __m256i, 32, 2, _mm256_setzero_si256(), load256, store256,
                _mm256_xor_si256, nibble_factor, nibble_factor_of, times_avx2)
COMBINE(AVX2, combine_avx2, combine_columns_avx2)

#define affine256_of(coefficient) _mm256_set1_epi64x((long long)gf256_matrices[coefficient])
#define times_gfni(value, factor) _mm256_gf2p8affine_epi64_epi8(value, factor, 0)
COMBINE_COLUMNS(GFNI, combine_columns_gfni, __m256i, 32, 4, _mm256_setzero_si256(), load256, store256,
                _mm256_xor_si256, __m256i, affine256_of, times_gfni)
COMBINE(GFNI, combine_gfni, combine_columns_gfni)

#define affine512_of(coefficient) _mm512_set1_epi64((long long)gf256_matrices[coefficient])
#define times_avx512(value, factor) _mm512_gf2p8affine_epi64_epi8(value, factor, 0)
COMBINE_COLUMNS(AVX512, combine_columns_avx512, __m512i, 64, 4, _mm512_setzero_si512(), load512, store512,
                _mm512_xor_si512, __m512i, affine512_of, times_avx512)
COMBINE(AVX512, combine_avx512, combine_columns_avx512)
#endif

encode_function encode_at(tartan_level level) {
#if defined(__x86_64__)
  static const encode_function functions[LEVEL_COUNT] = {encode_scalar, encode_avx2, encode_gfni, encode_avx512};
  return functions[level];
#else
  return encode_scalar;
#endif
}

combine_function combine_at(tartan_level level) {
#if defined(__x86_64__)
  static const combine_function functions[LEVEL_COUNT] = {combine_scalar, combine_avx2, combine_gfni, combine_avx512};
  return functions[level];
#else
  return combine_scalar;
#endif
}
