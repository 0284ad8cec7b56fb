/* The replicas' digests at one log index, for endpoint hash and doctor. */
#pragma once

#include "ctl/survey.h"

struct digests {
    uint64_t index;
    size_t answered, failed;
    bool agree; /* those that answered */
    char digest[32];
    char path[64]; /* what was asked: the survey's questions point here */
};

/* Takes a new digest and asks all endpoints for theirs; the answers are in @s.
 * ERR_* when none can be taken at all. */
NODISCARD int digests_take(struct ctl *c, struct survey *s, struct digests *out,
                           struct errmsg *e);
