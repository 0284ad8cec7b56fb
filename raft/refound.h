/* What the tools of disaster recovery share (recover.c, restore.c, force.c):
 * paths, and the founding of a new cluster of one around a store that is there.
 * Blocking, no thread of a node runs. */
#pragma once

#include "raft/identity.h"
#include "raft/recover.h"

/* ERR_NOSPACE or ERR_IO, from errno. */
int refound_io_error(struct errmsg *e, const char *what, const char *path);
void refound_tell(const struct recover_options *o, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* recover.c: locks the directory of a stopped node and reads who it is. The
 * lock lasts while *lock_fd is open. ERR_INVALID (no data directory), ERR_IO.
 */
NODISCARD int refound_take_directory(const char *data_dir,
                                     struct identity *identity, int *lock_fd,
                                     struct errmsg *e);

/* Puts a raft log that begins where the store in @dir/store ends and, last, an
 * identity around it: another cluster's id, another raft id, one member.
 * @info: what the store holds. */
NODISCARD int refound_around_store(const struct recover_options *o,
                                   const char *dir,
                                   const struct copy_info *info,
                                   struct errmsg *e);

/* restore.c: ERR_EXISTS if the directory holds anything; ERR_IO. */
NODISCARD int refound_check_empty(const char *data_dir, struct errmsg *e);
/* A new, synced file. ERR_IO, ERR_NOSPACE, ERR_NOMEM. */
NODISCARD int refound_copy_file(const char *from_path, const char *to_path,
                                struct errmsg *e);
