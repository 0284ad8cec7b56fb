/* The one way for work to cross threads: many producers push, one consumer
 * takes everything at once. Lock-free; the consumer is woken only when the
 * mailbox was empty, so a busy consumer costs its producers no system call.
 *
 * A letter is embedded in what is sent; the mailbox never allocates and never
 * owns. Its bound is that of its producers, each of which has a named limit on
 * what it keeps in flight. */
#pragma once

#include <stdatomic.h>
#include <stddef.h>

struct letter {
    struct letter *next;
};

/* Called on the producer's thread, at most once per drained batch. */
typedef void mailbox_wake_fn(void *arg);

struct mailbox {
    _Atomic(struct letter *) newest; /* a stack: newest first */
    mailbox_wake_fn *wake;
    void *arg; /* borrowed: lives as long as the mailbox */
};

void mailbox_init(struct mailbox *box, mailbox_wake_fn *wake, void *arg);

/* Any thread. @letter must not be in a mailbox already. */
void mailbox_push(struct mailbox *box, struct letter *letter);

/* The consumer only. Everything pushed so far as a list, oldest first, linked
 * by ->next; NULL when there is nothing. */
struct letter *mailbox_take(struct mailbox *box);

/* The structure that embeds a letter (or any other member). */
#define CONTAINER_OF(pointer, type, member)                                    \
    ((type *)(void *)((char *)(pointer)-offsetof(type, member)))
