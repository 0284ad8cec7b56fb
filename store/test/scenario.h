/* Random but lifelike commands for the store: gateways of both kinds in several
 * locations, with resets, duplicates, gaps, new sessions, other machines, two
 * hosts of one name, unknown keys, late samples and clocks that jump. The same
 * seed gives the same steps. */
#pragma once

#include "store/test/model.h"

enum { SCENARIO_SIMS = 12, SCENARIO_HISTORY = 6 };

struct scenario_sim {
    uint32_t location;
    unsigned identity;
    bool native;
    uint64_t session, sequence, machine, address;
    uint64_t up[MODEL_KEYS + 1], down[MODEL_KEYS + 1], shake[MODEL_KEYS + 1];
    struct model_command sent[SCENARIO_HISTORY];
    size_t sent_count;
};

struct scenario {
    uint64_t random;
    uint64_t now;
    const struct model *model; /* borrowed: who has which id by now */
    struct scenario_sim sims[SCENARIO_SIMS];
    size_t steps;
    bool keeps_all; /* nothing expires */
};

void scenario_init(struct scenario *s, uint64_t seed,
                   const struct model *model);

/* The next log entry; the first two set the scene. */
void scenario_next(struct scenario *s, struct model_step *step);

/* What became of the step: gateways go on from what was taken. */
void scenario_told(struct scenario *s, const struct model_step *step,
                   const struct outcome *outcomes);

/* 0 <= result < @below */
uint64_t scenario_random(struct scenario *s, uint64_t below);
