// Shared memory between the processes of one machine: a sealed memfd, mapped whole. A slab's size is sealed by its creator and
// the seal is checked by whoever maps it, so no peer can shrink it under a reader (SIGBUS). Its creator also takes its memory, on
// a thread of its own, because that may last half a second: until then each page is taken when somebody first uses it.
//
// A mapping lives until its ArrayBuffer is gone (closed or collected) and no transfer pins it. Descriptors belong to
// the TypeScript face. Also here: private page-aligned memory, which has the same life but no pins.
//
// Both are made of huge pages where the system lets them: a transfer of hundreds of scattered pages takes the disk's queue
// much longer than one of a whole piece.
#include "slab.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "task.h"

#define HUGE_PAGE_BYTES (2u << 20)
#define PAGE_BYTES 4096u
#define MAPPED_BYTES (256u << 10)
#define NO_DESCRIPTOR (-1)

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

struct tartan_slab {
  uint8_t *start;
  size_t length_bytes;
  int pins;
  bool released;
  tartan_slab *next;
};

// Every mapped slab of the process. A process has a handful, so a list is searched on every pin.
static tartan_slab *slabs;
static pthread_mutex_t slabs_lock = PTHREAD_MUTEX_INITIALIZER;

tartan_slab *tartan_slab_pin(const void *address) {
  const uint8_t *at = address;
  pthread_mutex_lock(&slabs_lock);
  tartan_slab *slab = slabs;
  while (slab != NULL && !(at >= slab->start && at < slab->start + slab->length_bytes)) slab = slab->next;
  if (slab != NULL) slab->pins++;
  pthread_mutex_unlock(&slabs_lock);
  return slab;
}

// Takes the slab off the list when nothing holds it any more; the caller then unmaps it. Called locked.
static bool unlink_if_free(tartan_slab *slab) {
  if (!slab->released || slab->pins > 0) return false;
  tartan_slab **link = &slabs;
  while (*link != slab) link = &(*link)->next;
  *link = slab->next;
  return true;
}

static void destroy(tartan_slab *slab) {
  munmap(slab->start, slab->length_bytes);
  free(slab);
}

void tartan_slab_unpin(tartan_slab *slab) {
  if (slab == NULL) return;
  pthread_mutex_lock(&slabs_lock);
  slab->pins--;
  bool unmap = unlink_if_free(slab);
  pthread_mutex_unlock(&slabs_lock);
  if (unmap) destroy(slab);
}

static void release_slab(napi_env env, void *data, void *hint) {
  tartan_slab *slab = hint;
  pthread_mutex_lock(&slabs_lock);
  slab->released = true;
  bool unmap = unlink_if_free(slab);
  pthread_mutex_unlock(&slabs_lock);
  if (unmap) destroy(slab);
}

// Asks for huge pages where shared memory does not get them by itself, which is so on most systems. Each has to have one small page
// to begin with. Does what it can: Linux from 6.1 on, with enough memory in one piece. Piece by piece, because the process cannot map
// anything else during a call.
static int populate(uint8_t *start, size_t length) {
  for (size_t at = 0; at < length; at += HUGE_PAGE_BYTES) {
    size_t piece = length - at < HUGE_PAGE_BYTES ? length - at : HUGE_PAGE_BYTES;
    if (piece == HUGE_PAGE_BYTES && madvise(start + at, PAGE_BYTES, MADV_POPULATE_WRITE) == 0)
      madvise(start + at, piece, MADV_COLLAPSE);
    if (madvise(start + at, piece, MADV_POPULATE_WRITE) != 0) return -errno;
  }
  return 0;
}

typedef struct {
  tartan_slab *slab;
  size_t touched_bytes;
} slab_pages;

// Memory that does not exist is an error here, before it is a signal.
static void populate_work(tartan_task *task) {
  slab_pages pages;
  memcpy(&pages, task->bytes, sizeof pages);
  int result = populate(pages.slab->start, pages.touched_bytes);
  // Before Linux 5.14 pages can only be reserved for all that follows; so is what is not touched.
  if (result == -EINVAL) result = 0;
  if (result == 0 && fallocate(task->fd, 0, 0, (off_t)pages.slab->length_bytes) != 0) result = -errno;
  task->result = result;
  close(task->fd);
  tartan_slab_unpin(pages.slab);
}

