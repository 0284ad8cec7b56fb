/* See listen.h. */
#define _GNU_SOURCE /* SOCK_NONBLOCK, SOCK_CLOEXEC */
#include "node/listen.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BACKLOG = 256 };

/* Splits at the last colon; brackets around an IPv6 address go away. */
static int split(const char *bind, char host[LISTEN_ADDRESS_SIZE],
                 const char **port)
{
    const char *colon = strrchr(bind, ':');
    if (colon == NULL || colon[1] == '\0')
        return ERR_INVALID;
    size_t length = (size_t)(colon - bind);
    if (length >= 2 && bind[0] == '[' && bind[length - 1] == ']') {
        bind++;
        length -= 2;
    }
    if (length == 0 || length >= LISTEN_ADDRESS_SIZE)
        return ERR_INVALID;
    memcpy(host, bind, length);
    host[length] = '\0';
    *port = colon + 1;
    return 0;
}

static int describe(int fd, char address[LISTEN_ADDRESS_SIZE])
{
    struct sockaddr_storage bound;
    socklen_t size = sizeof bound;
    char host[48], port[8];
    if (getsockname(fd, (struct sockaddr *)&bound, &size) != 0 ||
        getnameinfo((struct sockaddr *)&bound, size, host, sizeof host, port,
                    sizeof port, NI_NUMERICHOST | NI_NUMERICSERV) != 0)
        return ERR_IO;
    snprintf(address, LISTEN_ADDRESS_SIZE,
             strchr(host, ':') != NULL ? "[%s]:%s" : "%s:%s", host, port);
    return 0;
}

int listen_open(const char *bind_to, int *fd, char address[LISTEN_ADDRESS_SIZE],
                struct errmsg *e)
{
    char host[LISTEN_ADDRESS_SIZE];
    const char *port;
    struct addrinfo hints = {
        .ai_socktype = SOCK_STREAM,
        .ai_flags = AI_PASSIVE | AI_NUMERICHOST | AI_NUMERICSERV,
    };
    struct addrinfo *found = NULL;
    if (split(bind_to, host, &port) != 0 ||
        getaddrinfo(host, port, &hints, &found) != 0)
        return errmsg_set(e, ERR_INVALID, "%s: must be ip:port", bind_to);

    int one = 1;
    int s =
        socket(found->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int rv = 0;
    if (s < 0 || setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) ||
        bind(s, found->ai_addr, found->ai_addrlen) != 0 ||
        listen(s, BACKLOG) != 0 || describe(s, address) != 0)
        rv = errmsg_set(e, ERR_IO, "%s: cannot listen: %s", bind_to,
                        strerror(errno));
    freeaddrinfo(found);
    if (rv != 0 && s >= 0)
        close(s);
    if (rv == 0)
        *fd = s;
    return rv;
}
