/* CPU time of other processes by thread name, from /proc: what a report costs
 * on the loop, the applier, gRPC and the rest. */
#pragma once

#include <stddef.h>
#include <sys/types.h>

enum { CPU_NAMES_MAX = 64, CPU_NAME_SIZE = 16 };

struct cpu_usage {
    struct {
        char name[CPU_NAME_SIZE];
        double seconds;
    } threads[CPU_NAMES_MAX];
    size_t count;
};

/* Adds every thread of @pid and of its children; a process that is gone adds
 * nothing. */
void cpu_add(struct cpu_usage *usage, pid_t pid);

/* What was used between two readings, by name; returns the sum. */
double cpu_difference(const struct cpu_usage *before,
                      const struct cpu_usage *after, struct cpu_usage *out);
