// See task.h.
#include "task.h"

#include <stdlib.h>

tartan_task *tartan_task_new(size_t length_bytes) {
  tartan_task *task = calloc(1, sizeof(*task) + length_bytes + 1);
  if (task != NULL) task->length_bytes = length_bytes;
  return task;
}

static void run(napi_env env, void *data) {
  tartan_task *task = data;
  task->work(task);
}

static void finish(napi_env env, napi_status status, void *data) {
  tartan_task *task = data;
  int32_t result = status == napi_cancelled ? -ECANCELED : task->result;
  napi_resolve_deferred(env, task->deferred, tartan_number(env, result));
  napi_delete_async_work(env, task->async);
  free(task);
}

napi_value tartan_task_start(napi_env env, tartan_task *task) {
  napi_value promise, name;
  napi_create_promise(env, &task->deferred, &promise);
  napi_create_string_utf8(env, "tartan_task", NAPI_AUTO_LENGTH, &name);
  napi_create_async_work(env, NULL, name, run, finish, task, &task->async);
  napi_queue_async_work(env, task->async);
  return promise;
}
