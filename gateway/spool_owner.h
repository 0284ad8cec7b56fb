/* The file "session" of a spool directory: whose batches lie there. It is
 * replaced whole, and without it nothing there counts. Blocking; used by
 * spool_dir.c. docs/format.md, "The agent's spool" */
#pragma once

#include "base/err.h"
#include "gateway/machine.h"

enum { SPOOL_ID_LENGTH_MAX = 253 };

struct spool_owner {
    uint64_t session;
    uint8_t machine[MACHINE_HASH_SIZE];
    char gateway_id[SPOOL_ID_LENGTH_MAX + 1];
};

/* Durable when it returns 0. ERR_IO, ERR_NOSPACE, ERR_NOMEM. */
NODISCARD int spool_owner_write(const char *directory,
                                const struct spool_owner *owner,
                                struct errmsg *e);

/* ERR_NOTFOUND: nobody's. ERR_CORRUPT, ERR_NEWER, ERR_IO. */
NODISCARD int spool_owner_read(const char *directory, struct spool_owner *out,
                               struct errmsg *e);

/* Durable too; fine if there is none. ERR_IO. */
NODISCARD int spool_owner_remove(const char *directory, struct errmsg *e);
