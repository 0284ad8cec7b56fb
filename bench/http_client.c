#define _DEFAULT_SOURCE /* strcasestr */
#define _GNU_SOURCE
#include "bench/http_client.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { READ_SIZE = 256 * 1024 };

int http_client_open(struct http_client *c, const char *address,
                     struct errmsg *e)
{
    struct sockaddr_in to = {.sin_family = AF_INET};
    char host[64];
    int one = 1;
    *c = (struct http_client){.fd = -1};
    const char *colon = strrchr(address, ':');
    if (colon == NULL || (size_t)(colon - address) >= sizeof host)
        return errmsg_set(e, ERR_INVALID, "%s: not ip:port", address);
    snprintf(host, sizeof host, "%.*s", (int)(colon - address), address);
    to.sin_port = htons((uint16_t)strtoul(colon + 1, NULL, 10));
    if (inet_pton(AF_INET, host, &to.sin_addr) != 1)
        return errmsg_set(e, ERR_INVALID, "%s: not ip:port", address);
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0 ||
        connect(c->fd, (const struct sockaddr *)&to, sizeof to) != 0 ||
        setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) != 0) {
        int rv = errmsg_set(e, ERR_IO, "%s: %s", address, strerror(errno));
        http_client_close(c);
        return rv;
    }
    return 0;
}

void http_client_close(struct http_client *c)
{
    if (c->fd >= 0)
        close(c->fd);
    buf_deinit(&c->in);
    buf_deinit(&c->body);
    c->fd = -1;
}

static int send_all(struct http_client *c, struct bytes data, struct errmsg *e)
{
    while (data.size > 0) {
        ssize_t sent = send(c->fd, data.data, data.size, MSG_NOSIGNAL);
        if (sent <= 0)
            return errmsg_set(e, ERR_IO, "sending: %s", strerror(errno));
        data.data += sent;
        data.size -= (size_t)sent;
    }
    return 0;
}

/* Some more of the answer behind what is there; a NUL after it. */
static int read_more(struct http_client *c, struct errmsg *e)
{
    uint8_t *room = buf_reserve(&c->in, READ_SIZE + 1);
    if (room == NULL)
        return errmsg_set(e, ERR_NOMEM, "out of memory");
    ssize_t got = recv(c->fd, room, READ_SIZE, 0);
    if (got <= 0)
        return errmsg_set(e, ERR_IO, "the server closed the connection");
    room[got] = '\0';
    c->in.size += (size_t)got;
    return 0;
}

/* Until @marker is there, from @from on; where it ends in *@end. */
static int read_until(struct http_client *c, size_t from, const char *marker,
                      size_t *end, struct errmsg *e)
{
    const char *found = NULL;
    for (;;) {
        const char *text = (const char *)c->in.data;
        if (c->in.size > from)
            found = strstr(text + from, marker);
        if (found != NULL) {
            *end = (size_t)(found - text) + strlen(marker);
            return 0;
        }
        int rv = read_more(c, e);
        if (rv != 0)
            return rv;
    }
}

static int read_sized(struct http_client *c, size_t from, size_t size,
                      struct errmsg *e)
{
    while (c->in.size < from + size) {
        int rv = read_more(c, e);
        if (rv != 0)
            return rv;
    }
    buf_put(&c->body, c->in.data + from, size);
    return 0;
}

static int read_chunks(struct http_client *c, size_t at, struct errmsg *e)
{
    for (;;) {
        size_t data;
        int rv = read_until(c, at, "\r\n", &data, e);
        if (rv != 0)
            return rv;
        size_t size = strtoul((const char *)c->in.data + at, NULL, 16);
        rv = read_sized(c, data, size, e);
        if (rv == 0)
            rv = read_until(c, data + size, "\r\n", &at, e);
        if (rv != 0 || size == 0)
            return rv;
    }
}

static int read_answer(struct http_client *c, struct http_answer *answer,
                       struct errmsg *e)
{
    size_t head = 0;
    int rv = read_until(c, 0, "\r\n\r\n", &head, e);
    if (rv != 0)
        return rv;
    char *text = (char *)c->in.data;
    /* Only the head is searched. */
    char after = text[head];
    text[head] = '\0';
    const char *space = strchr(text, ' ');
    const char *length = strcasestr(text, "\r\ncontent-length:");
    answer->status = space == NULL ? 0 : (int)strtol(space, NULL, 10);
    size_t size =
        length == NULL ? 0 : strtoul(strchr(length, ':') + 1, NULL, 10);
    bool chunked = strcasestr(text, "\r\ntransfer-encoding: chunked") != NULL;
    text[head] = after;
    rv = chunked ? read_chunks(c, head, e) : read_sized(c, head, size, e);
    answer->body = buf_bytes(&c->body);
    return rv;
}

int http_client_ask(struct http_client *c, const char *method, const char *path,
                    const char *headers, struct bytes body,
                    struct http_answer *answer, struct errmsg *e)
{
    struct buf head = {0};
    buf_printf(&head, "%s %s HTTP/1.1\r\nHost: localhost\r\n%s", method, path,
               headers);
    if (body.size > 0)
        buf_printf(&head, "Content-Length: %zu\r\n", body.size);
    buf_printf(&head, "\r\n");
    buf_clear(&c->in);
    buf_clear(&c->body);
    int rv = buf_failed(&head) ? errmsg_set(e, ERR_NOMEM, "out of memory")
                               : send_all(c, buf_bytes(&head), e);
    if (rv == 0)
        rv = send_all(c, body, e);
    if (rv == 0)
        rv = read_answer(c, answer, e);
    buf_deinit(&head);
    return rv;
}
