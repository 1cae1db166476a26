// The disk queue: asynchronous file transfers for one thread's event loop, by io_uring or, where that is refused, by
// the thread pool. Owns the slots of accepted operations; operations beyond what an engine takes at once wait in it.
//
// What is submitted in one turn goes to the kernel in groups, the last of them just before the loop sleeps (or at an explicit
// flush): the disk works on the first while the turn goes on. Where the disk has been answering within microseconds the loop waits
// awake for it, since waking up takes longer.
// Completions are written as (id, result) pairs into an array that TypeScript shares, and announced once a batch; an
// id is free again only after that call. TypeScript holds the buffers of accepted operations; this file pins slabs.
// The environment's end waits for what is in flight, because its memory goes next.
#include "disk.h"

#include <sched.h>
#include <stdlib.h>

#include "common.h"

#define MAX_QUEUED 4096
#define MAX_POOLED 16
#define NO_SLOT UINT32_MAX
// Operations that wait for the end of the turn at most.
#define GROUP 4
// How long to wait awake for the first completion. Each success earns credit and each wait in vain costs some; without
// credit it is tried again only now and then.
#define AWAKE_NS 40000
#define MAX_CREDIT 16
#define COST_OF_WAITING_IN_VAIN 4
#define RETRY_INTERVAL 64

typedef struct tartan_disk tartan_disk;

typedef struct {
  disk_request request;
  tartan_slab *slabs[MAX_PARTS];
  uint32_t next;
  int32_t result;
  bool pooled;
  uv_work_t work;
  tartan_disk *disk;
} disk_slot;

struct tartan_disk {
  napi_env env;
  napi_ref on_complete, completions_ref;
  napi_async_cleanup_hook_handle hook;
  int32_t *completions;
  uint32_t completion_count, used_slots;
  disk_slot *slots;
  uint32_t free_head, pending_head, pending_tail, pending_count;
  int awake_credit, awake_skipped;
  uint32_t running;   // with the engine
  uint32_t in_flight; // accepted and not yet announced
  bool uses_ring, closing, finished;
  disk_ring ring;
  uv_poll_t poll;
  uv_prepare_t prepare;
  uv_idle_t retry, awake;
  int open_handles;
  int owners; // the JavaScript handle, and the event loop
};

static void drop_owner(tartan_disk *disk) {
  if (--disk->owners == 0) free(disk);
}

static void on_handle_closed(uv_handle_t *handle) {
  tartan_disk *disk = handle->data;
  if (--disk->open_handles > 0) return;
  napi_remove_async_cleanup_hook(disk->hook);
  free(disk->slots);
  drop_owner(disk);
}

// Nothing is in flight any more: give everything back.
static void finish(tartan_disk *disk) {
  if (disk->finished) return;
  disk->finished = true;
  if (disk->uses_ring) {
    uv_close((uv_handle_t *)&disk->poll, on_handle_closed);
    disk_ring_close(&disk->ring);
  }
  napi_delete_reference(disk->env, disk->on_complete);
  napi_delete_reference(disk->env, disk->completions_ref);
  uv_close((uv_handle_t *)&disk->prepare, on_handle_closed);
  uv_close((uv_handle_t *)&disk->retry, on_handle_closed);
  uv_close((uv_handle_t *)&disk->awake, on_handle_closed);
}

static void keep_loop_alive(tartan_disk *disk) {
  if (disk->in_flight > 0)
    uv_ref((uv_handle_t *)&disk->prepare);
  else
    uv_unref((uv_handle_t *)&disk->prepare);
}

// --- slots ---

static void append_pending(tartan_disk *disk, uint32_t id) {
  disk->slots[id].next = NO_SLOT;
  if (disk->pending_head == NO_SLOT)
    disk->pending_head = id;
  else
    disk->slots[disk->pending_tail].next = id;
  disk->pending_tail = id;
  disk->pending_count++;
}

