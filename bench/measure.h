/* What every load program of bench/ measures and prints, so that one table can
 * hold them all: operations acknowledged within a window, their latencies, and
 * the CPU time of the servers and of the program itself. */
#pragma once

#include "bench/cpu.h"

#include <stdbool.h>
#include <stdint.h>

enum { MEASURE_PIDS_MAX = 16 };

struct measure {
    pid_t pids[MEASURE_PIDS_MAX]; /* the servers, with their children */
    size_t pid_count;
    bool running;         /* what is acknowledged counts */
    uint64_t operations;  /* reports, rows, puts */
    uint32_t *latency_us; /* owned: one per acknowledgement */
    size_t latency_count, latency_capacity;
    uint64_t start_ns, end_ns;
    double own_s;
    struct cpu_usage before, after;
};

/* Ends the program with a message if @text is no number from 1 to @most. */
uint32_t measure_number(const char *flag, const char *text, uint32_t most);
/* "PID,…"; cuts @list. */
void measure_pids(struct measure *m, char *list);

void measure_start(struct measure *m);
/* @count operations that were sent at @sent_ns (monotonic) are acknowledged
 * now. Nothing while it does not run. */
void measure_note(struct measure *m, uint64_t count, uint64_t sent_ns);
/* Now, or at an @end_ns that is past. */
void measure_stop(struct measure *m, uint64_t end_ns);
/* One "name value" a line; bench/cluster.sh's `result` reads them. */
void measure_print(struct measure *m);
void measure_deinit(struct measure *m);
