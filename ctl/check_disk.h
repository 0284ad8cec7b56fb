/* How the times of durable writes are judged. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct latency {
    size_t count;
    double p50_ms, p90_ms, p99_ms, p999_ms, max_ms;
};

enum disk_verdict { DISK_GOOD, DISK_DOUBTFUL, DISK_SLOW };

/* Sorts @ns; @count is at least 1. */
void latency_make(uint64_t *ns, size_t count, struct latency *out);
enum disk_verdict disk_judge(const struct latency *l);
