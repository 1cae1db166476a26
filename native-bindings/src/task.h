// Work on the thread pool that JavaScript waits for with a promise.
#ifndef TARTAN_TASK_H
#define TARTAN_TASK_H

#include "common.h"

// Runs `work` on the thread pool and resolves the returned promise with the number it left in `result`.
typedef struct tartan_task tartan_task;
struct tartan_task {
  void (*work)(tartan_task *task);
  int32_t result;
  int32_t fd;
  int32_t flags;
  size_t length_bytes;
  napi_async_work async;
  napi_deferred deferred;
  uint8_t bytes[];
};

// A zeroed task with room for `length_bytes` bytes and a terminating NUL; NULL without memory.
tartan_task *tartan_task_new(size_t length_bytes);
napi_value tartan_task_start(napi_env env, tartan_task *task);

#endif
