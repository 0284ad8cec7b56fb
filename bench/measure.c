#include "bench/measure.h"

#include "base/assert.h"
#include "base/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

uint32_t measure_number(const char *flag, const char *text, uint32_t most)
{
    char *end;
    unsigned long value = strtoul(text, &end, 10);
    if (*end != '\0' || value == 0 || value > most) {
        fprintf(stderr, "--%s: \"%s\" is not a number from 1 to %u\n", flag,
                text, most);
        exit(2);
    }
    return (uint32_t)value;
}

void measure_pids(struct measure *m, char *list)
{
    for (char *at = strtok(list, ","); at != NULL; at = strtok(NULL, ","))
        if (m->pid_count < MEASURE_PIDS_MAX)
            m->pids[m->pid_count++] =
                (pid_t)measure_number("pids", at, 1u << 30);
}

static void read_cpu(const struct measure *m, struct cpu_usage *used)
{
    *used = (struct cpu_usage){.count = 0};
    for (size_t i = 0; i < m->pid_count; i++)
        cpu_add(used, m->pids[i]);
}

static double own_cpu(void)
{
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    return (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
           (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
}

void measure_start(struct measure *m)
{
    m->running = true;
    read_cpu(m, &m->before);
    m->own_s = own_cpu();
    m->start_ns = clock_mono_ns();
}

void measure_note(struct measure *m, uint64_t count, uint64_t sent_ns)
{
    if (!m->running)
        return;
    m->operations += count;
    if (m->latency_count == m->latency_capacity) {
        size_t capacity =
            m->latency_capacity == 0 ? 4096 : m->latency_capacity * 2;
        uint32_t *grown = realloc(m->latency_us, capacity * sizeof *grown);
        ASSERT(grown != NULL);
        m->latency_us = grown;
        m->latency_capacity = capacity;
    }
    m->latency_us[m->latency_count++] =
        (uint32_t)((clock_mono_ns() - sent_ns) / 1000);
}

void measure_stop(struct measure *m, uint64_t end_ns)
{
    m->running = false;
    m->end_ns = end_ns;
    read_cpu(m, &m->after);
    m->own_s = own_cpu() - m->own_s;
}

static int ascending(const void *a, const void *b)
{
    const uint32_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

static double percentile_ms(const struct measure *m, double part)
{
    size_t at = (size_t)(part * (double)(m->latency_count - 1));
    return m->latency_us[at] / 1000.0;
}

void measure_print(struct measure *m)
{
    struct cpu_usage used;
    double seconds = (double)(m->end_ns - m->start_ns) / 1e9;
    double sum = cpu_difference(&m->before, &m->after, &used);
    double each = m->operations > 0 ? (double)m->operations : 1;
    printf("reports %llu\nseconds %.3f\nreports_per_s %.0f\n",
           (unsigned long long)m->operations, seconds,
           (double)m->operations / seconds);
    if (m->latency_count > 0) {
        qsort(m->latency_us, m->latency_count, sizeof *m->latency_us,
              ascending);
        printf("ack_p50_ms %.3f\nack_p99_ms %.3f\nack_max_ms %.3f\n",
               percentile_ms(m, 0.5), percentile_ms(m, 0.99),
               percentile_ms(m, 1));
    }
    printf("generator_cores %.2f\ngenerator_us_per_report %.3f\n",
           m->own_s / seconds, m->own_s * 1e6 / each);
    if (m->pid_count == 0)
        return;
    printf("nodes_cores %.2f\nnodes_us_per_report %.3f\n", sum / seconds,
           sum * 1e6 / each);
    for (size_t i = 0; i < used.count; i++)
        if (used.threads[i].seconds > 0)
            printf("cpu %-16s %8.2f s %8.3f us/report\n", used.threads[i].name,
                   used.threads[i].seconds,
                   used.threads[i].seconds * 1e6 / each);
}

void measure_deinit(struct measure *m)
{
    free(m->latency_us);
    *m = (struct measure){.pid_count = 0};
}
