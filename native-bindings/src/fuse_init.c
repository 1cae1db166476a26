// Gathers the parts of the /dev/fuse concern.
#include "fuse.h"

napi_value tartan_fuse_init(napi_env env, napi_value exports) {
  tartan_fuse_channel_init(env, exports);
  tartan_fuse_mount_init(env, exports);
  return exports;
}
