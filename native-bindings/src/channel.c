// A local stream connection (Unix socket), polled on the event loop: the transport between processes of one machine.
//
// Received bytes are read into one buffer that TypeScript shares, and announced a read at a time; a turn is bounded
// so that one busy peer does not starve the rest. What the kernel does not take of a message at once is copied into a
// bounded queue and follows in order when the socket is writable. Descriptors travel beside the stream (SCM_RIGHTS).
// After the end of the stream, an error or close(), nothing is announced any more.
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>
#include <uv.h>

#include "common.h"

#define MAX_PARTS_A_SEND 64
#define MAX_READS_A_TURN 4
#define MAX_DESCRIPTORS_A_READ 16

// The events of onEvent(kind, value).
enum { EVENT_DESCRIPTOR = 1, EVENT_DRAINED = 2, EVENT_END = 3, EVENT_ERROR = 4 };

// A queued rest of a message. `descriptor` (or -1) goes with its first byte.
typedef struct queued_bytes {
  struct queued_bytes *next;
  size_t length_bytes, sent_bytes;
  int descriptor;
  uint8_t data[];
} queued_bytes;

typedef struct {
  napi_env env;
  napi_ref on_data, on_event, buffer_ref;
  napi_async_cleanup_hook_handle hook;
  uv_poll_t poll;
  int fd;
  uint8_t *buffer;
  size_t buffer_bytes, queued_total, queue_limit;
  queued_bytes *first, *last;
  uint32_t busy_poll_us;
  bool reading, closed;
  int owners; // the JavaScript handle, and the event loop
} tartan_channel;

static void drop_owner(tartan_channel *channel) {
  if (--channel->owners == 0) free(channel);
}

static void on_poll_closed(uv_handle_t *handle) {
  tartan_channel *channel = handle->data;
  napi_remove_async_cleanup_hook(channel->hook);
  drop_owner(channel);
}

static void free_first(tartan_channel *channel) {
  queued_bytes *first = channel->first;
  channel->first = first->next;
  if (channel->first == NULL) channel->last = NULL;
  if (first->descriptor >= 0) close(first->descriptor);
  free(first);
}

static void close_channel(tartan_channel *channel) {
  if (channel->closed) return;
  channel->closed = true;
  uv_close((uv_handle_t *)&channel->poll, on_poll_closed);
  close(channel->fd);
  while (channel->first != NULL) free_first(channel);
  channel->queued_total = 0;
  napi_delete_reference(channel->env, channel->on_data);
  napi_delete_reference(channel->env, channel->on_event);
  napi_delete_reference(channel->env, channel->buffer_ref);
}

static void emit(tartan_channel *channel, int kind, int64_t value) {
  napi_handle_scope scope;
  napi_open_handle_scope(channel->env, &scope);
  napi_value argv[2] = {tartan_number(channel->env, kind), tartan_number(channel->env, value)};
  tartan_call(channel->env, channel->on_event, 2, argv);
  napi_close_handle_scope(channel->env, scope);
}

// The last event: the callbacks are needed for it, so the channel is closed after it.
static void emit_last(tartan_channel *channel, int kind, int64_t value) {
  uv_poll_stop(&channel->poll);
  emit(channel, kind, value);
  close_channel(channel);
}

static void on_poll(uv_poll_t *handle, int status, int events);

static void poll_again(tartan_channel *channel) {
  int events = (channel->reading ? UV_READABLE : 0) | (channel->first != NULL ? UV_WRITABLE : 0);
  if (events == 0)
    uv_poll_stop(&channel->poll);
  else
    uv_poll_start(&channel->poll, events, on_poll);
}

// --- receiving ---

static void announce_descriptors(tartan_channel *channel, struct msghdr *message) {
  for (struct cmsghdr *control = CMSG_FIRSTHDR(message); control != NULL; control = CMSG_NXTHDR(message, control)) {
    if (control->cmsg_level != SOL_SOCKET || control->cmsg_type != SCM_RIGHTS) continue;
    size_t count = (control->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; i++) {
      int descriptor;
      memcpy(&descriptor, CMSG_DATA(control) + i * sizeof(int), sizeof(int));
      if (channel->closed)
        close(descriptor);
      else
        emit(channel, EVENT_DESCRIPTOR, descriptor);
    }
  }
}

