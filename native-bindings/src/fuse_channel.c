// The message channel over a /dev/fuse descriptor: polled on the event loop, read and written without waiting.
//
// A request is received by one readv. Its first FUSE_HEAD_BYTES (in_header and write_in) go to the request
// buffer and the rest to the landing parts, so a WRITE's payload lies where the caller wants it; the rest of any other
// request is copied behind its head, so that the caller finds it whole. A reply is one writev of the reply buffer's beginning
// and of parts. The channel owns the descriptor, and lives until closed or until the environment goes.
#include "fuse.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>
#include <uv.h>

#include "task.h"

enum {
  FUSE_HEAD_BYTES = 80,
  FUSE_OPCODE_WRITE = 16,
  MAX_LANDING_PARTS = 16,
  MAX_REPLY_PARTS = 512,
};

typedef struct {
  napi_env env;
  uv_poll_t poll;
  int fd;
  bool closed;
  // The poll handle until its close callback, and the JavaScript object until it is collected.
  int holders;
  napi_ref on_readable;
  napi_ref request_ref;
  napi_ref reply_ref;
  uint8_t *request;
  size_t request_bytes;
  uint8_t *reply;
  size_t reply_bytes;
  // The head, and behind it the landing of the last receive.
  struct iovec receive_iov[1 + MAX_LANDING_PARTS];
  int landing_parts;
  napi_async_cleanup_hook_handle cleanup;
} fuse_channel;

static fuse_channel *channel_of(napi_env env, napi_value value) {
  void *data = NULL;
  if (napi_get_value_external(env, value, &data) != napi_ok) return NULL;
  fuse_channel *channel = data;
  return channel->closed ? NULL : channel;
}

static void on_poll(uv_poll_t *poll, int status, int events) {
  fuse_channel *channel = poll->data;
  napi_handle_scope scope;
  if (napi_open_handle_scope(channel->env, &scope) != napi_ok) return;
  tartan_call(channel->env, channel->on_readable, 0, NULL);
  napi_close_handle_scope(channel->env, scope);
}

static void let_go(fuse_channel *channel) {
  if (--channel->holders == 0) free(channel);
}

static void on_closed(uv_handle_t *handle) {
  fuse_channel *channel = handle->data;
  napi_remove_async_cleanup_hook(channel->cleanup);
  let_go(channel);
}

static void close_channel(fuse_channel *channel) {
  if (channel->closed) return;
  channel->closed = true;
  uv_poll_stop(&channel->poll);
  close(channel->fd);
  uv_close((uv_handle_t *)&channel->poll, on_closed);
}

// The environment waits until the hook is removed, which on_closed does.
static void on_environment_exit(napi_async_cleanup_hook_handle handle, void *data) {
  close_channel(data);
}

static void on_collected(napi_env env, void *data, void *hint) {
  close_channel(data);
  let_go(data);
}

// (descriptor, requestBuffer, replyBuffer, onReadable) -> channel; polling is off
static napi_value create(napi_env env, napi_callback_info info) {
  napi_value argv[4], external;
  fuse_channel *channel = calloc(1, sizeof(*channel));
  if (channel == NULL) return tartan_number(env, -ENOMEM);
  if (!tartan_args(env, info, argv, 4) ||
      !tartan_bytes(env, argv[1], &channel->request, &channel->request_bytes) ||
      !tartan_bytes(env, argv[2], &channel->reply, &channel->reply_bytes) ||
      channel->request_bytes < FUSE_HEAD_BYTES || channel->reply_bytes < 16) {
    free(channel);
    return tartan_number(env, -EINVAL);
  }
  channel->env = env;
  channel->fd = tartan_int32(env, argv[0], -1);
  uv_loop_t *loop;
  napi_get_uv_event_loop(env, &loop);
  int rc = uv_poll_init(loop, &channel->poll, channel->fd);
  if (rc < 0) {
    free(channel);
    return tartan_number(env, rc);
  }
  channel->poll.data = channel;
  channel->holders = 2;
  napi_create_reference(env, argv[1], 1, &channel->request_ref);
  napi_create_reference(env, argv[2], 1, &channel->reply_ref);
  napi_create_reference(env, argv[3], 1, &channel->on_readable);
  napi_add_async_cleanup_hook(env, on_environment_exit, channel, &channel->cleanup);
  napi_create_external(env, channel, on_collected, NULL, &external);
  return external;
}

