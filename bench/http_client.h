/* A small HTTP/1.1 client on one connection that stays open: one request and
 * its whole answer, with so little of its own that what is timed is the server.
 * For the benchmarks; it trusts the server. */
#pragma once

#include "base/bytes.h"

struct http_client {
    int fd;
    struct buf in, body; /* owned: the answer as it came, and its body */
};

struct http_answer {
    int status;
    struct bytes body; /* borrowed from the client until the next request */
};

/* @address is "ip:port". ERR_IO with a message. */
NODISCARD int http_client_open(struct http_client *c, const char *address,
                               struct errmsg *e);
void http_client_close(struct http_client *c);

/* @headers: lines that end with \r\n, or "". */
NODISCARD int http_client_ask(struct http_client *c, const char *method,
                              const char *path, const char *headers,
                              struct bytes body, struct http_answer *answer,
                              struct errmsg *e);
