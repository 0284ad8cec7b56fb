#include "base/mailbox.h"

void mailbox_init(struct mailbox *box, mailbox_wake_fn *wake, void *arg)
{
    atomic_init(&box->newest, NULL);
    box->wake = wake;
    box->arg = arg;
}

void mailbox_push(struct mailbox *box, struct letter *letter)
{
    struct letter *head =
        atomic_load_explicit(&box->newest, memory_order_relaxed);
    do {
        letter->next = head;
    } while (!atomic_compare_exchange_weak_explicit(&box->newest, &head, letter,
                                                    memory_order_release,
                                                    memory_order_relaxed));
    if (head == NULL && box->wake != NULL)
        box->wake(box->arg);
}

struct letter *mailbox_take(struct mailbox *box)
{
    struct letter *newest =
        atomic_exchange_explicit(&box->newest, NULL, memory_order_acquire);
    struct letter *oldest = NULL;
    while (newest != NULL) {
        struct letter *next = newest->next;
        newest->next = oldest;
        oldest = newest;
        newest = next;
    }
    return oldest;
}