// (channel, wanted) -> 0
static napi_value set_polling(napi_env env, napi_callback_info info) {
  napi_value argv[2];
  bool wanted = false;
  fuse_channel *channel = tartan_args(env, info, argv, 2) ? channel_of(env, argv[0]) : NULL;
  if (channel == NULL) return tartan_number(env, -EBADF);
  napi_get_value_bool(env, argv[1], &wanted);
  int rc = wanted ? uv_poll_start(&channel->poll, UV_READABLE | UV_DISCONNECT, on_poll) : uv_poll_stop(&channel->poll);
  return tartan_number(env, rc);
}

static int landing_parts(napi_env env, napi_value array, struct iovec *iov) {
  uint32_t count = 0;
  if (napi_get_array_length(env, array, &count) != napi_ok || count > MAX_LANDING_PARTS) return -1;
  for (uint32_t i = 0; i < count; i++) {
    napi_value part;
    uint8_t *data;
    if (napi_get_element(env, array, i, &part) != napi_ok) return -1;
    if (!tartan_bytes(env, part, &data, &iov[i].iov_len)) return -1;
    iov[i].iov_base = data;
  }
  return (int)count;
}

static void copy_behind_head(fuse_channel *channel, const struct iovec *iov, size_t rest) {
  uint8_t *out = channel->request + FUSE_HEAD_BYTES;
  size_t room = channel->request_bytes - FUSE_HEAD_BYTES;
  for (size_t i = 0; rest > 0 && room > 0; i++) {
    size_t n = iov[i].iov_len < rest ? iov[i].iov_len : rest;
    if (n > room) n = room;
    memcpy(out, iov[i].iov_base, n);
    out += n;
    room -= n;
    rest -= n;
  }
}

