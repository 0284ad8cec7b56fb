#include "raft/space.h"

#include "base/clock.h"
#include "raft/repl.h"

#include <errno.h>
#include <sys/statvfs.h>

enum { MIB = 1024 * 1024 };

/* It is over when a quarter more than the reserve is free, so that a file that
 * comes and goes at the edge does not toggle it. */
static uint64_t enough(const struct space *s)
{
    return s->reserve + s->reserve / 4;
}

static void judge(struct space *s, uint64_t free_bytes)
{
    atomic_store(&s->free_bytes, free_bytes);
    bool was_low = space_is_low(s);
    bool low = free_bytes < (was_low ? enough(s) : s->reserve);
    if (low == was_low)
        return;
    atomic_store(&s->low, low);
    if (low)
        events_warn(s->events, "disk_low",
                    "%s has %llu MiB left of the %llu MiB that are kept free: "
                    "this node takes nothing new until %llu MiB are free; what "
                    "it has is safe and reads go on; make room",
                    s->data_dir, (unsigned long long)(free_bytes / MIB),
                    (unsigned long long)(s->reserve / MIB),
                    (unsigned long long)(enough(s) / MIB));
    else
        events_info(s->events, "disk_ok",
                    "%s has room again (%llu MiB): this node goes on",
                    s->data_dir, (unsigned long long)(free_bytes / MIB));
}

static int measure(const struct space *s, struct statvfs *fs)
{
    int rv;
    do
        rv = statvfs(s->data_dir, fs);
    while (rv != 0 && errno == EINTR);
    return rv;
}

static uint64_t free_of(const struct statvfs *fs)
{
    return (uint64_t)fs->f_bavail * fs->f_frsize;
}

static uint64_t default_reserve(const struct statvfs *fs)
{
    uint64_t size = (uint64_t)fs->f_blocks * fs->f_frsize;
    uint64_t reserve = size / 100 * SPACE_RESERVE_PER_CENT;
    if (reserve < SPACE_RESERVE_MIN)
        reserve = SPACE_RESERVE_MIN;
    return reserve < size / 4 ? reserve : size / 4;
}

int space_init(struct space *s, const char *data_dir, uint64_t reserve,
               struct events *events, struct errmsg *e)
{
    *s = (struct space){.data_dir = data_dir, .events = events};
    atomic_init(&s->low, false);
    struct statvfs fs;
    if (measure(s, &fs) != 0)
        return errmsg_set(e, ERR_IO, "free space of %s: %s", data_dir,
                          strerror(errno));
    s->reserve = reserve != 0 ? reserve : default_reserve(&fs);
    s->measured_ms = clock_mono_ms();
    judge(s, free_of(&fs));
    return 0;
}

/* A measurement that fails changes nothing: a file system in that state shows
 * itself by failing writes, which are fatal. */
static void look(struct space *s)
{
    struct statvfs fs;
    if (measure(s, &fs) == 0)
        judge(s, free_of(&fs));
}

void space_beat(struct space *s, uint64_t now_ms)
{
    if (now_ms - s->measured_ms < SPACE_MEASURE_EVERY_MS)
        return;
    s->measured_ms = now_ms;
    look(s);
}

static bool is_tight(const struct space *s)
{
    return space_is_low(s) && space_free_bytes(s) < s->reserve / 4;
}

bool space_is_tight(struct space *s)
{
    look(s);
    return is_tight(s);
}

bool space_takes_entries(void *arg, bool commands)
{
    struct repl *r = arg;
    if (space_is_low(&r->space))
        return !commands && !is_tight(&r->space);
    return atomic_load(&r->applier.backlog_bytes) <= SPACE_BACKLOG_BYTES_MAX;
}

/* Of what a peer has up to @last, how much waits for its applier. Only what is
 * committed does: the rest may need these entries to become so. */
static uint64_t waiting_bytes(const struct repl *r, uint64_t applied,
                              uint64_t last)
{
    const struct logsize *log = &r->guard.log;
    if (last > r->raft.commit_index)
        last = r->raft.commit_index;
    if (last <= applied)
        return 0;
    return logsize_bytes_after(log, applied) - logsize_bytes_after(log, last);
}

bool space_peer_takes_entries(void *arg, uint64_t peer_id, uint64_t prev_index,
                              bool commands)
{
    struct repl *r = arg;
    const struct out_link *out = forward_peer(r, peer_id);
    if (!commands || out == NULL || out->facts_ms == 0)
        return true;
    const struct repl_facts *f = &out->facts;
    uint64_t age_ms = clock_mono_ms() - out->facts_ms;
    if (f->disk_low && age_ms <= SPACE_FACTS_AGE_MS_MAX)
        return false;
    /* One that keeps up is never held, however much came since it said so. */
    return age_ms > SPACE_APPLIED_AGE_MS_MAX ||
           waiting_bytes(r, f->applied_index, f->commit_index) <=
               SPACE_BACKLOG_BYTES_MAX / 8 ||
           waiting_bytes(r, f->applied_index, prev_index) <=
               SPACE_BACKLOG_BYTES_MAX / 2;
}
