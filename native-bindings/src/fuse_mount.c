// Opening /dev/fuse, mount(2) and umount(2), and the descriptor that fusermount3 sends to callers without privilege.
//
// Unmounting runs on the thread pool: the kernel writes dirty pages back first, and the event loop has to serve those.
#include "fuse.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "task.h"

#ifndef PR_SET_IO_FLUSHER
#define PR_SET_IO_FLUSHER 57
#endif

enum { MAX_STRING_BYTES = 8192 };

static bool text(napi_env env, napi_value value, char *out) {
  size_t length;
  if (napi_get_value_string_utf8(env, value, out, MAX_STRING_BYTES, &length) != napi_ok) return false;
  return length < MAX_STRING_BYTES - 1 && strlen(out) == length;
}

// () -> descriptor
static napi_value open_device(napi_env env, napi_callback_info info) {
  int fd = open("/dev/fuse", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  return tartan_number(env, fd < 0 ? -errno : fd);
}

// (source, mountPoint, flags, options) -> 0
static napi_value mount_kernel(napi_env env, napi_callback_info info) {
  napi_value argv[4];
  char source[MAX_STRING_BYTES], target[MAX_STRING_BYTES], options[MAX_STRING_BYTES];
  if (!tartan_args(env, info, argv, 4) || !text(env, argv[0], source) || !text(env, argv[1], target) ||
      !text(env, argv[3], options))
    return tartan_number(env, -EINVAL);
  unsigned long flags = (unsigned long)tartan_int64(env, argv[2], 0);
  int rc = mount(source, target, "fuse.tartan", flags, options);
  return tartan_number(env, rc < 0 ? -errno : 0);
}

static void unmount_work(tartan_task *task) {
  int rc = umount2((const char *)task->bytes, task->flags);
  task->result = rc < 0 ? -errno : 0;
}

// (mountPoint, flags) -> Promise of 0
static napi_value unmount_kernel(napi_env env, napi_callback_info info) {
  napi_value argv[2];
  char target[MAX_STRING_BYTES];
  if (!tartan_args(env, info, argv, 2) || !text(env, argv[0], target)) return tartan_number(env, -EINVAL);
  tartan_task *task = tartan_task_new(strlen(target));
  if (task == NULL) return tartan_number(env, -ENOMEM);
  memcpy(task->bytes, target, strlen(target));
  task->work = unmount_work;
  task->flags = tartan_int32(env, argv[1], 0);
  return tartan_task_start(env, task);
}

// () -> [ours, the child's]
static napi_value socket_pair(napi_env env, napi_callback_info info) {
  int pair[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) return tartan_number(env, -errno);
  napi_value result;
  napi_create_array_with_length(env, 2, &result);
  for (uint32_t i = 0; i < 2; i++) napi_set_element(env, result, i, tartan_number(env, pair[i]));
  return result;
}

// (socket) -> the descriptor that was sent over it, non-blocking; -ENODATA when none was
static napi_value receive_descriptor(napi_env env, napi_callback_info info) {
  napi_value argv[1];
  if (!tartan_args(env, info, argv, 1)) return tartan_number(env, -EINVAL);
  char byte;
  union {
    char bytes[CMSG_SPACE(sizeof(int))];
    struct cmsghdr align;
  } control;
  struct iovec iov = {.iov_base = &byte, .iov_len = 1};
  struct msghdr message = {
      .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof(control.bytes)};
  ssize_t n = recvmsg(tartan_int32(env, argv[0], -1), &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  if (n < 0) return tartan_number(env, -errno);
  struct cmsghdr *header = n > 0 ? CMSG_FIRSTHDR(&message) : NULL;
  if (header == NULL || header->cmsg_type != SCM_RIGHTS) return tartan_number(env, -ENODATA);
  int fd;
  memcpy(&fd, CMSG_DATA(header), sizeof(fd));
  int flags = fcntl(fd, F_GETFL);
  if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0) {
    int error = errno;
    close(fd);
    return tartan_number(env, -error);
  }
  return tartan_number(env, fd);
}

// (descriptor) -> 0
static napi_value close_descriptor(napi_env env, napi_callback_info info) {
  napi_value argv[1];
  if (!tartan_args(env, info, argv, 1)) return tartan_number(env, -EINVAL);
  return tartan_number(env, close(tartan_int32(env, argv[0], -1)) < 0 ? -errno : 0);
}

// () -> 0. Marks this thread as one that memory reclaim must not wait for: its pages may need us to be written.
static napi_value set_io_flusher(napi_env env, napi_callback_info info) {
  return tartan_number(env, prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0) < 0 ? -errno : 0);
}

void tartan_fuse_mount_init(napi_env env, napi_value exports) {
  static const tartan_function functions[] = {
      {"fuseOpenDevice", open_device},
      {"fuseMount", mount_kernel},
      {"fuseUnmount", unmount_kernel},
      {"fuseSocketPair", socket_pair},
      {"fuseReceiveDescriptor", receive_descriptor},
      {"fuseCloseDescriptor", close_descriptor},
      {"fuseSetIoFlusher", set_io_flusher},
  };
  tartan_define(env, exports, functions, sizeof(functions) / sizeof(functions[0]));
}
