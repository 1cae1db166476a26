// GF(2^8) over x^8 + x^4 + x^3 + x^2 + 1 (0x11d): tables, and the scalar encoder and combiner that the vector ones
// use for tails. Row r of the code has coefficient 2^(r*j) for data shard j, so row 0 is XOR and rows never change
// when another is added. Horner's rule over the shards needs only multiplications by 2 and by 4.
#include <string.h>

#include "kernels.h"

uint8_t gf256_nibbles[256][32];
uint64_t gf256_matrices[256];

static uint8_t multiply(uint8_t a, uint8_t b) {
  unsigned product = 0;
  for (unsigned shifted = a; b != 0; b >>= 1) {
    if (b & 1) product ^= shifted;
    shifted = (shifted << 1) ^ ((shifted & 0x80) ? 0x11d : 0);
  }
  return (uint8_t)product;
}

// Byte 7-i of an affine matrix selects the input bits that make output bit i.
static uint64_t matrix_of(uint8_t coefficient) {
  uint64_t matrix = 0;
  for (int in = 0; in < 8; in++) {
    uint8_t column = multiply(coefficient, (uint8_t)(1 << in));
    for (int out = 0; out < 8; out++) {
      if (column >> out & 1) matrix |= 1ull << (8 * (7 - out) + in);
    }
  }
  return matrix;
}

void gf256_init(void) {
  for (unsigned c = 0; c < 256; c++) {
    for (unsigned nibble = 0; nibble < 16; nibble++) {
      gf256_nibbles[c][nibble] = multiply((uint8_t)c, (uint8_t)nibble);
      gf256_nibbles[c][16 + nibble] = multiply((uint8_t)c, (uint8_t)(nibble << 4));
    }
    gf256_matrices[c] = matrix_of((uint8_t)c);
  }
}

// Eight bytes at once times 2.
static inline uint64_t twice(uint64_t v) {
  uint64_t carries = (v >> 7) & 0x0101010101010101ull;
  return ((v << 1) & 0xfefefefefefefefeull) ^ (carries * 0x1d);
}

static inline uint64_t horner_step(uint64_t sum, int row, uint64_t next) {
  if (row >= 1) sum = twice(sum);
  if (row >= 2) sum = twice(sum);
  return sum ^ next;
}

// One column of up to eight bytes. With a constant width the copies are single loads and stores.
static inline void encode_column(uint8_t *const *parity, int rows, int first_row, const uint8_t *const *data,
                                 int data_count, size_t offset, size_t width) {
  uint64_t sums[MAX_ROWS] = {0, 0, 0};
  for (int j = data_count - 1; j >= 0; j--) {
    uint64_t word = 0;
    memcpy(&word, data[j] + offset, width);
    for (int i = 0; i < rows; i++) sums[i] = horner_step(sums[i], first_row + i, word);
  }
  for (int i = 0; i < rows; i++) memcpy(parity[i] + offset, &sums[i], width);
}

void gf256_encode_scalar(uint8_t *const *parity, int rows, int first_row, const uint8_t *const *data, int data_count,
                         size_t offset, size_t length) {
  for (; offset + 8 <= length; offset += 8) encode_column(parity, rows, first_row, data, data_count, offset, 8);
  if (offset < length) encode_column(parity, rows, first_row, data, data_count, offset, length - offset);
}

void gf256_combine_scalar(uint8_t *const *out, int out_count, const uint8_t *const *inputs, int input_count,
                          const uint8_t *coefficients, size_t offset, size_t length) {
  for (int i = 0; i < out_count; i++) {
    uint8_t *target = out[i];
    memset(target + offset, 0, length - offset);
    for (int j = 0; j < input_count; j++) {
      const uint8_t *nibbles = gf256_nibbles[coefficients[i * input_count + j]];
      const uint8_t *source = inputs[j];
      for (size_t at = offset; at < length; at++)
        target[at] ^= nibbles[source[at] & 15] ^ nibbles[16 + (source[at] >> 4)];
    }
  }
}
