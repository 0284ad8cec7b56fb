/* The cluster as the agent's tests see it: rules 1 and 3 of DESIGN, "What a
 * report does to the data", in a few lines, applied to encoded batches. */
#pragma once

#include "proto/report.h"

enum { MODEL_PEERS = 256 }; /* a peer is the first byte of its key */

struct cluster_model {
    uint64_t session, sequence;
    struct {
        bool known;
        uint64_t upload, download;
        uint64_t counted_upload, counted_download;
    } peers[MODEL_PEERS];
};

enum model_answer {
    MODEL_TAKEN,
    MODEL_DUPLICATE,
    MODEL_GAP,
    MODEL_SUPERSEDED,
};

/* *number: the sequence expected or the session stored. */
enum model_answer cluster_model_apply(struct cluster_model *m,
                                      struct bytes batch, uint64_t *sequence,
                                      uint64_t *number);
