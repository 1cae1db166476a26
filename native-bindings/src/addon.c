// The addon's entry: gathers the concerns. A concern that is not linked in is simply absent from the exports.
#include "common.h"

#pragma weak tartan_fuse_init

NAPI_MODULE_INIT() {
  tartan_awake_init(env, exports);
  tartan_clock_init(env, exports);
  tartan_kernels_init(env, exports);
  tartan_slab_init(env, exports);
  tartan_disk_init(env, exports);
  tartan_channel_init(env, exports);
  tartan_listener_init(env, exports);
  if (tartan_fuse_init != NULL) tartan_fuse_init(env, exports);
  return exports;
}
