/* One export under way: what was asked for, and the rows on their way into the
 * stream. The question is read by api_export.c on the http thread; export_raw.c
 * and export_buckets.c make the rows on the stream's own. They hold no read
 * transaction and no lock while they wait for the client. */
#pragma once

#include "node/export_rows.h"
#include "node/http_stream.h"

enum {
    EXPORT_PIECE_SIZE = 64 * 1024,
    /* Rows for which the roster is locked at once. */
    EXPORT_ROWS_LOCKED = 256,
};

struct export
{
    struct http_stream stream;
    struct node *node; /* borrowed */
    uint64_t from_ms, to_ms;
    uint32_t location; /* 0: all */
    struct export_rows rows;
};

/* Hands over what has gathered, if it is worth it or @all. */
NODISCARD int export_send(struct export *x, bool all);

/* Raw reports that the log took in [from, to), in its order. */
extern const char *const export_raw_columns[];
NODISCARD int export_raw(struct export *x, struct errmsg *e);

/* Buckets that begin in [from, to). */
extern const char *const export_bucket_columns[];
NODISCARD int export_minutes(struct export *x, struct errmsg *e);
NODISCARD int export_hours(struct export *x, struct errmsg *e);
NODISCARD int export_days(struct export *x, struct errmsg *e);
