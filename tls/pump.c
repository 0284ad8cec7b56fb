/* The pump: one thread, one epoll, all connections of one set of certificates.
 * What is open goes first; of the handshakes, which cost a millisecond of
 * arithmetic each and may be a stranger's, one step is done in a turn. */
#include "base/clock.h"
#include "tls/certificates.h"
#include "tls/channel.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { EVENTS_MAX = 64, SWEEP_MS = 250 };

struct queue {
    struct channel *first, *last;
};

struct tls {
    /* any thread */
    struct mailbox box; /* struct tls_handshake */
    int event;          /* rings the pump */
    atomic_bool stop, look;

    pthread_mutex_t lock;
    pthread_cond_t closed;     /* @closing is NULL again */
    struct tls_inbox *closing; /* under lock */
    struct tls_status status;  /* under lock */

    /* the pump's */
    pthread_t thread;
    bool thread_started;
    int epoll;
    struct certificates certificates;
    struct channel *channels[TLS_CONNECTIONS_MAX]; /* owned */
    size_t count;
    struct queue ready, shaking; /* what is over is freed when taken out */
    uint64_t sweep_ms, reload_ms;
};

static void *pump_main(void *arg);

/* --- from any thread ------------------------------------------------------ */

static void ring(void *arg)
{
    struct tls *t = arg;
    uint64_t one = 1;
    ssize_t n = write(t->event, &one, sizeof one);
    (void)n; /* it can only be full, and rings then */
}

static void note_load(struct tls *t, const char *error)
{
    pthread_mutex_lock(&t->lock);
    t->status.not_after_s = t->certificates.not_after_s;
    if (error[0] == '\0')
        t->status.loaded_s = clock_wall_ms() / 1000;
    snprintf(t->status.reload_error, sizeof t->status.reload_error, "%.*s",
             (int)sizeof t->status.reload_error - 1, error);
    pthread_mutex_unlock(&t->lock);
}

static int start_thread(struct tls *t, struct errmsg *e)
{
    t->epoll = epoll_create1(EPOLL_CLOEXEC);
    t->event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    if (t->epoll < 0 || t->event < 0 ||
        epoll_ctl(t->epoll, EPOLL_CTL_ADD, t->event, &event) != 0)
        return errmsg_set(e, ERR_IO, "TLS thread: %s", strerror(errno));
    if (pthread_create(&t->thread, NULL, pump_main, t) != 0)
        return errmsg_set(e, ERR_NOMEM, "cannot start the TLS thread");
    t->thread_started = true;
    return 0;
}

int tls_start(const struct tls_files *files, struct tls **out, struct errmsg *e)
{
    *out = NULL;
    struct tls *t = calloc(1, sizeof *t);
    if (t == NULL)
        return errmsg_set(e, ERR_NOMEM, "TLS");
    t->epoll = t->event = -1;
    pthread_mutex_init(&t->lock, NULL);
    pthread_cond_init(&t->closed, NULL);
    mailbox_init(&t->box, ring, t);
    t->reload_ms = clock_mono_ms() + TLS_RELOAD_MS;
    int rv = certificates_open(&t->certificates, files, e);
    if (rv == 0) {
        note_load(t, "");
        rv = start_thread(t, e);
    }
    if (rv == 0)
        *out = t;
    else
        tls_stop(t);
    return rv;
}

static void give_back(struct tls_handshake *h)
{
    mailbox_push(&h->inbox->box, &h->letter);
}

/* One that got no channel. */
static void turn_away(struct tls_handshake *h, const char *why)
{
    close(h->fd);
    h->fd = -1;
    snprintf(h->why, sizeof h->why, "%s", why);
    give_back(h);
}

static void turn_all_away(struct tls *t)
{
    struct letter *next;
    for (struct letter *l = mailbox_take(&t->box); l != NULL; l = next) {
        next = l->next;
        turn_away(CONTAINER_OF(l, struct tls_handshake, letter), "stopped");
    }
}

void tls_stop(struct tls *t)
{
    if (t == NULL)
        return;
    if (t->thread_started) {
        atomic_store(&t->stop, true);
        ring(t);
        pthread_join(t->thread, NULL);
    }
    turn_all_away(t);
    certificates_close(&t->certificates);
    if (t->epoll >= 0)
        close(t->epoll);
    if (t->event >= 0)
        close(t->event);
    pthread_cond_destroy(&t->closed);
    pthread_mutex_destroy(&t->lock);
    free(t);
}

