/* The directory of an agent's spool (--spool-dir): one session of one gateway,
 * as files of records that follow each other. Another session replaces it when
 * its first record is on the disk. What is acknowledged goes by whole files.
 * Locked for one process. Blocking; on the agent's only thread; used by
 * session_disk.c. docs/format.md, "The agent's spool" */
#pragma once

#include "base/durable.h"
#include "gateway/spool_file.h"
#include "gateway/spool_owner.h"

struct spool_segment {
    uint64_t first; /* number of its first batch */
    uint64_t size;
};

struct spool_dir {
    char path[DURABLE_PATH_SIZE];
    struct spool_owner owner; /* session 0: what is there does not count */
    uint64_t bytes_max;       /* of all segments */
    int lock;                 /* owned descriptor; -1: closed */
    struct spool_segment *segments; /* owned; oldest first */
    size_t count, capacity;
    uint64_t bytes;         /* of all segments */
    struct spool_file file; /* the newest segment, if records may follow */
    uint64_t begin_size;    /* of that, with its first record */
    uint64_t begun;         /* newest session that ever had a file here */
};

/* Makes the directory if need be, and locks it. The message says what to do.
 * ERR_EXISTS: another agent uses it. ERR_FOREIGN: it is another gateway's,
 * or holds other files and no spool: nothing was written there. ERR_NEWER,
 * ERR_INVALID, ERR_NOSPACE, ERR_IO. */
NODISCARD int spool_dir_open(struct spool_dir *d, const char *path,
                             uint64_t bytes_max, const char *gateway_id,
                             const uint8_t machine[MACHINE_HASH_SIZE],
                             struct errmsg *e);

/* Tells every record of the session that is there, in order, and cuts a torn
 * tail. *session is 0 if there is none, or it is another machine's.
 * ERR_CORRUPT, ERR_NEWER, ERR_IO, ERR_NOMEM, or what @each returned: make it
 * void then, unless it is ERR_NEWER. */
NODISCARD int spool_dir_read(struct spool_dir *d, spool_record_fn *each,
                             void *arg, uint64_t *session, struct errmsg *e);

/* The next record of @session begins a file, so it must hold all peers. */
bool spool_dir_begins(const struct spool_dir *d, uint64_t session);

/* Adds a record whose first batch is number @first; it is on the disk when this
 * returns 0. ERR_LIMIT: there would be more than bytes_max, nothing was added.
 * After another error what is there must be made void. */
NODISCARD int spool_dir_append(struct spool_dir *d, uint64_t session,
                               uint64_t first, struct bytes payload,
                               struct errmsg *e);

/* Removes the segments that hold nothing above @sequence. */
void spool_dir_acknowledge(struct spool_dir *d, uint64_t sequence);

/* What is there does not count any more, after a restart neither. ERR_IO: it
 * may still. */
NODISCARD int spool_dir_void(struct spool_dir *d, struct errmsg *e);

/* Zero-initialise what is never opened. */
void spool_dir_close(struct spool_dir *d);
