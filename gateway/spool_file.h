/* One file of the spool on disk: records that are only ever appended, each with
 * a checksum that also covers its place and its file, so that nothing an older
 * file left on the same blocks is taken for a record. A record is on the disk
 * when the append returns 0. Blocking; on the agent's only thread. What is in
 * the records is spool_record's, which files there are is spool_dir's.
 * docs/format.md, "The agent's spool" */
#pragma once

#include "base/bytes.h"

enum {
    SPOOL_FILE_HEADER_SIZE = 32,
    SPOOL_FRAME_SIZE = 12, /* of a record, before its payload */
    SPOOL_FILE_SIZE_MAX = 1024 * 1024 * 1024,
};

struct spool_file {
    int fd;           /* owned; -1: closed */
    uint64_t session; /* whose batches these are */
    uint64_t first;   /* number of its first batch */
    uint64_t size;    /* bytes of whole records */
    uint64_t salt;    /* of the checksums */
};

/* Made anew, with its header, which is durable with the first record. ERR_IO,
 * ERR_NOSPACE, ERR_DENIED; the messages of this file name @path. If it is open
 * after an error, the file is there and its header perhaps not. */
NODISCARD int spool_file_create(struct spool_file *f, const char *path,
                                uint64_t session, uint64_t first,
                                struct errmsg *e);

/* Writes a record behind the others and syncs it. After an error the file is
 * cut back to what it had, if that is possible, and is not to be trusted. */
NODISCARD int spool_file_append(struct spool_file *f, const char *path,
                                struct bytes payload, struct errmsg *e);

/* Opens a file that is there and tells each of its records. A tail that was
 * never synced (the record is cut or does not fit its checksum, and no record
 * follows) is cut off. ERR_NOTFOUND: not even its header was synced.
 * ERR_CORRUPT (damaged elsewhere), ERR_NEWER, ERR_IO, ERR_NOMEM, or what @each
 * returned. */
typedef int spool_record_fn(void *arg, struct bytes payload, struct errmsg *e);
NODISCARD int spool_file_open(struct spool_file *f, const char *path,
                              spool_record_fn *each, void *arg,
                              struct errmsg *e);

void spool_file_close(struct spool_file *f);
