/* A member that reaches others and that its leader does not reach hears nothing
 * and would say nothing: the addresses that fail are those that the others
 * dial. It is told here, where somebody looks who starts a node. The links to
 * the others (raft/forward) show which side is closed: ours are open, theirs,
 * which bring their facts, do not come. Raft loop only. */
#pragma once

#include <stdint.h>

struct repl;

enum {
    UNHEARD_MS_MIN = 10 * 1000, /* an election, a retry: not worth a line */
    UNHEARD_FACTS_MS = 3000,    /* older facts say nothing about now */
};

struct unheard {
    uint64_t since_ms; /* monotonic: it has been so since then */
};

/* Says once a minute that no leader reaches this node, if that is so. */
void unheard_beat(struct repl *r, uint64_t now_ms);