static int64_t monotonic_us(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

// One request, waiting for it up to `wait_us` without sleeping. Others that want this processor get it meanwhile.
static ssize_t read_request(int fd, const struct iovec *iov, int count, int32_t wait_us) {
  int64_t until = 0;
  for (;;) {
    ssize_t n = readv(fd, iov, count);
    if (n >= 0) return n;
    // ENOENT: that request was taken back by its caller while we were at it; the next one may be there.
    if (errno == EINTR || errno == ENOENT) continue;
    if (errno != EAGAIN) return -errno;
    if (wait_us == 0) return -EAGAIN;
    if (until == 0) until = monotonic_us() + wait_us;
    sched_yield();
    if (monotonic_us() > until) return -EAGAIN;
  }
}

// (channel, landingParts?, waitMicroseconds) -> bytes of the request, or -EAGAIN; -ENODEV when unmounted. Without landing parts those
// of the last call are used, which the caller has kept.
static napi_value receive(napi_env env, napi_callback_info info) {
  napi_value argv[3];
  fuse_channel *channel = tartan_args(env, info, argv, 3) ? channel_of(env, argv[0]) : NULL;
  if (channel == NULL) return tartan_number(env, -EBADF);
  struct iovec *iov = channel->receive_iov;
  if (!tartan_is_missing(env, argv[1])) channel->landing_parts = landing_parts(env, argv[1], iov + 1);
  int parts = channel->landing_parts;
  if (parts <= 0) return tartan_number(env, -EINVAL);
  iov[0].iov_base = channel->request;
  iov[0].iov_len = FUSE_HEAD_BYTES;
  ssize_t n = read_request(channel->fd, iov, 1 + parts, tartan_int32(env, argv[2], 0));
  if (n < 0) return tartan_number(env, n);
  uint32_t opcode;
  memcpy(&opcode, channel->request + 4, sizeof(opcode));
  if (n > FUSE_HEAD_BYTES && opcode != FUSE_OPCODE_WRITE)
    copy_behind_head(channel, iov + 1, (size_t)n - FUSE_HEAD_BYTES);
  return tartan_number(env, n);
}

// (channel, headBytes, parts?) -> 0; the length field in the reply buffer is set here
static napi_value reply(napi_env env, napi_callback_info info) {
  napi_value argv[3];
  struct iovec iov[1 + MAX_REPLY_PARTS];
  fuse_channel *channel = tartan_args(env, info, argv, 3) ? channel_of(env, argv[0]) : NULL;
  if (channel == NULL) return tartan_number(env, -EBADF);
  uint32_t head = 0, count = 0;
  napi_get_value_uint32(env, argv[1], &head);
  if (head < 16 || head > channel->reply_bytes) return tartan_number(env, -EINVAL);
  uint32_t total = head;
  if (!tartan_is_missing(env, argv[2])) {
    if (napi_get_array_length(env, argv[2], &count) != napi_ok || count > MAX_REPLY_PARTS)
      return tartan_number(env, -EINVAL);
    for (uint32_t i = 0; i < count; i++) {
      napi_value part;
      uint8_t *data;
      napi_get_element(env, argv[2], i, &part);
      if (!tartan_bytes(env, part, &data, &iov[1 + i].iov_len)) return tartan_number(env, -EINVAL);
      iov[1 + i].iov_base = data;
      total += (uint32_t)iov[1 + i].iov_len;
    }
  }
  memcpy(channel->reply, &total, sizeof(total));
  iov[0].iov_base = channel->reply;
  iov[0].iov_len = head;
  ssize_t n;
  do n = writev(channel->fd, iov, (int)(1 + count));
  while (n < 0 && errno == EINTR);
  return tartan_number(env, n < 0 ? -errno : 0);
}

static void notify_work(tartan_task *task) {
  ssize_t n = write(task->fd, task->bytes, task->length_bytes);
  task->result = n < 0 ? -errno : 0;
  close(task->fd);
}

// (channel, message) -> Promise of 0. On the thread pool: the kernel may wait for a page that only the
// event loop can complete. The caller bounds how many are under way.
static napi_value notify(napi_env env, napi_callback_info info) {
  napi_value argv[2];
  uint8_t *data;
  size_t length_bytes;
  fuse_channel *channel = tartan_args(env, info, argv, 2) ? channel_of(env, argv[0]) : NULL;
  if (channel == NULL || !tartan_bytes(env, argv[1], &data, &length_bytes)) return tartan_number(env, -EINVAL);
  tartan_task *task = tartan_task_new(length_bytes);
  if (task == NULL) return tartan_number(env, -ENOMEM);
  memcpy(task->bytes, data, length_bytes);
  task->work = notify_work;
  // A duplicate, so that closing the channel cannot hand its number to somebody else's file.
  task->fd = dup(channel->fd);
  if (task->fd < 0) {
    free(task);
    return tartan_number(env, -errno);
  }
  return tartan_task_start(env, task);
}

// (channel): closes the descriptor; every later call answers -EBADF
static napi_value close_call(napi_env env, napi_callback_info info) {
  napi_value argv[1];
  fuse_channel *channel = tartan_args(env, info, argv, 1) ? channel_of(env, argv[0]) : NULL;
  if (channel == NULL) return tartan_undefined(env);
  close_channel(channel);
  napi_delete_reference(env, channel->request_ref);
  napi_delete_reference(env, channel->reply_ref);
  napi_delete_reference(env, channel->on_readable);
  return tartan_undefined(env);
}

void tartan_fuse_channel_init(napi_env env, napi_value exports) {
  static const tartan_function functions[] = {
      {"fuseChannelCreate", create}, {"fuseChannelPoll", set_polling}, {"fuseReceive", receive},
      {"fuseReply", reply},          {"fuseNotify", notify},           {"fuseChannelClose", close_call},
  };
  tartan_define(env, exports, functions, sizeof(functions) / sizeof(functions[0]));
}