static ssize_t receive(tartan_channel *channel, struct msghdr *message, struct iovec *part, void *control,
                       size_t control_bytes) {
  ssize_t length;
  do {
    *part = (struct iovec){channel->buffer, channel->buffer_bytes};
    *message =
        (struct msghdr){.msg_iov = part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = control_bytes};
    length = recvmsg(channel->fd, message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  } while (length < 0 && errno == EINTR);
  return length;
}

// One read and its announcement. False when there is no more to read now, or ever.
static bool read_once(tartan_channel *channel) {
  union {
    struct cmsghdr header;
    char bytes[CMSG_SPACE(MAX_DESCRIPTORS_A_READ * sizeof(int))];
  } control;
  struct iovec part;
  struct msghdr message;
  ssize_t length = receive(channel, &message, &part, &control, sizeof control);
  if (length < 0) {
    int reason = errno;
    if (reason != EAGAIN) emit_last(channel, EVENT_ERROR, -reason);
    return false;
  }
  if (message.msg_controllen > 0) announce_descriptors(channel, &message);
  if (channel->closed) return false;
  // A peer that attaches more than the protocol ever does would lose descriptors silently.
  if (message.msg_flags & MSG_CTRUNC) {
    emit_last(channel, EVENT_ERROR, -EMSGSIZE);
    return false;
  }
  if (length == 0) {
    emit_last(channel, EVENT_END, 0);
    return false;
  }
  napi_handle_scope scope;
  napi_open_handle_scope(channel->env, &scope);
  napi_value argument = tartan_number(channel->env, length);
  tartan_call(channel->env, channel->on_data, 1, &argument);
  napi_close_handle_scope(channel->env, scope);
  return !channel->closed && channel->reading && (size_t)length == channel->buffer_bytes;
}

static int64_t now_us(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

// Looks for an answer for a moment before the loop sleeps, because a wake-up can cost more than the wait.
static bool wait_briefly(tartan_channel *channel) {
  int64_t until = now_us() + channel->busy_poll_us;
  uint8_t byte;
  do {
    ssize_t length = recv(channel->fd, &byte, 1, MSG_DONTWAIT | MSG_PEEK);
    if (length >= 0 || errno != EAGAIN) return true;
  } while (now_us() < until);
  return false;
}

static void on_readable(tartan_channel *channel) {
  int reads = 0;
  do {
    while (reads++ < MAX_READS_A_TURN && read_once(channel)) {
    }
  } while (channel->busy_poll_us > 0 && !channel->closed && channel->reading && reads < MAX_READS_A_TURN &&
           wait_briefly(channel));
}

// --- sending ---

static ssize_t send_parts(int fd, struct iovec *parts, size_t count, int descriptor) {
  union {
    struct cmsghdr header;
    char bytes[CMSG_SPACE(sizeof(int))];
  } control;
  struct msghdr message = {.msg_iov = parts, .msg_iovlen = count};
  if (descriptor >= 0) {
    memset(&control, 0, sizeof control);
    message.msg_control = &control;
    message.msg_controllen = sizeof control;
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(header), &descriptor, sizeof(int));
  }
  ssize_t sent;
  do sent = sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
  while (sent < 0 && errno == EINTR);
  return sent < 0 ? -errno : sent;
}

static void on_writable(tartan_channel *channel) {
  while (channel->first != NULL) {
    queued_bytes *first = channel->first;
    struct iovec part = {first->data + first->sent_bytes, first->length_bytes - first->sent_bytes};
    ssize_t sent = send_parts(channel->fd, &part, 1, first->descriptor);
    if (sent == -EAGAIN) return;
    if (sent < 0) {
      emit_last(channel, EVENT_ERROR, sent);
      return;
    }
    if (first->descriptor >= 0) close(first->descriptor);
    first->descriptor = -1;
    first->sent_bytes += (size_t)sent;
    channel->queued_total -= (size_t)sent;
    if (first->sent_bytes < first->length_bytes) return;
    free_first(channel);
  }
  poll_again(channel);
  emit(channel, EVENT_DRAINED, 0);
}

static void on_poll(uv_poll_t *handle, int status, int events) {
  tartan_channel *channel = handle->data;
  // libuv reports a socket error as EBADF and stops polling. What arrived before the error is still read, and then
  // the socket itself tells which error it was.
  if (status < 0) {
    poll_again(channel);
    events = UV_READABLE | UV_WRITABLE;
  }
  if ((events & UV_WRITABLE) && channel->first != NULL) on_writable(channel);
  if ((events & UV_READABLE) && !channel->closed && channel->reading) on_readable(channel);
}

// Copies what is behind the first `skip` bytes of the parts to the end of the queue.
static int enqueue(tartan_channel *channel, const struct iovec *parts, size_t count, size_t total, size_t skip,
                   int descriptor) {
  queued_bytes *entry = malloc(sizeof *entry + total - skip);
  if (entry == NULL) return -ENOMEM;
  *entry = (queued_bytes){.length_bytes = total - skip, .descriptor = -1};
  if (descriptor >= 0 && (entry->descriptor = fcntl(descriptor, F_DUPFD_CLOEXEC, 0)) < 0) {
    int reason = errno;
    free(entry);
    return -reason;
  }
  uint8_t *to = entry->data;
  for (size_t i = 0; i < count; i++) {
    size_t skipped = skip < parts[i].iov_len ? skip : parts[i].iov_len;
    memcpy(to, (const uint8_t *)parts[i].iov_base + skipped, parts[i].iov_len - skipped);
    to += parts[i].iov_len - skipped;
    skip -= skipped;
  }
  bool was_empty = channel->first == NULL;
  if (was_empty)
    channel->first = entry;
  else
    channel->last->next = entry;
  channel->last = entry;
  channel->queued_total += entry->length_bytes;
  if (was_empty) poll_again(channel);
  return 0;
}

// The bytes left in the queue after this message, or a negative errno, and then nothing of it was sent.
static int64_t send_message(tartan_channel *channel, struct iovec *parts, size_t count, size_t total, int descriptor) {
  if (channel->queued_total > 0 && channel->queued_total + total > channel->queue_limit) return -ENOBUFS;
  ssize_t sent = 0;
  if (channel->first == NULL) {
    sent = send_parts(channel->fd, parts, count, descriptor);
    if (sent == -EAGAIN) sent = 0;
    if (sent < 0) return sent;
    if ((size_t)sent == total) return 0;
    if (sent > 0) descriptor = -1;
  }
  int queued = enqueue(channel, parts, count, total, (size_t)sent, descriptor);
  // Half a message can neither be finished nor taken back.
  if (queued < 0 && sent > 0) close_channel(channel);
  return queued < 0 ? queued : (int64_t)channel->queued_total;
}

static int parts_of(napi_env env, napi_value value, struct iovec *parts, size_t *total) {
  bool is_array = false;
  uint32_t count = 1;
  napi_is_array(env, value, &is_array);
  if (is_array && (napi_get_array_length(env, value, &count) != napi_ok || count > MAX_PARTS_A_SEND)) return -EINVAL;
  *total = 0;
  for (uint32_t i = 0; i < count; i++) {
    napi_value item = value;
    uint8_t *data;
    if (is_array && napi_get_element(env, value, i, &item) != napi_ok) return -EINVAL;
    if (!tartan_bytes(env, item, &data, &parts[i].iov_len)) return -EINVAL;
    parts[i].iov_base = data;
    *total += parts[i].iov_len;
  }
  return (int)count;
}

// --- face ---

static void on_environment_end(napi_async_cleanup_hook_handle hook, void *data) { close_channel(data); }

static void on_handle_collected(napi_env env, void *data, void *hint) { drop_owner(data); }

// channelOpen(fd, receiveBuffer, queueLimitBytes, busyPollUs, onData(lengthBytes), onEvent(kind, value)):
// a handle that owns the descriptor, or a negative errno and the descriptor is closed. Reading starts with channelRead.
static napi_value channel_open(napi_env env, napi_callback_info info) {
  napi_value argv[6], handle;
  uv_loop_t *loop;
  uint8_t *buffer;
  size_t buffer_bytes;
  if (!tartan_args(env, info, argv, 6)) return tartan_number(env, -EINVAL);
  int fd = tartan_int32(env, argv[0], -1);
  tartan_channel *channel = calloc(1, sizeof *channel);
  int64_t limit = tartan_int64(env, argv[2], 0);
  int result = channel == NULL ? -ENOMEM : 0;
  if (!tartan_bytes(env, argv[1], &buffer, &buffer_bytes) || buffer_bytes == 0 || limit <= 0 ||
      napi_get_uv_event_loop(env, &loop) != napi_ok)
    result = -EINVAL;
  if (result == 0) result = uv_poll_init(loop, &channel->poll, fd);
  if (result != 0) {
    free(channel);
    close(fd);
    return tartan_number(env, result);
  }
  channel->env = env;
  channel->fd = fd;
  channel->buffer = buffer;
  channel->buffer_bytes = buffer_bytes;
  channel->queue_limit = (size_t)limit;
  channel->busy_poll_us = (uint32_t)tartan_int32(env, argv[3], 0);
  channel->owners = 2;
  channel->poll.data = channel;
  napi_create_reference(env, argv[1], 1, &channel->buffer_ref);
  napi_create_reference(env, argv[4], 1, &channel->on_data);
  napi_create_reference(env, argv[5], 1, &channel->on_event);
  napi_add_async_cleanup_hook(env, on_environment_end, channel, &channel->hook);
  napi_create_external(env, channel, on_handle_collected, NULL, &handle);
  return handle;
}

static tartan_channel *channel_of(napi_env env, napi_value value) {
  void *data = NULL;
  if (napi_get_value_external(env, value, &data) != napi_ok) return NULL;
  tartan_channel *channel = data;
  return channel->closed ? NULL : channel;
}

// channelSend(handle, bytes | bytes[], descriptor?): bytes now queued; negative errno, and nothing was taken.
static napi_value channel_send(napi_env env, napi_callback_info info) {
  napi_value argv[3];
  tartan_channel *channel;
  struct iovec parts[MAX_PARTS_A_SEND];
  size_t total;
  if (!tartan_args(env, info, argv, 3) || (channel = channel_of(env, argv[0])) == NULL)
    return tartan_number(env, -EPIPE);
  int count = parts_of(env, argv[1], parts, &total);
  if (count < 0) return tartan_number(env, count);
  if (total == 0) return tartan_number(env, (int64_t)channel->queued_total);
  return tartan_number(env, send_message(channel, parts, (size_t)count, total, tartan_int32(env, argv[2], -1)));
}

// channelRead(handle, enabled): starts or pauses delivery.
static napi_value channel_read(napi_env env, napi_callback_info info) {
  napi_value argv[2];
  tartan_channel *channel;
  if (!tartan_args(env, info, argv, 2) || (channel = channel_of(env, argv[0])) == NULL)
    return tartan_number(env, -EPIPE);
  napi_get_value_bool(env, argv[1], &channel->reading);
  poll_again(channel);
  return tartan_number(env, 0);
}

// channelQueued(handle): bytes that wait for the socket.
static napi_value channel_queued(napi_env env, napi_callback_info info) {
  napi_value argv[1];
  tartan_channel *channel;
  if (!tartan_args(env, info, argv, 1) || (channel = channel_of(env, argv[0])) == NULL) return tartan_number(env, 0);
  return tartan_number(env, (int64_t)channel->queued_total);
}

// channelPeer(handle): [pid, uid, gid] of the process that connected or listened, or a negative errno.
static napi_value channel_peer(napi_env env, napi_callback_info info) {
  napi_value argv[1], list;
  tartan_channel *channel;
  struct ucred peer;
  socklen_t length = sizeof peer;
  if (!tartan_args(env, info, argv, 1) || (channel = channel_of(env, argv[0])) == NULL)
    return tartan_number(env, -EPIPE);
  if (getsockopt(channel->fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0) return tartan_number(env, -errno);
  napi_create_array_with_length(env, 3, &list);
  napi_set_element(env, list, 0, tartan_number(env, peer.pid));
  napi_set_element(env, list, 1, tartan_number(env, peer.uid));
  napi_set_element(env, list, 2, tartan_number(env, peer.gid));
  return list;
}

// channelKeepAlive(handle, enabled): whether the open channel keeps the event loop running.
static napi_value channel_keep_alive(napi_env env, napi_callback_info info) {
  napi_value argv[2];
  tartan_channel *channel;
  bool enabled = true;
  if (!tartan_args(env, info, argv, 2) || (channel = channel_of(env, argv[0])) == NULL)
    return tartan_number(env, -EPIPE);
  napi_get_value_bool(env, argv[1], &enabled);
  if (enabled)
    uv_ref((uv_handle_t *)&channel->poll);
  else
    uv_unref((uv_handle_t *)&channel->poll);
  return tartan_number(env, 0);
}

// channelClose(handle): at once; what is queued is dropped.
static napi_value channel_close(napi_env env, napi_callback_info info) {
  napi_value argv[1];
  tartan_channel *channel;
  if (tartan_args(env, info, argv, 1) && (channel = channel_of(env, argv[0])) != NULL) close_channel(channel);
  return tartan_undefined(env);
}

napi_value tartan_channel_init(napi_env env, napi_value exports) {
  static const tartan_function functions[] = {
      {"channelOpen", channel_open},           {"channelSend", channel_send}, {"channelRead", channel_read},
      {"channelQueued", channel_queued},       {"channelPeer", channel_peer}, {"channelClose", channel_close},
      {"channelKeepAlive", channel_keep_alive},
  };
  tartan_define(env, exports, functions, sizeof functions / sizeof functions[0]);
  return exports;
}
