/* HTTP(S) to the nodes over libcurl: one question, or many at once, each with a
 * JSON answer; and which node to ask when any would do. */
#pragma once

#include "base/bytes.h"

#include <jansson.h>

enum {
    ENDPOINTS_MAX = 32,
    URL_LENGTH_MAX = 300,
    REPLY_SIZE_MAX = 256 * 1024 * 1024, /* a list of all devices fits */
    CONNECT_MS_MAX = 3000,
    QUIET_S_MAX = 3600, /* of a download: a large store takes so long to copy
                           before its first byte */
};

struct client {
    char *endpoints[ENDPOINTS_MAX]; /* owned: scheme://host:port */
    size_t endpoint_count;
    char *token;  /* owned; NULL: none */
    char *cacert; /* owned; NULL: the system's certificates */
    long timeout_ms;
};

void client_deinit(struct client *c);

/* Splits and checks a comma list of addresses: "host:port" stands for http,
 * "host" for http at port 8000. */
NODISCARD int client_set_endpoints(struct client *c, const char *list,
                                   struct errmsg *e);
/* One more, owned by @c; ERR_LIMIT, ERR_NOMEM. */
NODISCARD int client_add_endpoint(struct client *c, const char *address,
                                  struct errmsg *e);

struct question {
    const char *endpoint; /* borrowed */
    const char *method, *path;
    const json_t *body; /* borrowed; NULL: none */

    /* the answer */
    long status; /* of HTTP; 0: none came */
    bool unsent; /* no connection: certainly not done */
    double took_ms;
    struct buf text;  /* owned, NUL-terminated beyond its size */
    json_t *json;     /* owned; NULL: it was none */
    char error[256];  /* "" after a 2xx; otherwise what went wrong */
    const char *hint; /* what to look at, or NULL; borrowed: lives for ever */
    char code[32];    /* of the API's error, or "" */
};

static inline bool question_ok(const struct question *q)
{
    return q->error[0] == '\0';
}

/* Asks all at once and waits for all. What goes wrong is in each question. */
void client_ask(const struct client *c, struct question *questions,
                size_t count);
void question_deinit(struct question *q);

/* GET @path from the first endpoint that answers; *@asked (may be NULL) tells
 * which. The JSON is the caller's. The message tells what each endpoint said
 * when none did. */
NODISCARD int client_get(const struct client *c, const char *path, json_t **out,
                         const char **asked, struct errmsg *e);

/* The same for a change: goes on to the next endpoint only when it was
 * certainly not done. @out may be NULL. */
NODISCARD int client_change(const struct client *c, const char *method,
                            const char *path, const json_t *body, json_t **out,
                            struct errmsg *e);

/* Turns a failed question into an error with a message. */
NODISCARD int question_fail(const struct question *q, struct errmsg *e);

/* --- downloads ------------------------------------------------------------ */

struct download {
    const char *endpoint, *path; /* borrowed */
    /* Called for each piece; false ends it. */
    bool (*take)(void *arg, const void *data, size_t size);
    /* Called for each header of the answer, the value without blanks. */
    void (*header)(void *arg, const char *name, const char *value);
    /* Called a few times a second, also while nothing comes. */
    void (*tick)(void *arg);
    void *arg;
};

/* 0 when all of a 200 was taken. No limit of time but QUIET_S_MAX. */
NODISCARD int client_download(const struct client *c, const struct download *d,
                              struct errmsg *e);

/* A path segment with everything but letters, digits and -._~ escaped, into
 * @out; false if it does not fit. */
bool path_escape(const char *text, char *out, size_t size);
