/* Names to addresses on threads of their own, one a name that is asked for: a
 * slow DNS server must stop neither the raft loop, nor libuv's pool, which
 * libraft's disk writes share, nor the names that other servers answer for.
 * Numeric addresses never leave the loop. A thread may be stuck in a query when
 * the replica stops; they are detached, and the last one frees what is left.
 * Raft loop only (and before it runs), but for lookup_parse. */
#pragma once

#include "base/err.h"
#include "base/mailbox.h"

#include <netinet/in.h>
#include <stdbool.h>

enum { LOOKUP_ADDRESSES_MAX = 4, HOST_LENGTH_MAX = 255 };

struct resolver;

struct lookup {
    struct lookup *next;       /* private */
    const struct query *query; /* private */
    char host[HOST_LENGTH_MAX + 1];
    char port[6];
    struct sockaddr_storage addresses[LOOKUP_ADDRESSES_MAX];
    size_t count; /* 0: not found */
    char why[64]; /* if not found */
    /* Called by resolver_collect, which frees the lookup afterwards. */
    void (*done)(struct lookup *lookup, void *arg);
    void *arg;
};

/* @wake is called on the resolver's threads when resolver_collect has work. */
NODISCARD int resolver_start(struct resolver **out, mailbox_wake_fn *wake,
                             void *arg, struct errmsg *e);
/* Waits for nobody: lookups are freed, @wake is not called any more. NULL is
 * fine. */
void resolver_stop(struct resolver *r);

/* Splits "host:port" or "[ipv6]:port" into @lookup; numeric addresses are
 * filled in at once (count = 1). ERR_INVALID. */
NODISCARD int lookup_parse(const char *address, struct lookup *lookup);

/* Takes @lookup (from malloc). A name that is being asked for already is not
 * asked for again. */
void resolver_ask(struct resolver *r, struct lookup *lookup);

/* Nobody waits for @lookup any more: it is freed. NULL is fine. */
void resolver_cancel(struct resolver *r, struct lookup *lookup);

/* Calls done() of what was answered and frees it. */
void resolver_collect(struct resolver *r);
