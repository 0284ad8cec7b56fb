/* The time that a question asks about, in whole buckets of the tier that
 * answers it: from, to and resolution of a request (CONTRACT, "HTTP"). */
#pragma once

#include "node/http.h"
#include "store/query.h"

enum { AUTO_POINTS_MAX = 400 }; /* a week of hours, a year of days */

struct api_range {
    uint64_t from_s, to_s; /* [from, to) */
    enum query_resolution resolution;
};

/* Reads from, to and, where the route takes it, resolution: from goes down to
 * its bucket's start, to up to its bucket's end. By default the hour that ends
 * now, and auto. On failure the 400 is written. */
NODISCARD int api_read_range(struct http_request *rq, struct api_range *out);

/* The finest tier that still has @from_s and needs no more than @points_max
 * points up to @to_s; the coarsest if none does. */
enum query_resolution api_finest_tier(const struct node *n, uint64_t from_s,
                                      uint64_t to_s, uint64_t points_max);

/* The same range in whole buckets of @resolution. */
struct api_range api_range_of(uint64_t from_ms, uint64_t to_ms,
                              enum query_resolution resolution);

/* "minute", "hour", "day". */
const char *api_resolution_text(enum query_resolution resolution);

/* defguard's from and our to: minutes up to six hours, hours beyond, days where
 * the hours have expired. @from_s is the time as it was given. On failure the
 * 400 is written. api_stats.c. */
NODISCARD int api_read_stats_range(struct http_request *rq, uint64_t *from_s,
                                   struct api_range *out);

/* The array of defguard's points, of the series of @device (0: of nobody's);
 * buckets that nobody observed are left out, as there. NULL: no points.
 * api_stats.c. */
void api_out_series(struct json_out *o, const struct series *s,
                    const struct answer *a, uint64_t step_s, uint32_t device);