// Maps the whole descriptor, or private memory for NO_DESCRIPTOR, at a huge-page boundary. NULL with errno set when it cannot be done.
static uint8_t *map_aligned(int fd, size_t length) {
  size_t reserved = length + HUGE_PAGE_BYTES;
  uint8_t *area = mmap(NULL, reserved, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (area == MAP_FAILED) return NULL;
  uint8_t *start = (uint8_t *)(((uintptr_t)area + HUGE_PAGE_BYTES - 1) & ~(uintptr_t)(HUGE_PAGE_BYTES - 1));
  int kind = fd == NO_DESCRIPTOR ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED;
  uint8_t *mapped = mmap(start, length, PROT_READ | PROT_WRITE, kind | MAP_FIXED, fd, 0);
  if (mapped == MAP_FAILED) {
    int reason = errno;
    munmap(area, reserved);
    errno = reason;
    return NULL;
  }
  if (start > area) munmap(area, (size_t)(start - area));
  uint8_t *end = start + length;
  if (end < area + reserved) munmap(end, (size_t)(area + reserved - end));
  // A hint only: refused where the system keeps huge pages away.
  madvise(start, length, MADV_HUGEPAGE);
  return start;
}

static uint8_t *map_pages(size_t length) {
  void *start = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return start == MAP_FAILED ? NULL : start;
}

static napi_value slab_buffer(napi_env env, int fd, size_t length) {
  tartan_slab *slab = calloc(1, sizeof *slab);
  if (slab == NULL) return tartan_number(env, -ENOMEM);
  slab->start = map_aligned(fd, length);
  if (slab->start == NULL) {
    int reason = errno;
    free(slab);
    return tartan_number(env, -reason);
  }
  slab->length_bytes = length;
  pthread_mutex_lock(&slabs_lock);
  slab->next = slabs;
  slabs = slab;
  pthread_mutex_unlock(&slabs_lock);
  napi_value buffer;
  if (napi_create_external_arraybuffer(env, slab->start, length, release_slab, slab, &buffer) != napi_ok) {
    release_slab(env, slab->start, slab);
    return tartan_number(env, -ENOMEM);
  }
  return buffer;
}

// slabCreate(lengthBytes): a descriptor of zeroed, sealed memory, or a negative errno.
static napi_value slab_create(napi_env env, napi_callback_info info) {
  napi_value argv[1];
  if (!tartan_args(env, info, argv, 1)) return tartan_number(env, -EINVAL);
  int64_t length = tartan_int64(env, argv[0], 0);
  if (length <= 0) return tartan_number(env, -EINVAL);
  int fd = memfd_create("tartan-slab", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (fd < 0) return tartan_number(env, -errno);
  if (ftruncate(fd, length) != 0 || fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
    int reason = errno;
    close(fd);
    return tartan_number(env, -reason);
  }
  return tartan_number(env, fd);
}

// slabMap(fd, lengthBytes): an ArrayBuffer over the descriptor's memory, or a negative errno. EPERM: not sealed.
static napi_value slab_map(napi_env env, napi_callback_info info) {
  napi_value argv[2];
  if (!tartan_args(env, info, argv, 2)) return tartan_number(env, -EINVAL);
  int fd = tartan_int32(env, argv[0], -1);
  int64_t length = tartan_int64(env, argv[1], 0);
  struct stat status;
  if (length <= 0) return tartan_number(env, -EINVAL);
  int seals = fcntl(fd, F_GET_SEALS);
  if (seals < 0) return tartan_number(env, -errno);
  if ((seals & F_SEAL_SHRINK) == 0) return tartan_number(env, -EPERM);
  if (fstat(fd, &status) != 0) return tartan_number(env, -errno);
  if (status.st_size < length) return tartan_number(env, -EINVAL);
  return slab_buffer(env, fd, (size_t)length);
}

// slabPopulate(fd, arrayBuffer, touchedBytes) -> Promise of 0 or a negative errno. Takes all of the memory, and maps the first touchedBytes.
static napi_value slab_populate(napi_env env, napi_callback_info info) {
  napi_value argv[3];
  void *start = NULL;
  size_t length = 0;
  if (!tartan_args(env, info, argv, 3) || napi_get_arraybuffer_info(env, argv[1], &start, &length) != napi_ok)
    return tartan_number(env, -EINVAL);
  int64_t touched = tartan_int64(env, argv[2], -1);
  if (touched < 0 || (size_t)touched > length) return tartan_number(env, -EINVAL);
  slab_pages pages = {.slab = tartan_slab_pin(start), .touched_bytes = (size_t)touched};
  if (pages.slab == NULL) return tartan_number(env, -EINVAL);
  tartan_task *task = tartan_task_new(sizeof pages);
  // A duplicate, so that closing the slab cannot hand its number to somebody else's file.
  int fd = task == NULL ? -1 : fcntl(tartan_int32(env, argv[0], -1), F_DUPFD_CLOEXEC, 0);
  if (fd < 0) {
    int reason = task == NULL ? ENOMEM : errno;
    free(task);
    tartan_slab_unpin(pages.slab);
    return tartan_number(env, -reason);
  }
  task->work = populate_work;
  task->fd = fd;
  memcpy(task->bytes, &pages, sizeof pages);
  return tartan_task_start(env, task);
}

// detachBuffer(arrayBuffer): 0 or -EINVAL. Views become empty; the memory goes once nothing pins it.
static napi_value detach_buffer(napi_env env, napi_callback_info info) {
  napi_value argv[1];
  if (!tartan_args(env, info, argv, 1) || napi_detach_arraybuffer(env, argv[0]) != napi_ok)
    return tartan_number(env, -EINVAL);
  return tartan_number(env, 0);
}

static void release_allocated(napi_env env, void *data, void *hint) { free(data); }

static void release_mapped(napi_env env, void *data, void *hint) { munmap(data, (size_t)(uintptr_t)hint); }

// alignedMemory(lengthBytes, alignmentBytes): an ArrayBuffer of zeroed private memory, or a negative errno. What is large is mapped, and its pages
// are taken when they are first used: many buffers are as large as what they hold may get, and a process that starts has no time for that.
static napi_value aligned_memory(napi_env env, napi_callback_info info) {
  napi_value argv[2], buffer;
  if (!tartan_args(env, info, argv, 2)) return tartan_number(env, -EINVAL);
  int64_t length = tartan_int64(env, argv[0], 0), alignment = tartan_int64(env, argv[1], 0);
  if (length <= 0 || alignment < 8 || (alignment & (alignment - 1)) != 0) return tartan_number(env, -EINVAL);
  bool mapped = length >= MAPPED_BYTES && length % PAGE_BYTES == 0 && alignment <= PAGE_BYTES;
  void *start = NULL;
  if (mapped) {
    start = length >= HUGE_PAGE_BYTES ? map_aligned(NO_DESCRIPTOR, (size_t)length) : map_pages((size_t)length);
    if (start == NULL) return tartan_number(env, -errno);
  } else {
    int reason = posix_memalign(&start, (size_t)alignment, (size_t)length);
    if (reason != 0) return tartan_number(env, -reason);
    memset(start, 0, (size_t)length);
  }
  napi_finalize release = mapped ? release_mapped : release_allocated;
  if (napi_create_external_arraybuffer(env, start, (size_t)length, release, (void *)(uintptr_t)length, &buffer) != napi_ok) {
    release(env, start, (void *)(uintptr_t)length);
    return tartan_number(env, -ENOMEM);
  }
  return buffer;
}

napi_value tartan_slab_init(napi_env env, napi_value exports) {
  static const tartan_function functions[] = {
      {"slabCreate", slab_create},
      {"slabMap", slab_map},
      {"slabPopulate", slab_populate},
      {"detachBuffer", detach_buffer},
      {"alignedMemory", aligned_memory},
  };
  tartan_define(env, exports, functions, sizeof functions / sizeof functions[0]);
  return exports;
}
