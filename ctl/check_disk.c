/* check disk: writes as libraft does, into a preallocated segment of 8 MiB,
 * each write durable before the next (O_DSYNC), and says whether elections can
 * rest on that disk. The file has no name while it is written. */
#include "ctl/check_disk.h"

#include "ctl/run.h"
#include "ctl/text.h"

#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/vfs.h>
#include <unistd.h>

enum {
    SEGMENT_SIZE = 8 * 1024 * 1024,
    WRITE_SIZE_MAX = 128 * 1024,
    SAMPLES_MAX = 1000 * 1000,
    SECONDS_MAX = 3600,
    SHOW_EVERY_MS = 100,
    /* An election timeout must hide a stall of the leader's disk. */
    GOOD_P99_MS = 10,
    BAD_P99_MS = 100,
    BAD_MAX_MS = 500,
};

static const size_t sizes[] = {4096, 16384, 65536, WRITE_SIZE_MAX};

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static double at(const uint64_t *ns, size_t count, double share)
{
    size_t i = (size_t)(share * (double)count);
    return (double)ns[i < count ? i : count - 1] / 1e6;
}

void latency_make(uint64_t *ns, size_t count, struct latency *out)
{
    qsort(ns, count, sizeof *ns, compare);
    *out = (struct latency){.count = count,
                            .p50_ms = at(ns, count, 0.5),
                            .p90_ms = at(ns, count, 0.9),
                            .p99_ms = at(ns, count, 0.99),
                            .p999_ms = at(ns, count, 0.999),
                            .max_ms = at(ns, count, 1)};
}

enum disk_verdict disk_judge(const struct latency *l)
{
    if (l->p99_ms > BAD_P99_MS || l->max_ms > BAD_MAX_MS)
        return DISK_SLOW;
    return l->p99_ms > GOOD_P99_MS ? DISK_DOUBTFUL : DISK_GOOD;
}

/* --- the file system ------------------------------------------------------ */

static const struct {
    long magic;
    const char *name, *warning; /* NULL: fits */
} file_systems[] = {
    {0xEF53, "ext4", NULL},
    {0x58465342, "xfs", NULL},
    {0x01021994, "tmpfs", "it is memory: nothing survives a reboot"},
    {0x858458F6, "ramfs", "it is memory: nothing survives a reboot"},
    {0x6969, "nfs", "a network disk adds its outages to the cluster's"},
    {0x65735546, "fuse", "durability depends on a program behind it"},
    {0x794C7630, "overlay",
     "a container's own layer: it is gone with the container"},
    {0x9123683E, "btrfs", "copy on write makes the log's writes slower"},
    {0x2FC12FC1, "zfs", "copy on write makes the log's writes slower"},
};

static void name_file_system(int fd, const char **name, const char **warning)
{
    struct statfs s;
    *name = "unknown";
    *warning = "ext4 or xfs on a local block device is recommended";
    if (fstatfs(fd, &s) != 0)
        return;
    for (size_t i = 0; i < sizeof file_systems / sizeof *file_systems; i++) {
        if (file_systems[i].magic == (long)s.f_type) {
            *name = file_systems[i].name;
            *warning = file_systems[i].warning;
        }
    }
}

/* --- writing -------------------------------------------------------------- */

static int fail(const char *directory, const char *what, int error,
                struct errmsg *e)
{
    return errmsg_set(e, error == ENOSPC ? ERR_NOSPACE : ERR_IO, "%s: %s: %s",
                      directory, what, strerror(error));
}

static int open_segment(const char *directory, int *fd, struct errmsg *e)
{
    char path[4096];
    int n = snprintf(path, sizeof path, "%s/holdfast-check-XXXXXX", directory);
    if (n < 0 || (size_t)n >= sizeof path)
        return errmsg_set(e, ERR_INVALID, "the directory's name is too long");
    int made = mkstemp(path);
    if (made < 0)
        return fail(directory, "cannot make a file", errno, e);
    /* mkstemp cannot open for durable writes. */
    *fd = open(path, O_RDWR | O_DSYNC | O_CLOEXEC);
    int error = *fd < 0 ? errno : 0;
    unlink(path);
    close(made);
    if (*fd >= 0)
        error = posix_fallocate(*fd, 0, SEGMENT_SIZE);
    if (error == 0 && fsync(*fd) != 0)
        error = errno;
    return error == 0 ? 0 : fail(directory, "cannot make 8 MiB", error, e);
}

