// What every concern of the addon shares: argument access, errors and calls into JavaScript.
//
// Rules: TypeScript validates arguments, so a bad one here is answered with -EINVAL and nothing else.
// Failures are negative errno numbers. One file is one concern, and exports its functions from tartan_<concern>_init.
#ifndef TARTAN_COMMON_H
#define TARTAN_COMMON_H

#include <errno.h>
#include <node_api.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

napi_value tartan_awake_init(napi_env env, napi_value exports);
napi_value tartan_clock_init(napi_env env, napi_value exports);
napi_value tartan_kernels_init(napi_env env, napi_value exports);
napi_value tartan_slab_init(napi_env env, napi_value exports);
napi_value tartan_disk_init(napi_env env, napi_value exports);
napi_value tartan_channel_init(napi_env env, napi_value exports);
napi_value tartan_listener_init(napi_env env, napi_value exports);
napi_value tartan_fuse_init(napi_env env, napi_value exports);

typedef struct {
  const char *name;
  napi_callback function;
} tartan_function;

void tartan_define(napi_env env, napi_value exports, const tartan_function *functions, size_t count);

// Fills argv with exactly `count` values; those that the caller left out are undefined.
bool tartan_args(napi_env env, napi_callback_info info, napi_value *argv, size_t count);

bool tartan_bytes(napi_env env, napi_value value, uint8_t **data, size_t *length_bytes);
int32_t tartan_int32(napi_env env, napi_value value, int32_t otherwise);
int64_t tartan_int64(napi_env env, napi_value value, int64_t otherwise);
bool tartan_is_missing(napi_env env, napi_value value);

napi_value tartan_number(napi_env env, int64_t value);
napi_value tartan_undefined(napi_env env);
void tartan_set(napi_env env, napi_value object, const char *name, napi_value value);

// Calls a JavaScript function from the event loop, and runs its ticks and microtasks. What it throws becomes
// an uncaught exception, as from any event handler. The caller has opened a handle scope.
void tartan_call(napi_env env, napi_ref function, size_t argc, const napi_value *argv);

#endif
