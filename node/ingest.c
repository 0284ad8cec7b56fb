#include "node/ingest.h"

#include "base/clock.h"

#include <sys/random.h>
#include <xxhash.h>

uint64_t ingest_seed(void)
{
    uint64_t seed;
    if (getrandom(&seed, sizeof seed, GRND_NONBLOCK) < 0)
        seed = clock_mono_ns(); /* early boot: better than none */
    return seed;
}

uint64_t ingest_key_hash(const struct ingest *ingest, const uint8_t *key)
{
    return XXH3_64bits_withSeed(key, PUBLIC_KEY_SIZE, ingest->seed);
}

enum stream_end stream_end_of(const struct outcome *outcome)
{
    switch (outcome->code) {
    case OUTCOME_TAKEN:
    case OUTCOME_DUPLICATE:
        return STREAM_GOES_ON;
    case OUTCOME_GAP:
        return STREAM_GAP;
    case OUTCOME_SUPERSEDED:
        return STREAM_SUPERSEDED;
    case OUTCOME_NOTFOUND:
        return STREAM_NOTFOUND;
    case OUTCOME_LIMIT:
        return STREAM_LIMIT;
    case OUTCOME_EXISTS:
    case OUTCOME_INVALID:
        break;
    }
    return STREAM_BROKEN;
}
