// The kernels' face to JavaScript, and the choice of the instruction-set level: the best that this processor has,
// unless a test forces a lower one.
#include "kernels.h"

#include <string.h>

#include "common.h"

static const char *const level_names[LEVEL_COUNT] = {"scalar", "avx2", "gfni", "avx512"};
static tartan_level best_level, level;

static tartan_level detect(void) {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("sse4.2") || !__builtin_cpu_supports("pclmul"))
    return LEVEL_SCALAR;
  if (!__builtin_cpu_supports("gfni")) return LEVEL_AVX2;
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("vpclmulqdq"))
    return LEVEL_AVX512;
  return LEVEL_GFNI;
#else
  return LEVEL_SCALAR;
#endif
}

// kernelLevels(): string[], the levels this processor can run, worst first.
static napi_value kernel_levels(napi_env env, napi_callback_info info) {
  napi_value list, name;
  napi_create_array(env, &list);
  for (uint32_t i = 0; i <= (uint32_t)best_level; i++) {
    napi_create_string_utf8(env, level_names[i], NAPI_AUTO_LENGTH, &name);
    napi_set_element(env, list, i, name);
  }
  return list;
}

// forceKernelLevel(name): 0 or -EINVAL.
static napi_value force_kernel_level(napi_env env, napi_callback_info info) {
  napi_value argv[1];
  char name[16];
  size_t length;
  if (!tartan_args(env, info, argv, 1) ||
      napi_get_value_string_utf8(env, argv[0], name, sizeof name, &length) != napi_ok)
    return tartan_number(env, -EINVAL);
  for (int i = 0; i <= (int)best_level; i++) {
    if (strcmp(name, level_names[i]) == 0) {
      level = (tartan_level)i;
      return tartan_number(env, 0);
    }
  }
  return tartan_number(env, -EINVAL);
}

// crc32c(bytes, seed): the checksum, or -EINVAL.
static napi_value crc32c(napi_env env, napi_callback_info info) {
  napi_value argv[2];
  uint8_t *data;
  size_t length;
  uint32_t seed = 0;
  if (!tartan_args(env, info, argv, 2) || !tartan_bytes(env, argv[0], &data, &length))
    return tartan_number(env, -EINVAL);
  napi_get_value_uint32(env, argv[1], &seed);
  napi_value result;
  napi_create_uint32(env, crc32c_at(level)(seed, data, length), &result);
  return result;
}

// crc32cBlocks(bytes, blockBytes, out: Uint32Array, outIndex): 0 or -EINVAL.
static napi_value crc32c_blocks(napi_env env, napi_callback_info info) {
  napi_value argv[4];
  uint8_t *data, *out;
  size_t length, out_bytes;
  if (!tartan_args(env, info, argv, 4) || !tartan_bytes(env, argv[0], &data, &length) ||
      !tartan_bytes(env, argv[2], &out, &out_bytes))
    return tartan_number(env, -EINVAL);
  int64_t block_bytes = tartan_int64(env, argv[1], 0), index = tartan_int64(env, argv[3], -1);
  if (block_bytes <= 0 || index < 0 || length % (size_t)block_bytes != 0) return tartan_number(env, -EINVAL);
  size_t blocks = length / (size_t)block_bytes;
  if ((size_t)index > out_bytes / 4 || blocks > out_bytes / 4 - (size_t)index) return tartan_number(env, -EINVAL);
  crc32c_function function = crc32c_at(level);
  uint32_t *sums = (uint32_t *)out + index;
  for (size_t i = 0; i < blocks; i++) sums[i] = function(0, data + i * (size_t)block_bytes, (size_t)block_bytes);
  return tartan_number(env, 0);
}

// Reads an array of equally long byte arrays. Returns how many, or a negative errno.
static int shards_of(napi_env env, napi_value list, uint8_t **shards, int max_count, size_t *length) {
  uint32_t count;
  if (napi_get_array_length(env, list, &count) != napi_ok || count == 0 || count > (uint32_t)max_count) return -EINVAL;
  for (uint32_t i = 0; i < count; i++) {
    napi_value item;
    size_t item_bytes;
    if (napi_get_element(env, list, i, &item) != napi_ok || !tartan_bytes(env, item, &shards[i], &item_bytes))
      return -EINVAL;
    if (*length == SIZE_MAX) *length = item_bytes;
    if (item_bytes != *length) return -EINVAL;
  }
  return (int)count;
}

// encodeParity(parity[], data[], firstRow): 0 or -EINVAL.
static napi_value encode_parity(napi_env env, napi_callback_info info) {
  napi_value argv[3];
  uint8_t *parity[MAX_ROWS], *data[MAX_SHARDS];
  size_t length = SIZE_MAX;
  if (!tartan_args(env, info, argv, 3)) return tartan_number(env, -EINVAL);
  int rows = shards_of(env, argv[0], parity, MAX_ROWS, &length);
  int data_count = shards_of(env, argv[1], data, MAX_SHARDS, &length);
  int first_row = tartan_int32(env, argv[2], 0);
  if (rows < 0 || data_count < 0 || first_row < 0 || first_row + rows > MAX_ROWS) return tartan_number(env, -EINVAL);
  encode_at(level)(parity, rows, first_row, (const uint8_t *const *)data, data_count, length);
  return tartan_number(env, 0);
}

// combine(outs[], inputs[], coefficients): 0 or -EINVAL. Coefficients are outs x inputs, row by row.
static napi_value combine(napi_env env, napi_callback_info info) {
  napi_value argv[3];
  uint8_t *out[MAX_ROWS], *inputs[MAX_SHARDS], *coefficients;
  size_t length = SIZE_MAX, coefficient_count;
  if (!tartan_args(env, info, argv, 3)) return tartan_number(env, -EINVAL);
  int out_count = shards_of(env, argv[0], out, MAX_ROWS, &length);
  int input_count = shards_of(env, argv[1], inputs, MAX_SHARDS, &length);
  if (out_count < 0 || input_count < 0 || !tartan_bytes(env, argv[2], &coefficients, &coefficient_count) ||
      coefficient_count != (size_t)(out_count * input_count))
    return tartan_number(env, -EINVAL);
  bool only_xor = true;
  for (size_t i = 0; i < coefficient_count; i++) only_xor = only_xor && coefficients[i] == 1;
  if (only_xor && out_count == 1)
    encode_at(level)(out, 1, 0, (const uint8_t *const *)inputs, input_count, length);
  else
    combine_at(level)(out, out_count, (const uint8_t *const *)inputs, input_count, coefficients, length);
  return tartan_number(env, 0);
}

napi_value tartan_kernels_init(napi_env env, napi_value exports) {
  static const tartan_function functions[] = {
      {"kernelLevels", kernel_levels}, {"forceKernelLevel", force_kernel_level},
      {"crc32c", crc32c},              {"crc32cBlocks", crc32c_blocks},
      {"encodeParity", encode_parity}, {"combine", combine},
  };
  crc32c_init();
  gf256_init();
  best_level = level = detect();
  tartan_define(env, exports, functions, sizeof functions / sizeof functions[0]);
  return exports;
}
