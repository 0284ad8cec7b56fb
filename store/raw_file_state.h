/* What a raw file is made of. Shared by raw_file.c and raw.c; nobody else
 * includes it. */
#pragma once

#include "store/environment.h"
#include "store/raw_file.h"

struct raw_file {
    struct environment env;
    MDB_dbi chunks;
};

/* For the writer: makes what is missing, with a map of @map_bytes. */
NODISCARD int raw_file_make(const char *path, uint64_t map_bytes,
                            struct raw_file **out, struct errmsg *e);

/* Bytes of the chunks, in whole pages. Of LMDB. */
NODISCARD int raw_file_size(const struct raw_file *f, MDB_txn *txn,
                            uint64_t *bytes);
