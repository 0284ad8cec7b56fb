/* The store as others see it: open, apply an entry, status. The steps are in
 * load.c, apply.c, flush.c, digest.c and query.c. */
#include "store/store.h"

#include "base/clock.h"
#include "store/apply.h"
#include "store/state.h"

#include <inttypes.h>
#include <stdlib.h>

/* --- life -------------------------------------------------------------------
 */

static int prepare(struct store *s)
{
    s->earliest_open = UINT32_MAX;
    s->env.directory = -1;
    s->peers = calloc(BATCH_PEERS_MAX, sizeof *s->peers);
    if (s->peers == NULL)
        return ERR_NOMEM;
    return roster_create(&s->roster);
}

int store_open(const struct store_options *options, struct store **out,
               struct errmsg *e)
{
    *out = NULL;
    struct store *s = calloc(1, sizeof *s);
    if (s == NULL)
        return errmsg_set(e, ERR_NOMEM, "opening the store: out of memory");
    if (pthread_mutex_init(&s->lock, NULL) != 0 ||
        pthread_cond_init(&s->flush_ended, NULL) != 0) {
        free(s);
        return errmsg_set(e, ERR_NOMEM, "opening the store: out of memory");
    }
    int rc = prepare(s);
    if (rc != 0)
        errmsg_set(e, rc, "opening the store: %s", err_text(rc));
    else
        rc = environment_open(&s->env, options->path, options->map_bytes, e);
    if (rc == 0)
        rc = store_load(s, e);
    if (rc != 0) {
        store_close(s);
        return rc;
    }
    atomic_store(&s->applied_index_seen, s->applied_index);
    atomic_store(&s->log_time_seen, s->log_time_ms);
    *out = s;
    return 0;
}

