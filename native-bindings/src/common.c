// See common.h.
#include "common.h"

void tartan_define(napi_env env, napi_value exports, const tartan_function *functions, size_t count) {
  for (size_t i = 0; i < count; i++) {
    napi_value value;
    napi_create_function(env, functions[i].name, NAPI_AUTO_LENGTH, functions[i].function, NULL, &value);
    napi_set_named_property(env, exports, functions[i].name, value);
  }
}

bool tartan_args(napi_env env, napi_callback_info info, napi_value *argv, size_t count) {
  size_t argc = count;
  return napi_get_cb_info(env, info, &argc, argv, NULL, NULL) == napi_ok;
}

bool tartan_bytes(napi_env env, napi_value value, uint8_t **data, size_t *length_bytes) {
  void *start = NULL;
  if (napi_get_buffer_info(env, value, &start, length_bytes) != napi_ok) return false;
  *data = start;
  return true;
}

int32_t tartan_int32(napi_env env, napi_value value, int32_t otherwise) {
  int32_t result;
  return napi_get_value_int32(env, value, &result) == napi_ok ? result : otherwise;
}

int64_t tartan_int64(napi_env env, napi_value value, int64_t otherwise) {
  int64_t result;
  return napi_get_value_int64(env, value, &result) == napi_ok ? result : otherwise;
}

bool tartan_is_missing(napi_env env, napi_value value) {
  napi_valuetype type;
  return napi_typeof(env, value, &type) != napi_ok || type == napi_undefined || type == napi_null;
}

napi_value tartan_number(napi_env env, int64_t value) {
  napi_value result = NULL;
  napi_create_int64(env, value, &result);
  return result;
}

napi_value tartan_undefined(napi_env env) {
  napi_value result = NULL;
  napi_get_undefined(env, &result);
  return result;
}

void tartan_set(napi_env env, napi_value object, const char *name, napi_value value) {
  napi_set_named_property(env, object, name, value);
}

void tartan_call(napi_env env, napi_ref function, size_t argc, const napi_value *argv) {
  napi_value callee, receiver;
  if (napi_get_reference_value(env, function, &callee) != napi_ok || callee == NULL) return;
  if (napi_get_global(env, &receiver) != napi_ok) return;
  napi_status status = napi_make_callback(env, NULL, receiver, callee, argc, argv, NULL);
  if (status != napi_pending_exception) return;
  napi_value thrown;
  if (napi_get_and_clear_last_exception(env, &thrown) == napi_ok) napi_fatal_exception(env, thrown);
}
