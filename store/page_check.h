/* A closed data.mdb, looked at before LMDB maps it. LMDB trusts every byte: a
 * file that was cut ends in SIGBUS, a page of rubbish in SIGSEGV, now or at a
 * query weeks later. This walks the trees with pread and checks what LMDB will
 * follow: page numbers, kinds, bounds of nodes, order of keys, overflow runs,
 * and that no page is both used and free. docs/format.md, "The LMDB
 * environment". Any thread, while nobody else has the file open. */
#pragma once

#include "base/err.h"

#include <stdint.h>

/* In a larger file the leaves of the blocks and totals are not read: a start
 * must not take minutes. */
#define PAGE_CHECK_WHOLE_BYTES_MAX ((uint64_t)1 << 30)

/* @directory: of the environment. 0: sound, or no file yet (or an empty one,
 * which LMDB makes anew). ERR_CORRUPT, ERR_NEWER (another version of LMDB),
 * ERR_IO, ERR_NOMEM; the message names the file. */
NODISCARD int page_check(const char *directory, uint64_t whole_bytes_max,
                         struct errmsg *e);
