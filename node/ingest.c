#include "node/ingest.h"

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
