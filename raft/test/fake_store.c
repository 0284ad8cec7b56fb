#include "raft/test/fake_store.h"

#include "base/assert.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <xxhash.h>

enum { OUTCOMES_MAX = 65536 };

struct state {
    uint64_t index, term, log_time_ms, records, digest;
    unsigned level;
    char demoted[64];
};

struct store {
    pthread_mutex_t lock;
    pthread_cond_t changed;           /* with lock: a flush ended, or may */
    struct state now, begun, flushed; /* under lock */
    bool flushing, hold_flushes;      /* under lock */
    uint64_t flush_waits;             /* under lock */
    uint64_t skips, close_ms;         /* under lock */
    bool lose_flushes;                /* under lock */
    size_t padding;                   /* under lock */
    atomic_uint level;                /* now.level, for any thread */
    atomic_uint dawdle_ms;
    store_beat_fn *beat; /* the applier's */
    void *beat_arg;
    struct outcome outcomes[OUTCOMES_MAX];
};

struct store *fake_store_create(void)
{
    struct store *s = calloc(1, sizeof *s);
    ASSERT(s != NULL);
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->changed, NULL);
    s->now.level = s->flushed.level = LEVEL_OLDEST;
    atomic_init(&s->level, LEVEL_OLDEST);
    return s;
}

void fake_store_destroy(struct store *s)
{
    pthread_cond_destroy(&s->changed);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

void fake_store_crash(struct store *s)
{
    pthread_mutex_lock(&s->lock);
    s->now = s->flushed;
    atomic_store(&s->level, s->now.level);
    pthread_mutex_unlock(&s->lock);
}

void fake_store_hold_flushes(struct store *s, bool hold)
{
    pthread_mutex_lock(&s->lock);
    s->hold_flushes = hold;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
}

bool fake_store_is_flushing(struct store *s)
{
    pthread_mutex_lock(&s->lock);
    bool flushing = s->flushing;
    pthread_mutex_unlock(&s->lock);
    return flushing;
}

uint64_t fake_store_flush_waits(struct store *s)
{
    pthread_mutex_lock(&s->lock);
    uint64_t waits = s->flush_waits;
    pthread_mutex_unlock(&s->lock);
    return waits;
}

void fake_store_lose_flushes(struct store *s, bool lose)
{
    pthread_mutex_lock(&s->lock);
    s->lose_flushes = lose;
    pthread_mutex_unlock(&s->lock);
}

int store_copy(struct store *s, const char *path,
               bool (*may_go_on)(void *arg, uint64_t bytes), void *arg,
               struct copy_info *out, struct errmsg *e)
{
    FILE *f = fopen(path, "w");
    if (f == NULL)
        return errmsg_set(e, ERR_IO, "create %s", path);
    pthread_mutex_lock(&s->lock);
    struct state flushed = s->flushed;
    size_t padding = s->padding;
    pthread_mutex_unlock(&s->lock);
    /* Of some size, and not all the same. */
    XXH3_state_t *hash = XXH3_createState();
    XXH3_128bits_reset(hash);
    fwrite(&flushed, sizeof flushed, 1, f);
    XXH3_128bits_update(hash, &flushed, sizeof flushed);
    for (size_t i = 0; i < padding; i += sizeof i) {
        fwrite(&i, sizeof i, 1, f);
        XXH3_128bits_update(hash, &i, sizeof i);
    }
    fclose(f);
    XXH128_canonical_t canonical;
    XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(hash));
    XXH3_freeState(hash);
    int rv =
        may_go_on(arg, padding) ? store_copy_inspect(path, out, e) : ERR_CLOSED;
    memcpy(out->hash, canonical.digest, sizeof out->hash);
    return rv;
}

int store_copy_inspect(const char *path, struct copy_info *out,
                       struct errmsg *e)
{
    struct state state;
    struct stat file;
    FILE *f = fopen(path, "r");
    if (f == NULL)
        return errmsg_set(e, ERR_NOTFOUND, "open %s", path);
    ASSERT(fread(&state, sizeof state, 1, f) == 1 && stat(path, &file) == 0);
    fclose(f);
    *out = (struct copy_info){.applied_index = state.index,
                              .applied_term = state.term,
                              .log_time_ms = state.log_time_ms,
                              .bytes = (uint64_t)file.st_size};
    return 0;
}

void fake_store_load(struct store *s, const char *path)
{
    FILE *f = fopen(path, "r");
    if (f == NULL)
        return;
    ASSERT(fread(&s->flushed, sizeof s->flushed, 1, f) == 1);
    fclose(f);
    remove(path); /* it lives in memory only */
    s->now = s->flushed;
    atomic_store(&s->level, s->now.level);
}

void fake_store_pad(struct store *s, size_t bytes)
{
    pthread_mutex_lock(&s->lock);
    s->padding = bytes;
    pthread_mutex_unlock(&s->lock);
}

uint64_t fake_store_flushed_index(struct store *s)
{
    struct store_status status;
    store_status(s, &status);
    return status.flushed_index;
}

/* Of the reserved kinds the tests make their records. */
unsigned store_level_of(enum record_kind kind)
{
    return kind == RECORD_MEMBER ? 2 : kind <= RECORD_LEVEL ? 1 : 0;
}

unsigned store_level(const struct store *s)
{
    return atomic_load(&s->level);
}

enum member_wish store_wish(struct store *s, const char *name)
{
    pthread_mutex_lock(&s->lock);
    bool found = strcmp(s->now.demoted, name) == 0;
    pthread_mutex_unlock(&s->lock);
    return found ? WISH_STANDBY : WISH_AUTO;
}

