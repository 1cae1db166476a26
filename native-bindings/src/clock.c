// The clock that the kernel stamps files with. It stands still for a tick, so what is read here just after the kernel
// stamped a file is the same time to the nanosecond.
#include <time.h>

#include "common.h"

// fileTime(out: two doubles): fills in seconds and nanoseconds.
static napi_value file_time(napi_env env, napi_callback_info info) {
  napi_value argv[1];
  uint8_t *out;
  size_t length;
  if (!tartan_args(env, info, argv, 1) || !tartan_bytes(env, argv[0], &out, &length) || length != 2 * sizeof(double))
    return tartan_number(env, -EINVAL);
  struct timespec now;
  clock_gettime(CLOCK_REALTIME_COARSE, &now);
  ((double *)(void *)out)[0] = (double)now.tv_sec;
  ((double *)(void *)out)[1] = (double)now.tv_nsec;
  return tartan_undefined(env);
}

napi_value tartan_clock_init(napi_env env, napi_value exports) {
  static const tartan_function functions[] = {{"fileTime", file_time}};
  tartan_define(env, exports, functions, sizeof functions / sizeof functions[0]);
  return exports;
}
