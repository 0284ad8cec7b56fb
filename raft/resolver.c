#define _GNU_SOURCE /* pthread_setname_np */
#include "raft/resolver.h"

#include "raft/replica.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { QUERIES_MAX = PEERS_MAX };

/* A name that a thread asks for, and what it got. */
struct query {
    struct letter letter;
    struct resolver *resolver;
    struct query *next; /* the loop's */
    char host[HOST_LENGTH_MAX + 1];
    struct sockaddr_storage addresses[LOOKUP_ADDRESSES_MAX];
    size_t count;
    char why[64];
};

struct resolver {
    /* the loop's */
    struct lookup *lookups; /* owned; oldest first */
    struct query *queries;  /* under way or answered; a thread's until then */
    size_t query_count;

    struct mailbox answers;
    pthread_mutex_t lock; /* between an answer and the end of the loop */
    bool stopped;         /* under lock: nobody takes answers any more */
    size_t thread_count;  /* under lock */
};

static void start_queries(struct resolver *r);
static void *query_main(void *arg);

/* --- the loop's side ------------------------------------------------------ */

int resolver_start(struct resolver **out, mailbox_wake_fn *wake, void *arg,
                   struct errmsg *e)
{
    struct resolver *r = calloc(1, sizeof *r);
    if (r == NULL)
        return errmsg_set(e, ERR_NOMEM, "resolver");
    mailbox_init(&r->answers, wake, arg);
    pthread_mutex_init(&r->lock, NULL);
    *out = r;
    return 0;
}

static void resolver_free(struct resolver *r)
{
    pthread_mutex_destroy(&r->lock);
    free(r);
}

void resolver_stop(struct resolver *r)
{
    if (r == NULL)
        return;
    while (r->lookups != NULL)
        resolver_cancel(r, r->lookups);
    pthread_mutex_lock(&r->lock);
    r->stopped = true;
    bool last = r->thread_count == 0;
    struct letter *next;
    for (struct letter *l = mailbox_take(&r->answers); l != NULL; l = next) {
        next = l->next;
        free(CONTAINER_OF(l, struct query, letter));
    }
    pthread_mutex_unlock(&r->lock);
    if (last)
        resolver_free(r);
}

int lookup_parse(const char *address, struct lookup *lookup)
{
    const char *colon = strrchr(address, ':');
    if (colon == NULL || colon == address)
        return ERR_INVALID;
    const char *host = address;
    size_t length = (size_t)(colon - address);
    if (host[0] == '[') {
        if (length < 3 || host[length - 1] != ']')
            return ERR_INVALID;
        host++;
        length -= 2;
    }
    char *end;
    unsigned long port = strtoul(colon + 1, &end, 10);
    if (length == 0 || length > HOST_LENGTH_MAX || colon[1] < '0' ||
        colon[1] > '9' || *end != '\0' || port > 65535)
        return ERR_INVALID;
    memset(lookup->addresses, 0, sizeof lookup->addresses);
    memcpy(lookup->host, host, length);
    lookup->host[length] = '\0';
    snprintf(lookup->port, sizeof lookup->port, "%u", (unsigned)port & 0xffff);
    struct sockaddr_in v4 = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)port)};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6,
                              .sin6_port = htons((uint16_t)port)};
    lookup->count = 1;
    if (inet_pton(AF_INET, lookup->host, &v4.sin_addr) == 1)
        memcpy(&lookup->addresses[0], &v4, sizeof v4);
    else if (inet_pton(AF_INET6, lookup->host, &v6.sin6_addr) == 1)
        memcpy(&lookup->addresses[0], &v6, sizeof v6);
    else
        lookup->count = 0;
    return 0;
}

void resolver_ask(struct resolver *r, struct lookup *lookup)
{
    struct lookup **at = &r->lookups;
    while (*at != NULL)
        at = &(*at)->next;
    *at = lookup;
    lookup->next = NULL;
    lookup->query = NULL;
    start_queries(r);
}

static void unlink_lookup(struct resolver *r, struct lookup *lookup)
{
    struct lookup **at = &r->lookups;
    while (*at != lookup)
        at = &(*at)->next;
    *at = lookup->next;
}

