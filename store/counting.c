#include "store/counting.h"

static bool both_grew(const struct sample *stored, const struct sample *sample)
{
    return sample->upload >= stored->upload &&
           sample->download >= stored->download;
}

static enum verdict add_difference(const struct sample *stored,
                                   const struct sample *sample,
                                   struct growth *growth)
{
    growth->upload = sample->upload - stored->upload;
    growth->download = sample->download - stored->download;
    return COUNT_DIFFERENCE;
}

static enum verdict add_in_full(const struct sample *sample,
                                struct growth *growth)
{
    growth->upload = sample->upload;
    growth->download = sample->download;
    return COUNT_RESET;
}

/* Rule 3: a fall of either counter means that both began again at zero. */
static enum verdict difference_or_reset(const struct sample *stored,
                                        const struct sample *sample,
                                        struct growth *growth)
{
    if (both_grew(stored, sample))
        return add_difference(stored, sample, growth);
    return add_in_full(sample, growth);
}

enum outcome_code count_batch(struct place stored, struct place batch,
                              uint64_t *value)
{
    *value = 0;
    if (batch.session < stored.session) {
        *value = stored.session;
        return OUTCOME_SUPERSEDED;
    }
    if (batch.session > stored.session) {
        /* Only its first: were another one taken, number 1 would arrive as a
         * duplicate and be acknowledged without ever having been counted. */
        if (batch.sequence == 1)
            return OUTCOME_TAKEN;
        *value = 1;
        return OUTCOME_GAP;
    }
    if (batch.sequence <= stored.sequence)
        return OUTCOME_DUPLICATE;
    if (batch.sequence == stored.sequence + 1)
        return OUTCOME_TAKEN;
    *value = stored.sequence + 1;
    return OUTCOME_GAP;
}

enum verdict count_native(const struct sample *stored,
                          const struct sample *sample, struct growth *growth)
{
    *growth = (struct growth){0, 0};
    if (sample->from_zero)
        return add_in_full(sample, growth);
    if (stored == NULL)
        return COUNT_BASELINE;
    /* The agent's identity now runs on another machine: these counters have
     * nothing to do with the stored ones. Each slot remembers the machine of
     * its own last sample, so that a peer which first appears in a later batch
     * or session of the new machine gets its baseline too. */
    if (stored->origin != 0 && stored->origin != sample->origin)
        return COUNT_BASELINE;
    return difference_or_reset(stored, sample, growth);
}

enum verdict count_legacy(const struct sample *stored,
                          const struct sample *sample, struct growth *growth)
{
    *growth = (struct growth){0, 0};
    if (stored == NULL)
        return COUNT_BASELINE;
    if (sample->time_ms < stored->time_ms)
        return COUNT_STALE;
    if (sample->origin != stored->origin)
        /* Two hosts under one name. Only a strictly newer receipt may turn the
         * slot over, or a retry of the one would alternate with the other. */
        return sample->time_ms > stored->time_ms ? COUNT_BASELINE : COUNT_STALE;
    if (sample->handshake_s < stored->handshake_s)
        return COUNT_STALE;
    if (sample->handshake_s > stored->handshake_s)
        return difference_or_reset(stored, sample, growth);
    /* Within one handshake counters only grow: less is older. */
    if (!both_grew(stored, sample))
        return COUNT_STALE;
    if (sample->time_ms == stored->time_ms &&
        sample->upload == stored->upload &&
        sample->download == stored->download)
        return COUNT_DUPLICATE;
    return add_difference(stored, sample, growth);
}

uint64_t count_handshake(uint64_t handshake_s, uint64_t log_time_ms)
{
    uint64_t latest = log_time_ms / 1000 + HANDSHAKE_AHEAD_MAX_S;
    return handshake_s < latest ? handshake_s : latest;
}

uint64_t count_connected(uint64_t since_s, uint64_t before_s,
                         uint64_t handshake_s, uint32_t threshold_s)
{
    bool goes_on =
        since_s != 0 && handshake_s >= since_s &&
        (handshake_s <= before_s || handshake_s - before_s <= threshold_s);
    return goes_on ? since_s : handshake_s;
}
