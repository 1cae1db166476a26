// Unix socket addresses: listening, accepting and connecting. Connections are plain descriptors here; channel.c
// makes channels of them.
//
// A path longer than a socket address holds is reached through a descriptor of its directory. A socket file that
// nobody answers on is replaced; any other file is left alone. Two processes that start on one path at the same time
// must be kept apart by their owner.
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <uv.h>

#include "common.h"

#define BACKLOG 512
#define MAX_ACCEPTS_A_TURN 16

typedef struct {
  struct sockaddr_un address;
  int directory; // or -1 when the path fits
} socket_address;

typedef struct {
  napi_env env;
  napi_ref on_connection;
  napi_async_cleanup_hook_handle hook;
  uv_poll_t poll;
  int fd, spare_fd;
  char path[PATH_MAX];
  dev_t device;
  ino_t inode;
  bool closed;
  int owners; // the JavaScript handle, and the event loop
} tartan_listener;

static int address_of(const char *path, socket_address *result) {
  memset(result, 0, sizeof *result);
  result->directory = -1;
  result->address.sun_family = AF_UNIX;
  size_t room = sizeof result->address.sun_path;
  if (strlen(path) < room) {
    strcpy(result->address.sun_path, path);
    return 0;
  }
  char parent[PATH_MAX];
  const char *slash = strrchr(path, '/');
  if (slash == NULL || strlen(path) >= sizeof parent) return -ENAMETOOLONG;
  memcpy(parent, path, (size_t)(slash - path));
  parent[slash - path] = 0;
  result->directory = open(parent, O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (result->directory < 0) return -errno;
  int length = snprintf(result->address.sun_path, room, "/proc/self/fd/%d/%s", result->directory, slash + 1);
  if (length < (int)room) return 0;
  close(result->directory);
  return -ENAMETOOLONG;
}

static void address_done(const socket_address *address) {
  if (address->directory >= 0) close(address->directory);
}

// A connected descriptor, or a negative errno. EAGAIN: the listener's backlog is full.
static int connect_path(const char *path) {
  socket_address address;
  int result = address_of(path, &address);
  if (result < 0) return result;
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  result = fd;
  if (fd < 0 || connect(fd, (struct sockaddr *)&address.address, sizeof address.address) != 0) {
    result = -errno;
    if (fd >= 0) close(fd);
  }
  address_done(&address);
  return result;
}

// Removes a socket file that nobody listens on. Returns 0 when the path is free now.
static int remove_stale(const char *path) {
  struct stat status;
  if (lstat(path, &status) != 0) return errno == ENOENT ? 0 : -errno;
  if (!S_ISSOCK(status.st_mode)) return -EADDRINUSE;
  int fd = connect_path(path);
  if (fd >= 0) close(fd);
  if (fd != -ECONNREFUSED) return -EADDRINUSE;
  return unlink(path) == 0 || errno == ENOENT ? 0 : -errno;
}

// The mode is set before the name exists, so that it is never more open than asked for, and after it, because the
// umask may have taken away too much.
static int bind_path(int fd, const char *path, mode_t mode) {
  socket_address address;
  int result = address_of(path, &address);
  if (result < 0) return result;
  fchmod(fd, mode);
  if (bind(fd, (struct sockaddr *)&address.address, sizeof address.address) != 0) result = -errno;
  address_done(&address);
  return result;
}

static int listen_path(const char *path, mode_t mode) {
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return -errno;
  int result = bind_path(fd, path, mode);
  if (result == -EADDRINUSE) {
    result = remove_stale(path);
    if (result == 0) result = bind_path(fd, path, mode);
  }
  if (result == 0 && (chmod(path, mode) != 0 || listen(fd, BACKLOG) != 0)) result = -errno;
  if (result == 0) return fd;
  close(fd);
  return result;
}

static void drop_owner(tartan_listener *listener) {
  if (--listener->owners == 0) free(listener);
}

static void on_poll_closed(uv_handle_t *handle) {
  tartan_listener *listener = handle->data;
  napi_remove_async_cleanup_hook(listener->hook);
  drop_owner(listener);
}

static void close_listener(tartan_listener *listener) {
  if (listener->closed) return;
  listener->closed = true;
  struct stat status;
  // The name may be somebody else's by now.
  if (lstat(listener->path, &status) == 0 && status.st_dev == listener->device && status.st_ino == listener->inode)
    unlink(listener->path);
  uv_close((uv_handle_t *)&listener->poll, on_poll_closed);
  close(listener->fd);
  if (listener->spare_fd >= 0) close(listener->spare_fd);
  napi_delete_reference(listener->env, listener->on_connection);
}

// Out of descriptors: a waiting connection would wake the loop forever, so the spare one is spent on refusing it.
static void refuse_one(tartan_listener *listener) {
  if (listener->spare_fd >= 0) close(listener->spare_fd);
  int fd = accept4(listener->fd, NULL, NULL, SOCK_CLOEXEC);
  if (fd >= 0) close(fd);
  listener->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

// onConnection(descriptor), or a negative errno when a connection had to be refused or the listener failed.
static void announce(tartan_listener *listener, int value) {
  napi_handle_scope scope;
  napi_open_handle_scope(listener->env, &scope);
  napi_value argument = tartan_number(listener->env, value);
  tartan_call(listener->env, listener->on_connection, 1, &argument);
  napi_close_handle_scope(listener->env, scope);
}

static void on_poll(uv_poll_t *handle, int status, int events) {
  tartan_listener *listener = handle->data;
  for (int i = 0; i < MAX_ACCEPTS_A_TURN && !listener->closed; i++) {
    int fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
      announce(listener, fd);
      continue;
    }
    int reason = errno;
    if (reason == EAGAIN) return;
    if (reason == EINTR || reason == ECONNABORTED) continue;
    if (reason == EMFILE || reason == ENFILE) refuse_one(listener);
    announce(listener, -reason);
    return;
  }
}

static void on_environment_end(napi_async_cleanup_hook_handle hook, void *data) { close_listener(data); }

static void on_handle_collected(napi_env env, void *data, void *hint) { drop_owner(data); }

static bool path_of(napi_env env, napi_value value, char *path) {
  size_t length;
  return napi_get_value_string_utf8(env, value, path, PATH_MAX, &length) == napi_ok && length > 0 &&
         length < PATH_MAX - 1;
}

// listenerOpen(path, mode, onConnection): a handle, or a negative errno.
static napi_value listener_open(napi_env env, napi_callback_info info) {
  napi_value argv[3], handle;
  uv_loop_t *loop;
  struct stat status;
  tartan_listener *listener = calloc(1, sizeof *listener);
  if (listener == NULL) return tartan_number(env, -ENOMEM);
  if (!tartan_args(env, info, argv, 3) || !path_of(env, argv[0], listener->path) ||
      napi_get_uv_event_loop(env, &loop) != napi_ok) {
    free(listener);
    return tartan_number(env, -EINVAL);
  }
  int result = listener->fd = listen_path(listener->path, (mode_t)tartan_int32(env, argv[1], 0600));
  if (result >= 0) result = uv_poll_init(loop, &listener->poll, listener->fd);
  if (result != 0) {
    if (listener->fd >= 0) close(listener->fd);
    free(listener);
    return tartan_number(env, result);
  }
  if (lstat(listener->path, &status) == 0) {
    listener->device = status.st_dev;
    listener->inode = status.st_ino;
  }
  listener->env = env;
  listener->owners = 2;
  listener->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
  listener->poll.data = listener;
  napi_create_reference(env, argv[2], 1, &listener->on_connection);
  napi_add_async_cleanup_hook(env, on_environment_end, listener, &listener->hook);
  uv_poll_start(&listener->poll, UV_READABLE, on_poll);
  napi_create_external(env, listener, on_handle_collected, NULL, &handle);
  return handle;
}

// listenerClose(handle): at once, and removes the socket file.
static napi_value listener_close(napi_env env, napi_callback_info info) {
  napi_value argv[1];
  void *data = NULL;
  if (tartan_args(env, info, argv, 1) && napi_get_value_external(env, argv[0], &data) == napi_ok) close_listener(data);
  return tartan_undefined(env);
}

// connectUnix(path): a connected descriptor, or a negative errno.
static napi_value connect_unix(napi_env env, napi_callback_info info) {
  napi_value argv[1];
  char path[PATH_MAX];
  if (!tartan_args(env, info, argv, 1) || !path_of(env, argv[0], path)) return tartan_number(env, -EINVAL);
  return tartan_number(env, connect_path(path));
}

napi_value tartan_listener_init(napi_env env, napi_value exports) {
  static const tartan_function functions[] = {
      {"listenerOpen", listener_open},
      {"listenerClose", listener_close},
      {"connectUnix", connect_unix},
  };
  tartan_define(env, exports, functions, sizeof functions / sizeof functions[0]);
  return exports;
}
