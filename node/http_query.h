/* What stands in a request's target: percent escapes, the query string, times
 * and numbers. Pure functions over untrusted bytes, no allocation
 * (node/fuzz/fuzz_http_query.c). */
#pragma once

#include "base/bytes.h"

enum {
    QUERY_SIZE_MAX = 2048,
    QUERY_PARAMS_MAX = 16,
    TIME_TEXT_SIZE = 32, /* of time_format, NUL included */
};

/* Decodes %XX of @raw into @out (NUL-terminated, room for @capacity bytes).
 * '+' stays '+', as RFC 3986 has it, so that "+02:00" in a time survives.
 * Returns the length; ERR_INVALID for a cut escape, NUL, or what is no UTF-8;
 * ERR_LIMIT when it does not fit. */
NODISCARD int percent_decode(struct bytes raw, char *out, size_t capacity);

struct query_param {
    const char *name, *value; /* borrowed from the query; value may be "" */
};

struct query_params {
    struct query_param params[QUERY_PARAMS_MAX];
    size_t count;
    char text[QUERY_SIZE_MAX + 2 * QUERY_PARAMS_MAX];
};

/* Splits and decodes "a=1&b". ERR_INVALID (bad escape, a name given twice),
 * ERR_LIMIT; the message says which. */
NODISCARD int query_parse(struct bytes raw, struct query_params *out,
                          struct errmsg *e);

/* NULL when it is not there. */
const char *query_find(const struct query_params *q, const char *name);

/* A decimal number of digits only, at most @max. */
NODISCARD int uint_parse(const char *text, uint64_t max, uint64_t *out);

/* RFC 3339 ("2026-11-22T12:00:00.5+01:00"), years 1970 to 9999. */
NODISCARD int rfc3339_parse(const char *text, uint64_t *unix_ms);

/* RFC 3339 or Unix seconds. */
NODISCARD int time_parse(const char *text, uint64_t *unix_ms);

/* defguard's naive UTC timestamp, "2026-11-22T12:00:00.500". */
void time_format(uint64_t unix_ms, char out[TIME_TEXT_SIZE]);
