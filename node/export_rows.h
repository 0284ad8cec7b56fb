/* Rows of an export, as CSV (RFC 4180, with a header line) or as JSON, an
 * object a line. A row is its columns in their order; what they are called says
 * the list given at the beginning. No thread: into a buffer. */
#pragma once

#include "node/json_out.h"

enum { EXPORT_COLUMNS_MAX = 24 };

struct export_rows {
    struct buf buf; /* owned */
    bool csv;
    const char *const *columns; /* NULL-terminated; static */
    size_t count, at;
    struct json_out json;
};

void rows_begin(struct export_rows *r, bool csv, const char *const *columns);
void rows_deinit(struct export_rows *r);

void row_begin(struct export_rows *r);
void row_end(struct export_rows *r);

void row_null(struct export_rows *r);
void row_uint(struct export_rows *r, uint64_t value);
void row_bool(struct export_rows *r, bool value);
/* RFC 3339 in UTC, with milliseconds. */
void row_time(struct export_rows *r, uint64_t unix_ms);
/* What is no UTF-8 shows replacement characters. */
void row_text(struct export_rows *r, struct bytes value);
void row_string(struct export_rows *r, const char *value);
/* 32 bytes in base64. */
void row_key(struct export_rows *r, const uint8_t *key);
