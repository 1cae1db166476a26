// Waits awake for what is expected within microseconds, just before the event loop would sleep: being woken up costs longer
// than the wait, and more processor time.
//
// Whoever else wants the processor gets it meanwhile. Any event ends the wait, as it would end the sleep. Each wait in vain
// costs credit, and without credit we sleep at once and try again only now and then.
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <uv.h>

#include "common.h"

#define AWAKE_NS 400000
#define MAX_CREDIT 16
#define COST_OF_WAITING_IN_VAIN 4
#define RETRY_INTERVAL 64

typedef struct {
  uv_prepare_t prepare;
  napi_async_cleanup_hook_handle hook;
  bool expected;
  int credit, skipped;
  int owners; // the JavaScript handle, and the event loop
} tartan_awake;

static void drop_owner(tartan_awake *awake) {
  if (--awake->owners == 0) free(awake);
}

static bool may_wait(tartan_awake *awake) {
  if (awake->credit > 0) return true;
  if (++awake->skipped < RETRY_INTERVAL) return false;
  awake->skipped = 0;
  return true;
}

static void on_prepare(uv_prepare_t *handle) {
  tartan_awake *awake = handle->data;
  // Without a time-out the loop does not sleep anyway.
  if (!awake->expected || uv_backend_timeout(handle->loop) == 0 || !may_wait(awake)) return;
  struct pollfd any = {.fd = uv_backend_fd(handle->loop), .events = POLLIN};
  uint64_t until = uv_hrtime() + AWAKE_NS;
  bool came;
  while (!(came = poll(&any, 1, 0) > 0) && uv_hrtime() < until) sched_yield();
  int credit = awake->credit + (came ? 1 : -COST_OF_WAITING_IN_VAIN);
  awake->credit = credit > MAX_CREDIT ? MAX_CREDIT : credit < 0 ? 0 : credit;
}

static void on_closed(uv_handle_t *handle) {
  tartan_awake *awake = handle->data;
  napi_remove_async_cleanup_hook(awake->hook);
  drop_owner(awake);
}

static void on_environment_end(napi_async_cleanup_hook_handle hook, void *data) {
  tartan_awake *awake = data;
  uv_close((uv_handle_t *)&awake->prepare, on_closed);
}

static void on_handle_collected(napi_env env, void *data, void *hint) { drop_owner(data); }

// awakeOpen(): a handle for this environment's event loop, or a negative errno. It lives as long as the environment.
static napi_value awake_open(napi_env env, napi_callback_info info) {
  napi_value handle;
  uv_loop_t *loop;
  tartan_awake *awake = calloc(1, sizeof *awake);
  if (awake == NULL || napi_get_uv_event_loop(env, &loop) != napi_ok) {
    free(awake);
    return tartan_number(env, -ENOMEM);
  }
  awake->owners = 2;
  awake->credit = MAX_CREDIT;
  uv_prepare_init(loop, &awake->prepare);
  awake->prepare.data = awake;
  uv_prepare_start(&awake->prepare, on_prepare);
  uv_unref((uv_handle_t *)&awake->prepare);
  napi_add_async_cleanup_hook(env, on_environment_end, awake, &awake->hook);
  napi_create_external(env, awake, on_handle_collected, NULL, &handle);
  return handle;
}

// awakeExpect(handle, expected): whether something is expected from now on.
static napi_value awake_expect(napi_env env, napi_callback_info info) {
  napi_value argv[2];
  void *data = NULL;
  if (!tartan_args(env, info, argv, 2) || napi_get_value_external(env, argv[0], &data) != napi_ok)
    return tartan_number(env, -EINVAL);
  tartan_awake *awake = data;
  napi_get_value_bool(env, argv[1], &awake->expected);
  return tartan_number(env, 0);
}

napi_value tartan_awake_init(napi_env env, napi_value exports) {
  static const tartan_function functions[] = {{"awakeOpen", awake_open}, {"awakeExpect", awake_expect}};
  tartan_define(env, exports, functions, sizeof functions / sizeof functions[0]);
  return exports;
}
