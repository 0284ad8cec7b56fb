/* The way back from the pump to whoever gave it a socket. */
#include "tls/tls.h"

#include <stdlib.h>
#include <unistd.h>

void tls_inbox_init(struct tls_inbox *inbox, mailbox_wake_fn *wake, void *arg)
{
    mailbox_init(&inbox->box, wake, arg);
}

static void throw_away(struct tls_handshake *h)
{
    if (h->fd >= 0)
        close(h->fd);
    tls_peer_free(h->peer);
}

void tls_collect(struct tls_inbox *inbox)
{
    struct letter *next;
    for (struct letter *l = mailbox_take(&inbox->box); l != NULL; l = next) {
        next = l->next;
        struct tls_handshake *h = CONTAINER_OF(l, struct tls_handshake, letter);
        if (h->done != NULL)
            h->done(h, h->arg);
        else
            throw_away(h);
        free(h);
    }
}
