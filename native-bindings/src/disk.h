// File transfers of the disk queue: one slot an operation, and the two engines that carry them out.
//
// A transfer is whole: short results are continued until the end. A write's result is its length or a negative
// errno; a read's is the bytes read, fewer than asked only at the end of the file, or a negative errno.
#ifndef TARTAN_DISK_H
#define TARTAN_DISK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>
#include <uv.h>

#include "slab.h"

#define MAX_PARTS 8
// The most that one read or write system call transfers.
#define MAX_TRANSFER_BYTES 0x7ffff000

typedef enum { DISK_READ, DISK_WRITE, DISK_SYNC, DISK_ALLOCATE } disk_operation;

typedef struct {
  disk_operation operation;
  int fd;
  int flags;             // RWF_* of a transfer, the mode of an allocation
  int64_t offset_bytes;
  int64_t length_bytes;  // of all parts together, or of the allocated range
  int64_t done_bytes;
  struct iovec parts[MAX_PARTS];
  int part_count;
  int first_part;        // parts before it are done
} disk_request;

// Takes the outcome of one system call into account. True when the request is over, with *result set; false when
// the rest of it has to be issued.
bool disk_advance(disk_request *request, int64_t outcome, int32_t *result);

// Carries the request out in this thread.
int32_t disk_execute(disk_request *request);

// io_uring without a library.
typedef struct {
  int fd;
  unsigned entries, unsubmitted;
  unsigned *sq_head, *sq_tail, *cq_head, *cq_tail;
  unsigned sq_mask, cq_mask;
  struct io_uring_sqe *sqes;
  struct io_uring_cqe *cqes;
  void *rings;
  size_t rings_bytes, sqes_bytes;
} disk_ring;

int disk_ring_open(disk_ring *ring, unsigned entries);
void disk_ring_close(disk_ring *ring);
// False when the submission queue is full. The request stays where it is until its completion.
bool disk_ring_push(disk_ring *ring, const disk_request *request, uint32_t id);
// Hands what was pushed to the kernel, and waits for `wait_count` completions.
int disk_ring_enter(disk_ring *ring, unsigned wait_count);
// Does a completion wait?
bool disk_ring_ready(const disk_ring *ring);
bool disk_ring_reap(disk_ring *ring, uint32_t *id, int32_t *outcome);

#endif
