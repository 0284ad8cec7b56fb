/* Names to addresses on a thread of its own: a slow DNS server must stop
 * neither the raft loop nor libuv's pool, which libraft's disk writes share.
 * Numeric addresses never leave the loop. The thread may be stuck in a query
 * when the replica stops; it is detached and frees what it holds. */
#pragma once

#include "base/err.h"
#include "base/mailbox.h"

#include <netinet/in.h>
#include <stdbool.h>

enum { LOOKUP_ADDRESSES_MAX = 4, HOST_LENGTH_MAX = 255 };

struct resolver;

struct lookup {
    struct letter letter;
    char host[HOST_LENGTH_MAX + 1];
    char port[6];
    struct sockaddr_storage addresses[LOOKUP_ADDRESSES_MAX];
    size_t count; /* 0: not found */
    char why[64]; /* if not found */
    /* Called on the loop, which frees the lookup afterwards. NULL: nobody
     * waits any more. */
    void (*done)(struct lookup *lookup, void *arg);
    void *arg;
};

/* @wake is called on the resolver's thread when resolver_collect has work. */
NODISCARD int resolver_start(struct resolver **out, mailbox_wake_fn *wake,
                             void *arg, struct errmsg *e);
void resolver_stop(struct resolver *r);

/* Splits "host:port" or "[ipv6]:port" into @lookup; numeric addresses are
 * filled in at once (count = 1). ERR_INVALID. */
NODISCARD int lookup_parse(const char *address, struct lookup *lookup);

/* Takes @lookup (from malloc). Loop. */
void resolver_ask(struct resolver *r, struct lookup *lookup);

/* Calls done() of what was answered and frees it. Loop. */
void resolver_collect(struct resolver *r);
