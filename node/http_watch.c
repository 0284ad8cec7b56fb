/* See http_watch.h. */
#include "node/http_watch.h"

#include <stdlib.h>
#include <sys/socket.h>

#include "base/clock.h"

enum { INTERVAL_MS = 1000 };

struct http_watch *http_watch_open(struct http_watches *list, int fd,
                                   unsigned ms)
{
    struct http_watch *w = calloc(1, sizeof *w);
    if (w == NULL)
        return NULL;
    w->fd = fd;
    w->deadline_ms = clock_mono_ms() + ms;
    w->next = list->first;
    if (list->first != NULL)
        list->first->previous = w;
    list->first = w;
    return w;
}

void http_watch_set(struct http_watch *w, unsigned ms)
{
    if (w != NULL)
        w->deadline_ms = clock_mono_ms() + ms;
}

void http_watch_close(struct http_watches *list, struct http_watch *w)
{
    if (w == NULL)
        return;
    if (w->previous != NULL)
        w->previous->next = w->next;
    else
        list->first = w->next;
    if (w->next != NULL)
        w->next->previous = w->previous;
    free(w);
}

void http_watch_end_slow(struct http_watches *list)
{
    uint64_t now = clock_mono_ms();
    if (now - list->looked_ms < INTERVAL_MS)
        return;
    list->looked_ms = now;
    for (struct http_watch *w = list->first; w != NULL; w = w->next)
        if (w->deadline_ms <= now)
            (void)shutdown(w->fd, SHUT_RDWR);
}