void tls_reload(struct tls *t)
{
    atomic_store(&t->look, true);
    ring(t);
}

void tls_status(struct tls *t, struct tls_status *out)
{
    pthread_mutex_lock(&t->lock);
    *out = t->status;
    pthread_mutex_unlock(&t->lock);
}

void tls_handshake(struct tls *t, struct tls_inbox *inbox,
                   struct tls_handshake *h)
{
    h->inbox = inbox;
    h->peer = NULL;
    h->why[0] = '\0';
    h->silent = false;
    mailbox_push(&t->box, &h->letter);
}

void tls_inbox_close(struct tls *t, struct tls_inbox *inbox)
{
    pthread_mutex_lock(&t->lock);
    while (t->closing != NULL)
        pthread_cond_wait(&t->closed, &t->lock);
    t->closing = inbox;
    ring(t);
    while (t->closing == inbox)
        pthread_cond_wait(&t->closed, &t->lock);
    pthread_mutex_unlock(&t->lock);
}

/* --- the pump's parts ----------------------------------------------------- */

static void put(struct queue *q, struct channel *c)
{
    if (c->queued)
        return;
    c->queued = true;
    c->next = NULL;
    if (q->last != NULL)
        q->last->next = c;
    else
        q->first = c;
    q->last = c;
}

static struct channel *take(struct queue *q)
{
    struct channel *c = q->first;
    if (c == NULL)
        return NULL;
    q->first = c->next;
    if (q->first == NULL)
        q->last = NULL;
    c->queued = false;
    return c;
}

static void bury(struct tls *t, struct channel *c) REQUIRES(pump_thread)
{
    struct channel *last = t->channels[--t->count];
    t->channels[c->slot] = last;
    last->slot = c->slot;
    channel_destroy(c);
    pthread_mutex_lock(&t->lock);
    t->status.connections = t->count;
    pthread_mutex_unlock(&t->lock);
}

/* The handshake is decided: tells the consumer. */
static void tell(struct tls *t, struct channel *c) REQUIRES(pump_thread)
{
    struct tls_handshake *h = c->h;
    c->h = NULL;
    pthread_mutex_lock(&t->lock);
    if (c->state == CHANNEL_OPEN)
        t->status.handshakes++;
    else
        t->status.failures++;
    t->status.connections = t->count;
    pthread_mutex_unlock(&t->lock);
    give_back(h);
}

static void settle(struct tls *t, struct channel *c) REQUIRES(pump_thread)
{
    tell(t, c);
    put(&t->ready, c); /* bytes may have come with the last message */
}

/* Strangers who connect and say nothing must not keep peers out: the one that
 * has been silent for longest goes. A consumer that gave one up cannot end it
 * here. */
static bool make_room(struct tls *t) REQUIRES(pump_thread)
{
    struct channel *oldest = NULL;
    for (size_t i = 0; i < t->count; i++) {
        struct channel *c = t->channels[i];
        if (c->state == CHANNEL_SHAKING && !c->queued &&
            (oldest == NULL || c->deadline_ms < oldest->deadline_ms))
            oldest = c;
    }
    if (oldest == NULL)
        return false;
    channel_refuse(oldest, "too many TLS connections");
    tell(t, oldest);
    bury(t, oldest);
    return true;
}

static void admit(struct tls *t, struct tls_handshake *h) REQUIRES(pump_thread)
{
    if (t->count == TLS_CONNECTIONS_MAX && !make_room(t)) {
        turn_away(h, "too many TLS connections");
        return;
    }
    struct channel *c = channel_create(t->certificates.context, t->epoll, h);
    if (c == NULL) {
        turn_away(h, "TLS: out of memory, or the name cannot be one");
        return;
    }
    c->slot = t->count;
    t->channels[t->count++] = c;
    put(&t->shaking, c);
}

static void admit_all(struct tls *t) REQUIRES(pump_thread)
{
    struct letter *next;
    for (struct letter *l = mailbox_take(&t->box); l != NULL; l = next) {
        next = l->next;
        admit(t, CONTAINER_OF(l, struct tls_handshake, letter));
    }
}

/* --- turns ---------------------------------------------------------------- */

static void go_all(struct tls *t) REQUIRES(pump_thread)
{
    struct queue now = t->ready;
    t->ready = (struct queue){0};
    uint64_t now_ms = clock_mono_ms();
    for (struct channel *c; (c = take(&now)) != NULL;) {
        bool more = c->state == CHANNEL_OPEN && channel_go(c, now_ms);
        if (c->state == CHANNEL_OVER)
            bury(t, c);
        else if (more)
            put(&t->ready, c);
    }
}

