#define _GNU_SOURCE /* pthread_setname_np */
#include "raft/resolver.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct resolver {
    struct mailbox questions, answers;
    sem_t mail;
    pthread_mutex_t lock; /* between an answer and the end of the loop */
    bool stopped;         /* under lock: nobody takes answers any more */
};

static void *resolver_main(void *arg);
static void free_all(struct mailbox *box);

static void wake_resolver(void *arg)
{
    struct resolver *r = arg;
    sem_post(&r->mail);
}

int resolver_start(struct resolver **out, mailbox_wake_fn *wake, void *arg,
                   struct errmsg *e)
{
    struct resolver *r = calloc(1, sizeof *r);
    if (r == NULL)
        return errmsg_set(e, ERR_NOMEM, "resolver");
    mailbox_init(&r->questions, wake_resolver, r);
    mailbox_init(&r->answers, wake, arg);
    sem_init(&r->mail, 0, 0);
    pthread_mutex_init(&r->lock, NULL);
    pthread_t thread;
    if (pthread_create(&thread, NULL, resolver_main, r) != 0) {
        sem_destroy(&r->mail);
        pthread_mutex_destroy(&r->lock);
        free(r);
        return errmsg_set(e, ERR_NOMEM, "cannot start the resolver thread");
    }
    pthread_detach(thread);
    *out = r;
    return 0;
}

void resolver_stop(struct resolver *r)
{
    if (r == NULL)
        return;
    pthread_mutex_lock(&r->lock);
    r->stopped = true;
    free_all(&r->answers);
    /* Under the lock: the thread frees the semaphore only after taking it. */
    sem_post(&r->mail);
    pthread_mutex_unlock(&r->lock);
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
    mailbox_push(&r->questions, &lookup->letter);
}

void resolver_collect(struct resolver *r)
{
    struct letter *next;
    for (struct letter *l = mailbox_take(&r->answers); l != NULL; l = next) {
        next = l->next;
        struct lookup *lookup = CONTAINER_OF(l, struct lookup, letter);
        if (lookup->done != NULL)
            lookup->done(lookup, lookup->arg);
        free(lookup);
    }
}

/* --- the thread ----------------------------------------------------------- */

static void resolve(struct lookup *lookup)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_ADDRCONFIG};
    struct addrinfo *found = NULL;
    int rv = getaddrinfo(lookup->host, lookup->port, &hints, &found);
    lookup->count = 0;
    if (rv != 0) {
        snprintf(lookup->why, sizeof lookup->why, "%s", gai_strerror(rv));
        return;
    }
    for (struct addrinfo *a = found;
         a != NULL && lookup->count < LOOKUP_ADDRESSES_MAX; a = a->ai_next)
        memcpy(&lookup->addresses[lookup->count++], a->ai_addr, a->ai_addrlen);
    freeaddrinfo(found);
}

/* False when the loop is gone. */
static bool answer(struct resolver *r, struct lookup *lookup)
{
    pthread_mutex_lock(&r->lock);
    bool stopped = r->stopped;
    if (!stopped)
        mailbox_push(&r->answers, &lookup->letter);
    pthread_mutex_unlock(&r->lock);
    if (stopped)
        free(lookup);
    return !stopped;
}

static bool is_stopped(struct resolver *r)
{
    pthread_mutex_lock(&r->lock);
    bool stopped = r->stopped;
    pthread_mutex_unlock(&r->lock);
    return stopped;
}

static void *resolver_main(void *arg)
{
    struct resolver *r = arg;
    pthread_setname_np(pthread_self(), "resolver");
    while (!is_stopped(r)) {
        while (sem_wait(&r->mail) != 0)
            continue;
        struct letter *next;
        for (struct letter *l = mailbox_take(&r->questions); l != NULL;
             l = next) {
            next = l->next;
            struct lookup *lookup = CONTAINER_OF(l, struct lookup, letter);
            if (!is_stopped(r))
                resolve(lookup);
            (void)answer(r, lookup);
        }
    }
    free_all(&r->questions);
    sem_destroy(&r->mail);
    pthread_mutex_destroy(&r->lock);
    free(r);
    return NULL;
}

static void free_all(struct mailbox *box)
{
    struct letter *next;
    for (struct letter *l = mailbox_take(box); l != NULL; l = next) {
        next = l->next;
        free(CONTAINER_OF(l, struct lookup, letter));
    }
}
