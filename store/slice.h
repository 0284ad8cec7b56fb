/* A slice: what devices moved in some buckets of a tier, cell by cell, for
 * export. Each is one view (store/view.h), so that a reader of all that is
 * stored keeps neither a read transaction nor the lock between two of them. Any
 * thread that does not hold roster_read_lock. */
#pragma once

#include "store/cell.h"
#include "store/store.h"

/* Everything that devices moved is in the buckets [*first, *end). Both are 0 if
 * there is nothing. ERR_IO, ERR_CORRUPT. */
NODISCARD int slice_bounds(struct store *s, enum tier tier, uint32_t *first,
                           uint32_t *end, struct errmsg *e);

/* The cells of devices in buckets [from, to), of one location or all (0), in
 * order, each once. @out is emptied before. ERR_NOMEM, ERR_IO, ERR_CORRUPT. */
NODISCARD int slice_read(struct store *s, enum tier tier, uint32_t location,
                         uint32_t from, uint32_t to, struct cells *out,
                         struct errmsg *e);