/* Fills @ns with the time of each write; returns how many, or ERR_*. */
static long write_for(int fd, const char *directory, uint64_t seconds,
                      uint64_t *ns, struct errmsg *e)
{
    static const uint8_t block[WRITE_SIZE_MAX] = {0x5a};
    uint64_t begun = clock_mono_ms(), now = begun, shown = 0;
    off_t offset = 0;
    long count = 0;
    while (now < begun + seconds * 1000 && count < SAMPLES_MAX) {
        size_t size = sizes[(size_t)count % (sizeof sizes / sizeof *sizes)];
        if (offset + (off_t)size > SEGMENT_SIZE)
            offset = 0;
        uint64_t from = clock_mono_ns();
        ssize_t n = pwrite(fd, block, size, offset);
        if (n != (ssize_t)size)
            return fail(directory, "cannot write", n < 0 ? errno : ENOSPC, e);
        ns[count++] = clock_mono_ns() - from;
        offset += n;
        now = clock_mono_ms();
        if (now >= shown + SHOW_EVERY_MS) {
            shown = now;
            progress_show("writing to %s: %llu of %llu s, %ld writes",
                          directory, (unsigned long long)(now - begun) / 1000,
                          (unsigned long long)seconds, count);
        }
    }
    progress_clear();
    return count;
}

/* --- the answer ----------------------------------------------------------- */

static const char *const verdicts[] = {
    [DISK_GOOD] = "good",
    [DISK_DOUBTFUL] = "doubtful",
    [DISK_SLOW] = "slow",
};

static int print_json(const char *directory, const char *system,
                      const char *warning, const struct latency *l,
                      struct errmsg *e)
{
    return ctl_print_json(
        json_pack("{s:s,s:s,s:s?,s:I,s:f,s:f,s:f,s:f,s:f,s:s}", "directory",
                  directory, "file_system", system, "warning", warning,
                  "writes", (json_int_t)l->count, "p50_ms", l->p50_ms, "p90_ms",
                  l->p90_ms, "p99_ms", l->p99_ms, "p999_ms", l->p999_ms,
                  "max_ms", l->max_ms, "verdict", verdicts[disk_judge(l)]),
        e);
}

static void print_verdict(const struct latency *l)
{
    switch (disk_judge(l)) {
    case DISK_GOOD:
        tone_put(stdout, TONE_GOOD, "[ok]");
        puts("   fast enough for the default --election-timeout 500ms");
        break;
    case DISK_DOUBTFUL:
        tone_put(stdout, TONE_DOUBT, "[warn]");
        puts(" good enough, but reports wait for it: 1 of 100 durable writes "
             "takes\n       more than 10 ms. Look for what else writes there, "
             "or take another disk");
        break;
    case DISK_SLOW:
        tone_put(stdout, TONE_BAD, "[FAIL]");
        printf(" too slow for the default --election-timeout 500ms: take "
               "another disk,\n       or at least --election-timeout %.0fms "
               "on all nodes\n",
               10 * (l->p99_ms > l->max_ms / 4 ? l->p99_ms : l->max_ms / 4));
    }
}

static void print_text(const char *directory, const char *system,
                       const char *warning, const struct latency *l)
{
    printf("%s on %s: %zu durable writes of 4 to 128 KiB\n\n"
           "  p50 %.2f ms   p90 %.2f ms   p99 %.2f ms   p99.9 %.2f ms   "
           "max %.1f ms\n\n",
           directory, system, l->count, l->p50_ms, l->p90_ms, l->p99_ms,
           l->p999_ms, l->max_ms);
    print_verdict(l);
    if (warning != NULL) {
        tone_put(stdout, TONE_DOUBT, "[warn]");
        printf(" file system %s: %s\n", system, warning);
    }
}

/* Writes, judges and tells; @ns takes SAMPLES_MAX. */
static int measure(struct ctl *c, int fd, uint64_t seconds, uint64_t *ns,
                   struct errmsg *e)
{
    const char *directory = c->arguments[0], *system, *warning;
    struct latency l;
    long count = write_for(fd, directory, seconds, ns, e);
    if (count < 0)
        return (int)count;
    latency_make(ns, (size_t)count, &l);
    name_file_system(fd, &system, &warning);
    int rv = 0;
    if (c->output == OUTPUT_JSON)
        rv = print_json(directory, system, warning, &l, e);
    else
        print_text(directory, system, warning, &l);
    return rv == 0 && disk_judge(&l) == DISK_SLOW ? CTL_FAILED : rv;
}

int run_check_disk(struct ctl *c, struct errmsg *e)
{
    const char *text = ctl_has(c, FLAG_SECONDS) ? c->values[FLAG_SECONDS]
                                                : flags[FLAG_SECONDS].fallback;
    uint64_t seconds;
    int fd = -1;
    if (!number_parse(text, SECONDS_MAX, &seconds) || seconds == 0)
        return errmsg_set(e, ERR_INVALID,
                          "--seconds %s: a number from 1 to %d is wanted", text,
                          SECONDS_MAX);
    uint64_t *ns = malloc(SAMPLES_MAX * sizeof *ns);
    if (ns == NULL)
        return errmsg_set(e, ERR_NOMEM, "out of memory");
    int rv = open_segment(c->arguments[0], &fd, e);
    if (rv == 0)
        rv = measure(c, fd, seconds, ns, e);
    free(ns);
    if (fd >= 0)
        close(fd);
    return rv;
}
