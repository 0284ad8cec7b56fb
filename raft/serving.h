/* One fetch of another node that is being served: the thread that reads the
 * request, gets a copy made (raft/copies.h) and sends it. */
#pragma once

#include "raft/copies.h"

enum { SERVINGS_MAX = 4 };

struct serving;

/* The loop's. */
struct servings {
    struct serving *first;
    size_t count;
};

/* May one more come in? */
bool servings_have_room(const struct repl *r);

/* A member's bulk stream arrived; takes @stream. */
void serving_begin(struct repl *r, uint64_t peer_id, const char *name,
                   uv_stream_t *stream);

/* Ends what is under way and joins; the loop has ended, the applier and the
 * store live. What is left is freed by the errands that the threads sent. */
void servings_stop(struct repl *r);
