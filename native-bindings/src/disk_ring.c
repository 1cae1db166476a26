// The io_uring engine on raw system calls. See disk.h.
//
// The ring's own descriptor is what the event loop polls: it is readable while completions wait, so no eventfd has to
// be read. Deferred task work (IORING_SETUP_DEFER_TASKRUN) does not make it readable, and measured no better.
#include <linux/io_uring.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common.h"
#include "disk.h"

// Newer than some distributions' headers; without it (before Linux 5.12) the thread pool serves better.
#ifndef IORING_FEAT_NATIVE_WORKERS
#define IORING_FEAT_NATIVE_WORKERS (1u << 9)
#endif

// A full kernel refuses a submission for a moment; after so many tries it is reported.
#define MAX_ENTER_TRIES 1000

static int setup(unsigned entries, struct io_uring_params *params) {
  memset(params, 0, sizeof *params);
  int fd = (int)syscall(SYS_io_uring_setup, entries, params);
  if (fd < 0) return -errno;
  unsigned needed = IORING_FEAT_SINGLE_MMAP | IORING_FEAT_NODROP | IORING_FEAT_NATIVE_WORKERS;
  if ((params->features & needed) == needed) return fd;
  close(fd);
  return -ENOSYS;
}

int disk_ring_open(disk_ring *ring, unsigned entries) {
  struct io_uring_params params;
  memset(ring, 0, sizeof *ring);
  ring->fd = setup(entries, &params);
  if (ring->fd < 0) return ring->fd;
  size_t sq_bytes = params.sq_off.array + params.sq_entries * sizeof(unsigned);
  size_t cq_bytes = params.cq_off.cqes + params.cq_entries * sizeof(struct io_uring_cqe);
  ring->rings_bytes = sq_bytes > cq_bytes ? sq_bytes : cq_bytes;
  ring->sqes_bytes = params.sq_entries * sizeof(struct io_uring_sqe);
  int protection = PROT_READ | PROT_WRITE, kind = MAP_SHARED | MAP_POPULATE;
  ring->rings = mmap(NULL, ring->rings_bytes, protection, kind, ring->fd, IORING_OFF_SQ_RING);
  ring->sqes = mmap(NULL, ring->sqes_bytes, protection, kind, ring->fd, IORING_OFF_SQES);
  if (ring->rings == MAP_FAILED || (void *)ring->sqes == MAP_FAILED) {
    int reason = errno;
    disk_ring_close(ring);
    return -reason;
  }
  uint8_t *base = ring->rings;
  ring->entries = params.sq_entries;
  ring->sq_head = (unsigned *)(base + params.sq_off.head);
  ring->sq_tail = (unsigned *)(base + params.sq_off.tail);
  ring->sq_mask = *(unsigned *)(base + params.sq_off.ring_mask);
  ring->cq_head = (unsigned *)(base + params.cq_off.head);
  ring->cq_tail = (unsigned *)(base + params.cq_off.tail);
  ring->cq_mask = *(unsigned *)(base + params.cq_off.ring_mask);
  ring->cqes = (struct io_uring_cqe *)(base + params.cq_off.cqes);
  unsigned *order = (unsigned *)(base + params.sq_off.array);
  for (unsigned i = 0; i < params.sq_entries; i++) order[i] = i;
  return 0;
}

void disk_ring_close(disk_ring *ring) {
  if (ring->rings != NULL && ring->rings != MAP_FAILED) munmap(ring->rings, ring->rings_bytes);
  if (ring->sqes != NULL && (void *)ring->sqes != MAP_FAILED) munmap(ring->sqes, ring->sqes_bytes);
  if (ring->fd >= 0) close(ring->fd);
  ring->fd = -1;
  ring->rings = NULL;
  ring->sqes = NULL;
}

static void fill_transfer(struct io_uring_sqe *sqe, const disk_request *request) {
  const struct iovec *parts = request->parts + request->first_part;
  int count = request->part_count - request->first_part;
  bool reading = request->operation == DISK_READ;
  sqe->off = (uint64_t)(request->offset_bytes + request->done_bytes);
  sqe->rw_flags = request->flags;
  if (count == 1) {
    sqe->opcode = reading ? IORING_OP_READ : IORING_OP_WRITE;
    sqe->addr = (uint64_t)(uintptr_t)parts->iov_base;
    sqe->len = (uint32_t)parts->iov_len;
  } else {
    sqe->opcode = reading ? IORING_OP_READV : IORING_OP_WRITEV;
    sqe->addr = (uint64_t)(uintptr_t)parts;
    sqe->len = (uint32_t)count;
  }
}

bool disk_ring_push(disk_ring *ring, const disk_request *request, uint32_t id) {
  unsigned tail = *ring->sq_tail;
  if (tail - __atomic_load_n(ring->sq_head, __ATOMIC_ACQUIRE) >= ring->entries) return false;
  struct io_uring_sqe *sqe = &ring->sqes[tail & ring->sq_mask];
  memset(sqe, 0, sizeof *sqe);
  sqe->fd = request->fd;
  sqe->user_data = id;
  if (request->operation <= DISK_WRITE) {
    fill_transfer(sqe, request);
  } else if (request->operation == DISK_SYNC) {
    sqe->opcode = IORING_OP_FSYNC;
    sqe->fsync_flags = IORING_FSYNC_DATASYNC;
  } else {
    sqe->opcode = IORING_OP_FALLOCATE;
    sqe->off = (uint64_t)request->offset_bytes;
    sqe->addr = (uint64_t)request->length_bytes;
    sqe->len = (uint32_t)request->flags;
  }
  __atomic_store_n(ring->sq_tail, tail + 1, __ATOMIC_RELEASE);
  ring->unsubmitted++;
  return true;
}

int disk_ring_enter(disk_ring *ring, unsigned wait_count) {
  unsigned flags = wait_count > 0 ? IORING_ENTER_GETEVENTS : 0;
  for (int tries = 0; tries < MAX_ENTER_TRIES; tries++) {
    int taken = (int)syscall(SYS_io_uring_enter, ring->fd, ring->unsubmitted, wait_count, flags, NULL, 0);
    if (taken >= 0) {
      ring->unsubmitted -= (unsigned)taken;
      if (ring->unsubmitted == 0) return 0;
    } else if (errno != EINTR && errno != EAGAIN && errno != EBUSY) {
      return -errno;
    }
  }
  return -EAGAIN;
}

bool disk_ring_ready(const disk_ring *ring) {
  return *ring->cq_head != __atomic_load_n(ring->cq_tail, __ATOMIC_ACQUIRE);
}

bool disk_ring_reap(disk_ring *ring, uint32_t *id, int32_t *outcome) {
  unsigned head = *ring->cq_head;
  if (head == __atomic_load_n(ring->cq_tail, __ATOMIC_ACQUIRE)) return false;
  const struct io_uring_cqe *cqe = &ring->cqes[head & ring->cq_mask];
  *id = (uint32_t)cqe->user_data;
  *outcome = cqe->res;
  __atomic_store_n(ring->cq_head, head + 1, __ATOMIC_RELEASE);
  return true;
}
