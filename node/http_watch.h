/* Deadlines of connections. libmicrohttpd ends those on which no byte moves; a
 * client that moves one byte a second it would serve for ever. Http thread. */
#pragma once

#include <stdint.h>

struct http_watch {
    struct http_watch *previous, *next;
    int fd; /* the connection's, not ours to close */
    uint64_t deadline_ms;
};

struct http_watches {
    struct http_watch *first;
    uint64_t looked_ms;
};

/* NULL when memory is short: that connection has the idle timeout only. */
struct http_watch *http_watch_open(struct http_watches *list, int fd,
                                   unsigned ms);
/* NULL is fine. */
void http_watch_set(struct http_watch *w, unsigned ms);
void http_watch_close(struct http_watches *list, struct http_watch *w);

/* Shuts down what is over its deadline; looks at most once a second. */
void http_watch_end_slow(struct http_watches *list);
