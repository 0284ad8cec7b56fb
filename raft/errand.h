/* Work that crosses into or out of the raft loop or the applier: a letter that
 * knows what to do when it arrives. Embedded in what it is about; whoever runs
 * it owns it from then on. */
#pragma once

#include "base/mailbox.h"

struct errand {
    struct letter letter;
    void (*run)(struct errand *errand); /* on the consumer's thread */
};

/* Runs everything that has come, oldest first. */
static inline void errands_run(struct mailbox *box)
{
    struct letter *next;
    for (struct letter *l = mailbox_take(box); l != NULL; l = next) {
        next = l->next;
        struct errand *errand = CONTAINER_OF(l, struct errand, letter);
        errand->run(errand);
    }
}