/* What the roster does with them, for one name. */
static void apply_member(struct store *s, const struct record *record)
{
    struct reader body = reader_of(record->body);
    (void)reader_u8(&body); /* version */
    if (record->kind == RECORD_LEVEL) {
        s->now.level = reader_varint32(&body);
        atomic_store(&s->level, s->now.level);
        return;
    }
    uint8_t wish = reader_u8(&body);
    struct bytes name = reader_bytes(&body);
    ASSERT(!body.failed && name.size < sizeof s->now.demoted);
    memset(s->now.demoted, 0, sizeof s->now.demoted);
    if (wish == WISH_STANDBY)
        memcpy(s->now.demoted, name.data, name.size);
}

static size_t apply_records(struct store *s, struct reader *records)
{
    size_t count = 0;
    struct record record;
    int rv;
    while ((rv = record_next(records, &record)) == 1) {
        if (record.kind == RECORD_LEVEL || record.kind == RECORD_MEMBER)
            apply_member(s, &record);
        else if (record.kind != RECORD_TICK)
            s->now.records++;
        s->now.digest =
            XXH3_64bits_withSeed(record.body.data, record.body.size,
                                 s->now.digest + (uint64_t)record.kind);
        ASSERT(count < OUTCOMES_MAX);
        s->outcomes[count++] =
            (struct outcome){.code = OUTCOME_TAKEN, .value = s->now.records};
    }
    ASSERT(rv == 0);
    return count;
}

void store_on_beat(struct store *s, store_beat_fn *beat, void *arg)
{
    s->beat = beat;
    s->beat_arg = arg;
}

void fake_store_dawdle(struct store *s, unsigned ms)
{
    atomic_store(&s->dawdle_ms, ms);
}

int store_apply(struct store *s, uint64_t index, struct bytes entry,
                struct apply_result *result, struct errmsg *e)
{
    struct reader records;
    *result = (struct apply_result){0};
    for (unsigned ms = 0; ms < atomic_load(&s->dawdle_ms); ms += 10) {
        nanosleep(&(struct timespec){.tv_nsec = 10 * 1000 * 1000}, NULL);
        s->beat(s->beat_arg);
    }
    int rv = entry_open(entry, &result->header, &records, e);
    if (rv != 0)
        return rv;
    pthread_mutex_lock(&s->lock);
    if (index <= s->now.index) {
        result->skipped = true;
        s->skips++;
    } else {
        ASSERT(result->header.log_time_ms >= s->now.log_time_ms);
        ASSERT(result->header.term >= s->now.term);
        s->now.index = index;
        s->now.term = result->header.term;
        s->now.log_time_ms = result->header.log_time_ms;
        result->count = apply_records(s, &records);
        result->outcomes = s->outcomes;
        if (s->close_ms != 0 && s->now.log_time_ms >= s->close_ms) {
            s->close_ms = 0;
            result->flush_due = true;
        }
    }
    pthread_mutex_unlock(&s->lock);
    return 0;
}

static void await_flush(struct store *s)
{
    s->flush_waits += s->flushing;
    while (s->flushing)
        pthread_cond_wait(&s->changed, &s->lock);
}

void store_flush_await(struct store *s)
{
    pthread_mutex_lock(&s->lock);
    await_flush(s);
    pthread_mutex_unlock(&s->lock);
}

int store_flush_begin(struct store *s, struct errmsg *e)
{
    (void)e;
    pthread_mutex_lock(&s->lock);
    await_flush(s);
    s->flushing = true;
    s->begun = s->now;
    pthread_mutex_unlock(&s->lock);
    return 1;
}

static void end_flush(struct store *s)
{
    pthread_mutex_lock(&s->lock);
    while (s->hold_flushes)
        pthread_cond_wait(&s->changed, &s->lock);
    if (!s->lose_flushes)
        s->flushed = s->begun;
    s->flushing = false;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
}

int store_flush_end(struct store *s, struct errmsg *e)
{
    (void)e;
    end_flush(s);
    return 0;
}

int store_flush(struct store *s, struct errmsg *e)
{
    int rv = store_flush_begin(s, e);
    end_flush(s);
    return rv < 0 ? rv : 0;
}

void store_status(struct store *s, struct store_status *out)
{
    pthread_mutex_lock(&s->lock);
    *out = (struct store_status){.applied_index = s->now.index,
                                 .applied_term = s->now.term,
                                 .log_time_ms = s->now.log_time_ms,
                                 .flushed_index = s->flushed.index,
                                 .next_close_ms = s->close_ms};
    pthread_mutex_unlock(&s->lock);
}

static struct store_status status_of(const struct store *s)
{
    struct store_status status;
    store_status((struct store *)(uintptr_t)s, &status);
    return status;
}

uint64_t store_applied_index(const struct store *s)
{
    return status_of(s).applied_index;
}

uint64_t store_flushed_index(const struct store *s)
{
    return status_of(s).flushed_index;
}

uint64_t store_log_time_ms(const struct store *s)
{
    return status_of(s).log_time_ms;
}

uint64_t fake_store_digest(struct store *s)
{
    pthread_mutex_lock(&s->lock);
    uint64_t digest = s->now.digest;
    pthread_mutex_unlock(&s->lock);
    return digest;
}

uint64_t fake_store_records(struct store *s)
{
    pthread_mutex_lock(&s->lock);
    uint64_t records = s->now.records;
    pthread_mutex_unlock(&s->lock);
    return records;
}

uint64_t fake_store_skips(struct store *s)
{
    pthread_mutex_lock(&s->lock);
    uint64_t skips = s->skips;
    pthread_mutex_unlock(&s->lock);
    return skips;
}

void fake_store_want_close(struct store *s, uint64_t log_time_ms)
{
    pthread_mutex_lock(&s->lock);
    s->close_ms = log_time_ms;
    pthread_mutex_unlock(&s->lock);
}