static void shake_one(struct tls *t) REQUIRES(pump_thread)
{
    struct channel *c;
    while ((c = take(&t->shaking)) != NULL && c->state == CHANNEL_OVER)
        bury(t, c);
    if (c == NULL)
        return;
    channel_shake(c);
    if (c->state != CHANNEL_SHAKING)
        settle(t, c);
}

/* Those of @inbox, or all. */
static void refuse_all(struct tls *t, const struct tls_inbox *inbox,
                       const char *why) REQUIRES(pump_thread)
{
    for (size_t i = 0; i < t->count; i++) {
        struct channel *c = t->channels[i];
        if (c->state != CHANNEL_SHAKING ||
            (inbox != NULL && c->h->inbox != inbox))
            continue;
        channel_refuse(c, why);
        settle(t, c);
    }
}

static void close_inbox(struct tls *t) REQUIRES(pump_thread)
{
    pthread_mutex_lock(&t->lock);
    struct tls_inbox *inbox = t->closing;
    pthread_mutex_unlock(&t->lock);
    if (inbox == NULL)
        return;
    admit_all(t); /* what was given before the inbox was closed */
    refuse_all(t, inbox, "given up");
    pthread_mutex_lock(&t->lock);
    t->closing = NULL;
    pthread_cond_broadcast(&t->closed);
    pthread_mutex_unlock(&t->lock);
}

static void sweep(struct tls *t, uint64_t now_ms) REQUIRES(pump_thread)
{
    for (size_t i = 0; i < t->count; i++) {
        struct channel *c = t->channels[i];
        if (c->deadline_ms == 0 || c->deadline_ms > now_ms)
            continue;
        if (c->state == CHANNEL_SHAKING) {
            channel_refuse(c, "it made no TLS handshake in time");
            settle(t, c);
        } else {
            c->state = CHANNEL_OVER;
            put(&t->ready, c);
        }
    }
    t->sweep_ms = now_ms + SWEEP_MS;
}

static void reload(struct tls *t, uint64_t now_ms) REQUIRES(pump_thread)
{
    t->reload_ms = now_ms + TLS_RELOAD_MS;
    if (!certificates_are_due(&t->certificates))
        return;
    struct errmsg e = {""};
    int rv = certificates_load(&t->certificates, &e);
    note_load(t, rv == 0 ? "" : e.text);
}

static int wait_ms(const struct tls *t, uint64_t now_ms)
{
    if (t->ready.first != NULL || t->shaking.first != NULL)
        return 0;
    uint64_t until = t->reload_ms;
    if (t->count > 0 && t->sweep_ms < until)
        until = t->sweep_ms;
    return until <= now_ms ? 0 : (int)(until - now_ms);
}

static void wait_for_events(struct tls *t) REQUIRES(pump_thread)
{
    struct epoll_event events[EVENTS_MAX];
    int n =
        epoll_wait(t->epoll, events, EVENTS_MAX, wait_ms(t, clock_mono_ms()));
    for (int i = 0; i < n; i++) {
        struct channel_end *end = events[i].data.ptr;
        if (end == NULL) {
            uint64_t rings;
            ssize_t got = read(t->event, &rings, sizeof rings);
            (void)got;
            continue;
        }
        channel_note(end, events[i].events);
        struct channel *c = end->channel;
        put(c->state == CHANNEL_SHAKING ? &t->shaking : &t->ready, c);
    }
}

static void *pump_main(void *arg)
{
    struct tls *t = arg;
    thread_role_take(&pump_thread);
    /* Above all SIGPIPE: OpenSSL writes without MSG_NOSIGNAL. */
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, NULL);
    while (!atomic_load(&t->stop)) {
        wait_for_events(t);
        admit_all(t);
        close_inbox(t);
        go_all(t);
        shake_one(t);
        uint64_t now_ms = clock_mono_ms();
        if (t->count > 0 && t->sweep_ms <= now_ms)
            sweep(t, now_ms);
        if (t->reload_ms <= now_ms || atomic_exchange(&t->look, false))
            reload(t, now_ms);
    }
    refuse_all(t, NULL, "stopped");
    while (t->count > 0)
        bury(t, t->channels[t->count - 1]);
    return NULL;
}
