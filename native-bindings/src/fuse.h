// The /dev/fuse concern: the message channel (fuse_channel.c) and mounting (fuse_mount.c).
// What the messages mean is TypeScript's business: C knows the two headers' sizes and the opcode of WRITE.
#ifndef TARTAN_FUSE_H
#define TARTAN_FUSE_H

#include "common.h"

void tartan_fuse_channel_init(napi_env env, napi_value exports);
void tartan_fuse_mount_init(napi_env env, napi_value exports);

#endif
