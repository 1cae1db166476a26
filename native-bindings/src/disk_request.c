// See disk.h. Also the synchronous calls, which cost less than a hop to another thread when the data is near.
#include "disk.h"

#include <fcntl.h>
#include <unistd.h>

#include "common.h"

static void consume_parts(disk_request *request, size_t bytes) {
  while (bytes > 0) {
    struct iovec *part = &request->parts[request->first_part];
    size_t taken = bytes < part->iov_len ? bytes : part->iov_len;
    part->iov_base = (uint8_t *)part->iov_base + taken;
    part->iov_len -= taken;
    bytes -= taken;
    if (part->iov_len == 0) request->first_part++;
  }
}

bool disk_advance(disk_request *request, int64_t outcome, int32_t *result) {
  if (outcome == -EINTR) return false;
  if (request->operation > DISK_WRITE) {
    *result = (int32_t)outcome;
    return true;
  }
  bool reading = request->operation == DISK_READ;
  // A direct read that went on from an unaligned end of file.
  if (outcome == -EINVAL && reading && request->done_bytes > 0) outcome = 0;
  if (outcome < 0) {
    *result = (int32_t)outcome;
    return true;
  }
  request->done_bytes += outcome;
  consume_parts(request, (size_t)outcome);
  if (request->done_bytes < request->length_bytes && outcome > 0) return false;
  bool whole = request->done_bytes == request->length_bytes;
  *result = whole || reading ? (int32_t)request->done_bytes : -EIO;
  return true;
}

int32_t disk_execute(disk_request *request) {
  int32_t result;
  int64_t outcome;
  do {
    const struct iovec *parts = request->parts + request->first_part;
    int count = request->part_count - request->first_part;
    off_t offset = request->offset_bytes + request->done_bytes;
    switch (request->operation) {
      case DISK_READ: outcome = preadv2(request->fd, parts, count, offset, request->flags); break;
      case DISK_WRITE: outcome = pwritev2(request->fd, parts, count, offset, request->flags); break;
      case DISK_SYNC: outcome = fdatasync(request->fd); break;
      default: outcome = fallocate(request->fd, request->flags, offset, request->length_bytes); break;
    }
    if (outcome < 0) outcome = -errno;
  } while (!disk_advance(request, outcome, &result));
  return result;
}

// (fd, bytes, offset, flags): the result of the transfer.
static napi_value transfer_sync(napi_env env, napi_callback_info info, disk_operation operation) {
  napi_value argv[4];
  uint8_t *data;
  size_t length;
  if (!tartan_args(env, info, argv, 4) || !tartan_bytes(env, argv[1], &data, &length) || length > MAX_TRANSFER_BYTES)
    return tartan_number(env, -EINVAL);
  disk_request request = {.operation = operation,
                          .fd = tartan_int32(env, argv[0], -1),
                          .flags = tartan_int32(env, argv[3], 0),
                          .offset_bytes = tartan_int64(env, argv[2], -1),
                          .length_bytes = (int64_t)length,
                          .parts = {{data, length}},
                          .part_count = 1};
  if (request.offset_bytes < 0) return tartan_number(env, -EINVAL);
  return tartan_number(env, disk_execute(&request));
}

napi_value tartan_pread_sync(napi_env env, napi_callback_info info) { return transfer_sync(env, info, DISK_READ); }
napi_value tartan_pwrite_sync(napi_env env, napi_callback_info info) { return transfer_sync(env, info, DISK_WRITE); }