static void remove_first_pending(tartan_disk *disk) {
  disk->pending_head = disk->slots[disk->pending_head].next;
  disk->pending_count--;
}

// A free slot, or NO_SLOT. Slots are touched only when so many are needed at once.
static uint32_t take_slot(tartan_disk *disk) {
  uint32_t id = disk->free_head;
  if (id != NO_SLOT)
    disk->free_head = disk->slots[id].next;
  else if (disk->used_slots < MAX_QUEUED)
    id = disk->used_slots++;
  return id;
}

static void release_slot(tartan_disk *disk, uint32_t id) {
  disk->slots[id].next = disk->free_head;
  disk->free_head = id;
}

static void unpin_parts(disk_slot *slot) {
  for (int i = 0; i < slot->request.part_count; i++) {
    tartan_slab_unpin(slot->slabs[i]);
    slot->slabs[i] = NULL;
  }
}

// --- completions ---

// Tells JavaScript about `count` completions. The queue may be closed when this returns.
static void announce(tartan_disk *disk, uint32_t count) {
  if (count == 0) return;
  disk->in_flight -= count;
  if (disk->closing) return;
  keep_loop_alive(disk);
  napi_handle_scope scope;
  napi_open_handle_scope(disk->env, &scope);
  napi_value argument = tartan_number(disk->env, count);
  tartan_call(disk->env, disk->on_complete, 1, &argument);
  napi_close_handle_scope(disk->env, scope);
  for (uint32_t i = 0; i < count; i++) release_slot(disk, (uint32_t)disk->completions[2 * i]);
}

static uint32_t reap_batch(tartan_disk *disk) {
  uint32_t count = 0, id;
  int32_t outcome, result;
  while (count < disk->completion_count && disk_ring_reap(&disk->ring, &id, &outcome)) {
    disk_slot *slot = &disk->slots[id];
    disk->running--;
    if (!disk_advance(&slot->request, outcome, &result)) {
      append_pending(disk, id);
      continue;
    }
    unpin_parts(slot);
    disk->completions[2 * count] = (int32_t)id;
    disk->completions[2 * count + 1] = result;
    count++;
  }
  return count;
}

static void pool_work(uv_work_t *work) {
  disk_slot *slot = work->data;
  slot->result = disk_execute(&slot->request);
}

static void pool_flush(tartan_disk *disk);

static void pool_done(uv_work_t *work, int status) {
  disk_slot *slot = work->data;
  tartan_disk *disk = slot->disk;
  slot->pooled = false;
  disk->running--;
  unpin_parts(slot);
  disk->completions[0] = (int32_t)(slot - disk->slots);
  disk->completions[1] = status == 0 ? slot->result : status;
  announce(disk, 1);
  if (disk->closing) {
    if (disk->running == 0) finish(disk);
  } else {
    pool_flush(disk);
  }
}

// --- engines ---

static void pool_flush(tartan_disk *disk) {
  uv_loop_t *loop = disk->prepare.loop;
  while (disk->pending_head != NO_SLOT && disk->running < MAX_POOLED) {
    disk_slot *slot = &disk->slots[disk->pending_head];
    remove_first_pending(disk);
    slot->disk = disk;
    slot->work.data = slot;
    slot->pooled = true;
    disk->running++;
    uv_queue_work(loop, &slot->work, pool_work, pool_done);
  }
}

static void on_idle(uv_idle_t *handle) {}

static void ring_flush(tartan_disk *disk) {
  while (disk->pending_head != NO_SLOT && disk->running < disk->ring.entries) {
    uint32_t id = disk->pending_head;
    if (!disk_ring_push(&disk->ring, &disk->slots[id].request, id)) break;
    remove_first_pending(disk);
    disk->running++;
  }
  if (disk->ring.unsubmitted == 0) return;
  // A kernel short of memory is asked again in the next turn, which the idle handle brings on without sleeping.
  if (disk_ring_enter(&disk->ring, 0) == 0)
    uv_idle_stop(&disk->retry);
  else
    uv_idle_start(&disk->retry, on_idle);
}

