// The /dev/fuse concern: the message channel (fuse_channel.c) and mounting (fuse_mount.c).
// What the messages mean is TypeScript's business: C knows the two headers' sizes and the opcode of WRITE.
#ifndef TARTAN_FUSE_H
#define TARTAN_FUSE_H

#include "common.h"

void tartan_fuse_channel_init(napi_env env, napi_value exports);
void tartan_fuse_mount_init(napi_env env, napi_value exports);

// Runs `work` on the thread pool and resolves the returned promise with the number it left in `result`.
typedef struct tartan_fuse_task tartan_fuse_task;
struct tartan_fuse_task {
  void (*work)(tartan_fuse_task *task);
  int32_t result;
  int32_t fd;
  int32_t flags;
  size_t length_bytes;
  napi_async_work async;
  napi_deferred deferred;
  uint8_t bytes[];
};

// A zeroed task with room for `length_bytes` bytes and a terminating NUL; NULL without memory.
tartan_fuse_task *tartan_fuse_task_new(size_t length_bytes);
napi_value tartan_fuse_task_start(napi_env env, tartan_fuse_task *task);

#endif