void resolver_cancel(struct resolver *r, struct lookup *lookup)
{
    if (lookup == NULL)
        return;
    unlink_lookup(r, lookup);
    free(lookup);
}

static void unlink_query(struct resolver *r, struct query *query)
{
    struct query **at = &r->queries;
    while (*at != query)
        at = &(*at)->next;
    *at = query->next;
    r->query_count--;
}

static void take_answer(struct lookup *lookup, const struct query *query)
{
    in_port_t port = htons((uint16_t)atoi(lookup->port));
    lookup->count = query->count;
    memcpy(lookup->addresses, query->addresses, sizeof lookup->addresses);
    memcpy(lookup->why, query->why, sizeof lookup->why);
    for (size_t i = 0; i < lookup->count; i++) {
        struct sockaddr_storage *a = &lookup->addresses[i];
        if (a->ss_family == AF_INET6)
            ((struct sockaddr_in6 *)a)->sin6_port = port;
        else
            ((struct sockaddr_in *)a)->sin_port = port;
    }
}

static struct lookup *waiting_for(const struct resolver *r,
                                  const struct query *query)
{
    struct lookup *lookup = r->lookups;
    while (lookup != NULL && lookup->query != query)
        lookup = lookup->next;
    return lookup;
}

void resolver_collect(struct resolver *r)
{
    struct letter *next;
    for (struct letter *l = mailbox_take(&r->answers); l != NULL; l = next) {
        next = l->next;
        struct query *query = CONTAINER_OF(l, struct query, letter);
        unlink_query(r, query);
        /* A callback may ask and cancel: look from the start again. */
        struct lookup *lookup;
        while ((lookup = waiting_for(r, query)) != NULL) {
            unlink_lookup(r, lookup);
            take_answer(lookup, query);
            lookup->done(lookup, lookup->arg);
            free(lookup);
        }
        free(query);
    }
    start_queries(r);
}

static int start_thread(struct resolver *r, struct query *query)
{
    pthread_t thread;
    pthread_mutex_lock(&r->lock);
    int rv = pthread_create(&thread, NULL, query_main, query);
    if (rv == 0) {
        pthread_detach(thread);
        r->thread_count++;
    }
    pthread_mutex_unlock(&r->lock);
    return rv;
}

/* The one that is under way, or a new one. NULL: not now, but when another has
 * been answered or asked for. */
static const struct query *query_for(struct resolver *r, const char *host)
{
    for (struct query *q = r->queries; q != NULL; q = q->next)
        if (strcmp(q->host, host) == 0)
            return q;
    struct query *query =
        r->query_count < QUERIES_MAX ? calloc(1, sizeof *query) : NULL;
    if (query == NULL)
        return NULL;
    query->resolver = r;
    snprintf(query->host, sizeof query->host, "%s", host);
    if (start_thread(r, query) != 0) {
        free(query);
        return NULL;
    }
    query->next = r->queries;
    r->queries = query;
    r->query_count++;
    return query;
}

static void start_queries(struct resolver *r)
{
    for (struct lookup *l = r->lookups; l != NULL; l = l->next)
        if (l->query == NULL)
            l->query = query_for(r, l->host);
}

/* --- the threads ---------------------------------------------------------- */

static void resolve(struct query *query)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_ADDRCONFIG};
    struct addrinfo *found = NULL;
    int rv = getaddrinfo(query->host, NULL, &hints, &found);
    if (rv != 0) {
        snprintf(query->why, sizeof query->why, "%s", gai_strerror(rv));
        return;
    }
    for (struct addrinfo *a = found;
         a != NULL && query->count < LOOKUP_ADDRESSES_MAX; a = a->ai_next)
        memcpy(&query->addresses[query->count++], a->ai_addr, a->ai_addrlen);
    freeaddrinfo(found);
}

static void *query_main(void *arg)
{
    struct query *query = arg;
    struct resolver *r = query->resolver;
    pthread_setname_np(pthread_self(), "resolver");
    resolve(query);
    pthread_mutex_lock(&r->lock);
    bool stopped = r->stopped;
    if (!stopped)
        mailbox_push(&r->answers, &query->letter);
    bool last = --r->thread_count == 0 && stopped;
    pthread_mutex_unlock(&r->lock);
    if (stopped)
        free(query);
    if (last)
        resolver_free(r);
    return NULL;
}