void store_close(struct store *s)
{
    if (s == NULL)
        return;
    raw_close(s->raw);
    environment_close(&s->env);
    roster_destroy(s->roster);
    table_deinit(&s->table);
    cells_deinit(&s->late);
    flush_job_deinit(&s->job);
    free(s->gone_keys.items);
    free(s->outcomes);
    free(s->peers);
    pthread_cond_destroy(&s->flush_ended);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

int store_keep_raw(struct store *s, const struct raw_options *options,
                   struct errmsg *e)
{
    return raw_open(options, s->applied_index, &s->raw, e);
}

struct raw_log *store_raw(struct store *s)
{
    return s->raw;
}

void store_on_beat(struct store *s, store_beat_fn *beat, void *arg)
{
    s->beat = beat;
    s->beat_arg = arg;
}

/* --- apply ------------------------------------------------------------------
 */

static struct outcome *next_outcome(struct store *s, size_t count)
{
    if (count == s->outcome_capacity) {
        size_t capacity = count == 0 ? 64 : count * 2;
        struct outcome *outcomes =
            realloc(s->outcomes, capacity * sizeof *outcomes);
        if (outcomes == NULL)
            return NULL;
        s->outcomes = outcomes;
        s->outcome_capacity = capacity;
    }
    return &s->outcomes[count];
}

/* Who takes a record, and since which level: the one list of the kinds that
 * this version knows. */
struct taker {
    enum { NOBODY, BY_COUNTING, BY_PRESENCE, BY_ROSTER, BY_ENTRY } who;
    unsigned level;
};

static struct taker taker_of(enum record_kind kind)
{
    switch ((unsigned)kind) {
    case RECORD_NATIVE_BATCH:
    case RECORD_LEGACY_BATCH:
        return (struct taker){BY_COUNTING, 1};
    case RECORD_PRESENCE:
        return (struct taker){BY_PRESENCE, 3};
    case RECORD_SETTINGS:
    case RECORD_LOCATION_CREATE:
    case RECORD_LOCATION_CHANGE:
    case RECORD_LOCATION_DELETE:
    case RECORD_DEVICE_CREATE:
    case RECORD_DEVICE_CHANGE:
    case RECORD_DEVICE_DELETE:
    case RECORD_TOKEN_CREATE:
    case RECORD_TOKEN_REVOKE:
    case RECORD_LEVEL:
        return (struct taker){BY_ROSTER, 1};
    case RECORD_MEMBER:
        return (struct taker){BY_ROSTER, 2};
    case RECORD_SETTINGS_CHANGE:
        return (struct taker){BY_ROSTER, 3};
    case RECORD_GATEWAY_DELETE:
        return (struct taker){BY_ROSTER, 4};
    case RECORD_TICK:
    case RECORD_DIGEST: /* after the last record: of the state at one index */
        return (struct taker){BY_ENTRY, 1};
    default:
        return (struct taker){NOBODY, 0};
    }
}

unsigned store_level_of(enum record_kind kind)
{
    return taker_of(kind).level;
}

unsigned store_level(const struct store *s)
{
    return roster_level(s->roster);
}

enum member_wish store_wish(struct store *s, const char *name)
{
    roster_read_lock(s->roster);
    enum member_wish wish = roster_wish(s->roster, name);
    roster_read_unlock(s->roster);
    return wish;
}

static int apply_record(struct store *s, uint64_t index,
                        const struct record *record, struct outcome *outcome,
                        struct errmsg *e) REQUIRES(applier_thread)
{
    int rc = 0;
    switch (taker_of(record->kind).who) {
    case BY_COUNTING:
        rc = apply_batch(s, record, index, outcome);
        break;
    case BY_PRESENCE:
        rc = apply_presence(s, record, outcome);
        break;
    case BY_ROSTER:
        rc = roster_apply(s->roster, record, index, s->log_time_ms, outcome);
        break;
    case BY_ENTRY:
        break;
    case NOBODY:
        /* To skip it would make this replica differ from the others. */
        return errmsg_set(e, ERR_CORRUPT,
                          "log entry %" PRIu64 ": record of kind %u was "
                          "written by a newer version; upgrade this node",
                          index, (unsigned)record->kind);
    }
    if (rc == 0 && store_level(s) > LEVEL_NEWEST)
        return errmsg_set(e, ERR_NEWER,
                          "the cluster has agreed on feature level %u, this "
                          "node knows %d; upgrade this node",
                          store_level(s), LEVEL_NEWEST);
    if (rc != 0)
        errmsg_set(e, rc, "log entry %" PRIu64 ": %s", index, err_text(rc));
    return rc;
}

static int apply_records(struct store *s, uint64_t index, struct reader records,
                         struct apply_result *result, bool *digest_asked,
                         struct errmsg *e) REQUIRES(applier_thread)
{
    struct record record;
    int rc;
    while ((rc = record_next(&records, &record)) > 0) {
        struct outcome *outcome = next_outcome(s, result->count);
        if (outcome == NULL)
            return errmsg_set(e, ERR_NOMEM, "applying: out of memory");
        *outcome = (struct outcome){.code = OUTCOME_TAKEN, .index = index};
        rc = apply_record(s, index, &record, outcome, e);
        if (rc != 0)
            return rc;
        *digest_asked |= record.kind == RECORD_DIGEST;
        result->count++;
    }
    if (rc != 0)
        return errmsg_set(e, rc, "log entry %" PRIu64 ": a damaged record",
                          index);
    return 0;
}

/* The digest of the state after the whole entry, for all who asked in it. */
static int answer_digests(struct store *s, uint64_t index,
                          struct reader records, struct apply_result *result,
                          struct errmsg *e) REQUIRES(applier_thread)
{
    uint64_t digest;
    int rc = store_flush(s, e);
    result->flush_due = false;
    if (rc == 0)
        rc = digest_compute(s, index, &digest, e);
    if (rc != 0)
        return rc;
    struct record record;
    for (size_t i = 0; record_next(&records, &record) > 0; i++)
        if (record.kind == RECORD_DIGEST)
            s->outcomes[i].value = digest;
    return 0;
}

/* The earliest minute that is open, or one before it: the slots that a flush
 * has not come to yet may hold any that was not due when it began. UINT32_MAX:
 * none is open. */
static uint32_t earliest_open(const struct store *s)
{
    uint32_t bound = s->job.walking ? s->partial[TIER_MINUTE] : UINT32_MAX;
    return bound < s->earliest_open ? bound : s->earliest_open;
}

static bool flush_is_due(const struct store *s)
{
    uint32_t earliest = earliest_open(s);
    return (earliest != UINT32_MAX &&
            bucket_is_due(TIER_MINUTE, earliest, s->log_time_ms)) ||
           s->unflushed >= FLUSH_REPORTS_MAX || s->late.count >= LATE_CELLS_MAX;
}

static int apply_locked(struct store *s, uint64_t index, struct reader records,
                        struct apply_result *result, bool *digest_asked,
                        struct errmsg *e) REQUIRES(applier_thread)
{
    uint64_t start = clock_mono_ns();
    apply_log_time(s, result->header.log_time_ms);
    int rc = apply_records(s, index, records, result, digest_asked, e);
    if (rc != 0)
        return rc;
    s->applied_index = index;
    s->applied_term = result->header.term;
    result->flush_due = flush_is_due(s);
    s->counters.apply_ns += clock_mono_ns() - start;
    return 0;
}

int store_apply(struct store *s, uint64_t index, struct bytes entry,
                struct apply_result *result, struct errmsg *e)
{
    thread_role_assert(&applier_thread);
    *result = (struct apply_result){0};
    if (s->failed != 0)
        return errmsg_set(e, s->failed,
                          "the store failed before; restart the process");
    struct reader records;
    int rc = entry_open(entry, &result->header, &records, e);
    if (rc != 0)
        return errmsg_wrap(e, s->failed = rc, "at index %" PRIu64, index);
    if (index <= s->applied_index) {
        result->skipped = true;
        return 0;
    }
    if (s->raw != NULL) {
        rc = raw_put(s->raw, index, result->header.log_time_ms, entry, e);
        if (rc != 0)
            return s->failed = rc;
    }
    bool digest_asked = false;
    pthread_mutex_lock(&s->lock);
    rc = apply_locked(s, index, records, result, &digest_asked, e);
    pthread_mutex_unlock(&s->lock);
    if (rc == 0 && digest_asked)
        rc = answer_digests(s, index, records, result, e);
    /* Who sees this index finds its digest. */
    if (rc == 0) {
        atomic_store(&s->applied_index_seen, s->applied_index);
        atomic_store(&s->log_time_seen, s->log_time_ms);
    }
    result->outcomes = s->outcomes;
    s->failed = rc;
    return rc;
}

/* --- status -----------------------------------------------------------------
 */

static void count_roster(struct roster *r, struct store_status *out)
{
    roster_read_lock(r);
    struct roster_counts counts = roster_count(r);
    roster_read_unlock(r);
    out->devices = counts.devices;
    out->locations = counts.locations;
    out->gateways = counts.gateways;
}

void store_status(struct store *s, struct store_status *out)
{
    *out = (struct store_status){0};
    /* One lock after the other: the applier takes the roster's inside ours. */
    pthread_mutex_lock(&s->lock);
    out->applied_index = s->applied_index;
    out->applied_term = s->applied_term;
    out->log_time_ms = s->log_time_ms;
    out->flushed_index = atomic_load(&s->flushed_index);
    out->slots = s->table.count - s->gone;
    out->counters = s->counters;
    uint32_t earliest = earliest_open(s);
    if (earliest != UINT32_MAX)
        out->next_close_ms = bucket_close_ms(TIER_MINUTE, earliest);
    pthread_mutex_unlock(&s->lock);
    count_roster(s->roster, out);
    environment_size(&s->env, &out->used_bytes, &out->map_bytes);
}

uint64_t store_applied_index(const struct store *s)
{
    return atomic_load(&s->applied_index_seen);
}

uint64_t store_flushed_index(const struct store *s)
{
    return atomic_load(&s->flushed_index);
}

uint64_t store_log_time_ms(const struct store *s)
{
    return atomic_load(&s->log_time_seen);
}

struct roster *store_roster(struct store *s)
{
    return s->roster;
}