static void flush(tartan_disk *disk) {
  if (disk->closing || (disk->pending_head == NO_SLOT && disk->ring.unsubmitted == 0)) return;
  if (disk->uses_ring)
    ring_flush(disk);
  else
    pool_flush(disk);
}

static void deliver(tartan_disk *disk) {
  announce(disk, reap_batch(disk));
  flush(disk);
}

// True when a completion came while we waited for it.
static bool wait_awake(tartan_disk *disk) {
  if (disk->awake_credit <= 0) {
    if (++disk->awake_skipped < RETRY_INTERVAL) return false;
    disk->awake_skipped = 0;
  }
  uint64_t until = uv_hrtime() + AWAKE_NS;
  bool came = false;
  while (!(came = disk_ring_ready(&disk->ring)) && uv_hrtime() < until) sched_yield();
  int credit = disk->awake_credit + (came ? 1 : -COST_OF_WAITING_IN_VAIN);
  disk->awake_credit = credit > MAX_CREDIT ? MAX_CREDIT : credit < 0 ? 0 : credit;
  return came;
}

// Just before the loop sleeps. After completions the loop takes another round first, so that new requests are seen.
static void on_prepare(uv_prepare_t *handle) {
  tartan_disk *disk = handle->data;
  flush(disk);
  if (!disk->uses_ring || disk->closing) return;
  if (disk->running > 0 && wait_awake(disk)) {
    uv_idle_start(&disk->awake, on_idle);
    deliver(disk);
  } else {
    uv_idle_stop(&disk->awake);
  }
}

static void on_ring_readable(uv_poll_t *handle, int status, int events) { deliver(handle->data); }

// --- life ---

// The environment ends: what was not handed over is dropped, what was is waited for.
static void on_environment_end(napi_async_cleanup_hook_handle hook, void *data) {
  tartan_disk *disk = data;
  if (disk->finished) return;
  disk->closing = true;
  disk->pending_head = NO_SLOT;
  disk->pending_count = 0;
  if (disk->uses_ring) {
    while (disk->running > 0 && disk_ring_enter(&disk->ring, 1) == 0) reap_batch(disk);
  } else if (disk->running > 0) {
    for (uint32_t id = 0; id < disk->used_slots; id++) {
      if (disk->slots[id].pooled) uv_cancel((uv_req_t *)&disk->slots[id].work);
    }
    return;
  }
  finish(disk);
}

static void on_handle_collected(napi_env env, void *data, void *hint) {
  tartan_disk *disk = data;
  // Collected without close(): nothing is in flight, or the callback would keep the owner alive.
  if (!disk->finished && disk->in_flight == 0) {
    disk->closing = true;
    finish(disk);
  }
  drop_owner(disk);
}

static void start_handles(tartan_disk *disk, uv_loop_t *loop) {
  uv_prepare_init(loop, &disk->prepare);
  uv_idle_init(loop, &disk->retry);
  uv_idle_init(loop, &disk->awake);
  disk->prepare.data = disk->retry.data = disk->awake.data = disk->poll.data = disk;
  disk->open_handles = 3;
  uv_prepare_start(&disk->prepare, on_prepare);
  uv_unref((uv_handle_t *)&disk->prepare);
  uv_unref((uv_handle_t *)&disk->retry);
  uv_unref((uv_handle_t *)&disk->awake);
  if (!disk->uses_ring) return;
  uv_poll_init(loop, &disk->poll, disk->ring.fd);
  disk->poll.data = disk;
  disk->open_handles = 4;
  uv_poll_start(&disk->poll, UV_READABLE, on_ring_readable);
  uv_unref((uv_handle_t *)&disk->poll);
}

