/* Blocking reads and writes on a peer's socket, for the threads that carry
 * copies of the store: the loop has said hello on it and hands it over. */
#pragma once

#include "base/err.h"

#include <uv.h>

enum { PEER_IO_SILENCE_S_MAX = 20 };

/* Takes the socket out of @stream, which is closed and freed (raft_free): a
 * descriptor that blocks, or -1. Raft loop. */
int peer_io_take(uv_stream_t *stream);

/* All of it. ERR_CLOSED, ERR_TIMEOUT (nothing moved for PEER_IO_SILENCE_S_MAX),
 * ERR_IO. */
NODISCARD int peer_io_read(int fd, void *data, size_t size, struct errmsg *e);
NODISCARD int peer_io_write(int fd, const void *data, size_t size,
                            struct errmsg *e);

/* Holds a transfer to a rate: sleeps when @bytes since the start are too many.
 * Zero-initialise. */
struct pace {
    uint64_t started_ns;
};
void pace_keep(struct pace *pace, uint64_t bytes, uint64_t bytes_per_s);
