/* The LMDB environment: the directory, its lock, the named databases, and what
 * a read or write transaction needs. docs/format.md, "The LMDB environment".
 * Opened and closed by store.c. Write transactions belong to who ends a flush,
 * one at a time (store/flush.c); read transactions to any thread. */
#pragma once

#include "base/err.h"
#include "store/meta.h"

#include <lmdb.h>

struct environment {
    MDB_env *env;
    MDB_dbi blocks[TIERS];
    MDB_dbi meta, totals, checkpoint, addresses, roster;
    char *path;    /* owned */
    int directory; /* descriptor with the lock, -1 = none */
};

/* Makes the directory (0700) and the databases if they are missing. One
 * process at a time: ERR_DENIED if another has it open. @map_bytes 0: twice the
 * size of the file system, from 64 GiB to 16 TiB. */
NODISCARD int environment_open(struct environment *env, const char *path,
                               uint64_t map_bytes, struct errmsg *e);
/* The same without the store's databases, for an environment of another kind
 * (store/raw_file): the directory with its lock, looked at and mapped. */
NODISCARD int environment_open_bare(struct environment *env, const char *path,
                                    uint64_t map_bytes, struct errmsg *e);
void environment_close(struct environment *env);

/* A snapshot of the file with the meta record it holds. The caller ends it with
 * mdb_txn_abort. */
NODISCARD int environment_read(const struct environment *env, MDB_txn **txn,
                               struct meta *meta, struct errmsg *e);

/* Bytes of the file in use, and of the map. */
void environment_size(const struct environment *env, uint64_t *used,
                      uint64_t *map);

static inline struct bytes bytes_of_val(const MDB_val *v)
{
    return (struct bytes){v->mv_data, v->mv_size};
}

/* LMDB does not write through its inputs, it only lacks the const. */
static inline MDB_val val_of(const void *data, size_t size)
{
    union {
        const void *in;
        void *out;
    } cast = {.in = data};
    return (MDB_val){size, cast.out};
}

extern const struct bytes meta_key;