// diskOpen(entries, forceThreads, completions: Int32Array, onComplete(count)): a handle, or a negative errno.
static napi_value disk_open(napi_env env, napi_callback_info info) {
  napi_value argv[4], handle;
  uint8_t *completions;
  size_t completion_bytes;
  bool force_threads = false;
  uv_loop_t *loop;
  if (!tartan_args(env, info, argv, 4) || !tartan_bytes(env, argv[2], &completions, &completion_bytes) ||
      completion_bytes < 8 || napi_get_uv_event_loop(env, &loop) != napi_ok)
    return tartan_number(env, -EINVAL);
  napi_get_value_bool(env, argv[1], &force_threads);
  int32_t entries = tartan_int32(env, argv[0], 0);
  tartan_disk *disk = calloc(1, sizeof *disk);
  disk_slot *slots = calloc(MAX_QUEUED, sizeof *slots);
  if (disk == NULL || slots == NULL) {
    free(slots);
    free(disk);
    return tartan_number(env, -ENOMEM);
  }
  disk->env = env;
  disk->slots = slots;
  disk->free_head = disk->pending_head = NO_SLOT;
  disk->owners = 2;
  disk->completions = (int32_t *)completions;
  disk->completion_count = (uint32_t)(completion_bytes / 8);
  // Refused by policy, or a kernel without it: the pool serves as well, only slower.
  disk->uses_ring = !force_threads && disk_ring_open(&disk->ring, (unsigned)entries) == 0;
  napi_create_reference(env, argv[2], 1, &disk->completions_ref);
  napi_create_reference(env, argv[3], 1, &disk->on_complete);
  start_handles(disk, loop);
  napi_add_async_cleanup_hook(env, on_environment_end, disk, &disk->hook);
  napi_create_external(env, disk, on_handle_collected, NULL, &handle);
  return handle;
}

static tartan_disk *disk_of(napi_env env, napi_value value) {
  void *data = NULL;
  if (napi_get_value_external(env, value, &data) != napi_ok) return NULL;
  tartan_disk *disk = data;
  return disk->closing ? NULL : disk;
}

// Accepts an operation, and answers with its id; -EAGAIN when the queue is full.
static napi_value accept_request(tartan_disk *disk, const disk_request *request) {
  uint32_t id = take_slot(disk);
  if (id == NO_SLOT) return tartan_number(disk->env, -EAGAIN);
  disk_slot *slot = &disk->slots[id];
  slot->request = *request;
  for (int i = 0; i < request->part_count; i++) slot->slabs[i] = tartan_slab_pin(request->parts[i].iov_base);
  append_pending(disk, id);
  if (disk->in_flight++ == 0) keep_loop_alive(disk);
  if (disk->uses_ring && disk->pending_count >= GROUP) ring_flush(disk);
  return tartan_number(disk->env, id);
}

static bool add_part(napi_env env, napi_value value, disk_request *request) {
  uint8_t *data;
  size_t length;
  if (request->part_count == MAX_PARTS || !tartan_bytes(env, value, &data, &length)) return false;
  request->parts[request->part_count++] = (struct iovec){data, length};
  request->length_bytes += (int64_t)length;
  return request->length_bytes <= MAX_TRANSFER_BYTES;
}

static bool add_parts(napi_env env, napi_value value, disk_request *request) {
  bool is_array = false;
  napi_is_array(env, value, &is_array);
  if (!is_array) return add_part(env, value, request);
  uint32_t count = 0;
  napi_get_array_length(env, value, &count);
  for (uint32_t i = 0; i < count; i++) {
    napi_value item;
    if (napi_get_element(env, value, i, &item) != napi_ok || !add_part(env, item, request)) return false;
  }
  return count > 0;
}

