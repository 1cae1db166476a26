// CRC32C and GF(2^8) kernels, one function table for each instruction-set level. Levels are ordered: each needs
// what the one before it needs. The TypeScript twins in src/platform/native/script-kernels.ts define the results.
#ifndef TARTAN_KERNELS_H
#define TARTAN_KERNELS_H

#include <stddef.h>
#include <stdint.h>

typedef enum { LEVEL_SCALAR, LEVEL_AVX2, LEVEL_GFNI, LEVEL_AVX512, LEVEL_COUNT } tartan_level;

// Shards in one code word: 32 data and 3 parity, rounded up.
#define MAX_SHARDS 36
#define MAX_ROWS 3

// Continues `crc` (0 to start) over the bytes.
typedef uint32_t (*crc32c_function)(uint32_t crc, const uint8_t *data, size_t length_bytes);

// parity[i] = sum over j of 2^(j * (first_row + i)) * data[j], for `rows` rows from `first_row`.
typedef void (*encode_function)(uint8_t *const *parity, int rows, int first_row, const uint8_t *const *data,
                                int data_count, size_t length_bytes);

// out[i] = sum over j of coefficients[i * input_count + j] * inputs[j], for at most MAX_ROWS outputs.
typedef void (*combine_function)(uint8_t *const *out, int out_count, const uint8_t *const *inputs, int input_count,
                                 const uint8_t *coefficients, size_t length_bytes);

crc32c_function crc32c_at(tartan_level level);
encode_function encode_at(tartan_level level);
combine_function combine_at(tartan_level level);

void crc32c_init(void);
void gf256_init(void);

// Products of a coefficient with the low and high nibble values: what a byte shuffle looks up.
extern uint8_t gf256_nibbles[256][32];
// The multiplication by a coefficient as a bit matrix for the affine instruction.
extern uint64_t gf256_matrices[256];

void gf256_encode_scalar(uint8_t *const *parity, int rows, int first_row, const uint8_t *const *data, int data_count,
                         size_t offset, size_t length_bytes);
void gf256_combine_scalar(uint8_t *const *out, int out_count, const uint8_t *const *inputs, int input_count,
                          const uint8_t *coefficients, size_t offset, size_t length_bytes);

#endif