// diskTransfer(handle, write, fd, bytes | bytes[], offset, rwFlags): an id, or a negative errno.
static napi_value disk_transfer(napi_env env, napi_callback_info info) {
  napi_value argv[6];
  bool write = false;
  tartan_disk *disk;
  if (!tartan_args(env, info, argv, 6) || (disk = disk_of(env, argv[0])) == NULL) return tartan_number(env, -EBADF);
  napi_get_value_bool(env, argv[1], &write);
  disk_request request = {.operation = write ? DISK_WRITE : DISK_READ,
                          .fd = tartan_int32(env, argv[2], -1),
                          .flags = tartan_int32(env, argv[5], 0),
                          .offset_bytes = tartan_int64(env, argv[4], -1)};
  if (!add_parts(env, argv[3], &request) || request.offset_bytes < 0) return tartan_number(env, -EINVAL);
  return accept_request(disk, &request);
}

// diskSync(handle, fd): an id, or a negative errno.
static napi_value disk_sync(napi_env env, napi_callback_info info) {
  napi_value argv[2];
  tartan_disk *disk;
  if (!tartan_args(env, info, argv, 2) || (disk = disk_of(env, argv[0])) == NULL) return tartan_number(env, -EBADF);
  disk_request request = {.operation = DISK_SYNC, .fd = tartan_int32(env, argv[1], -1)};
  return accept_request(disk, &request);
}

// diskAllocate(handle, fd, mode, offset, length): an id, or a negative errno.
static napi_value disk_allocate(napi_env env, napi_callback_info info) {
  napi_value argv[5];
  tartan_disk *disk;
  if (!tartan_args(env, info, argv, 5) || (disk = disk_of(env, argv[0])) == NULL) return tartan_number(env, -EBADF);
  disk_request request = {.operation = DISK_ALLOCATE,
                          .fd = tartan_int32(env, argv[1], -1),
                          .flags = tartan_int32(env, argv[2], 0),
                          .offset_bytes = tartan_int64(env, argv[3], -1),
                          .length_bytes = tartan_int64(env, argv[4], -1)};
  return accept_request(disk, &request);
}

// diskFlush(handle): hands over now what this turn has submitted.
static napi_value disk_flush(napi_env env, napi_callback_info info) {
  napi_value argv[1];
  tartan_disk *disk;
  if (!tartan_args(env, info, argv, 1) || (disk = disk_of(env, argv[0])) == NULL) return tartan_number(env, -EBADF);
  flush(disk);
  return tartan_number(env, 0);
}

// diskEngine(handle): "io_uring" or "threads".
static napi_value disk_engine(napi_env env, napi_callback_info info) {
  napi_value argv[1], name;
  tartan_disk *disk;
  if (!tartan_args(env, info, argv, 1) || (disk = disk_of(env, argv[0])) == NULL) return tartan_number(env, -EBADF);
  napi_create_string_utf8(env, disk->uses_ring ? "io_uring" : "threads", NAPI_AUTO_LENGTH, &name);
  return name;
}

// diskClose(handle): 0; -EBUSY while something is in flight.
static napi_value disk_close(napi_env env, napi_callback_info info) {
  napi_value argv[1];
  tartan_disk *disk;
  if (!tartan_args(env, info, argv, 1) || (disk = disk_of(env, argv[0])) == NULL) return tartan_number(env, -EBADF);
  if (disk->in_flight > 0) return tartan_number(env, -EBUSY);
  disk->closing = true;
  finish(disk);
  return tartan_number(env, 0);
}

napi_value tartan_pread_sync(napi_env env, napi_callback_info info);
napi_value tartan_pwrite_sync(napi_env env, napi_callback_info info);

napi_value tartan_disk_init(napi_env env, napi_value exports) {
  static const tartan_function functions[] = {
      {"diskOpen", disk_open},   {"diskTransfer", disk_transfer}, {"diskSync", disk_sync},
      {"diskFlush", disk_flush}, {"diskAllocate", disk_allocate}, {"diskEngine", disk_engine},
      {"diskClose", disk_close}, {"preadSync", tartan_pread_sync}, {"pwriteSync", tartan_pwrite_sync},
  };
  tartan_define(env, exports, functions, sizeof functions / sizeof functions[0]);
  return exports;
}
