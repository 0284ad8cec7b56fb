/* The certificate files of one pump and what OpenSSL made of them. A set that
 * cannot be loaded never replaces one that works. Pump thread, after
 * certificates_open. */
#pragma once

#include "tls/tls.h"

#include <openssl/ssl.h>

#include <sys/types.h>
#include <time.h>

/* What tells one version of a file from another. A link that is turned (as
 * Kubernetes does with a mounted secret) shows in device and inode. */
struct file_stamp {
    dev_t device;
    ino_t inode;
    off_t size;
    struct timespec modified;
};

enum { CERTIFICATE_FILES = 3 };

struct certificates {
    char *paths[CERTIFICATE_FILES]; /* owned: CA (may be NULL), cert, key */
    struct file_stamp stamps[CERTIFICATE_FILES]; /* before the last attempt */
    bool mutual;
    bool failed;          /* the last attempt */
    SSL_CTX *context;     /* owned; connections hold references of their own */
    uint64_t not_after_s; /* Unix s, of the certificate in @context */
};

/* Copies the paths and loads. ERR_INVALID: the message names the file. */
NODISCARD int certificates_open(struct certificates *c,
                                const struct tls_files *files,
                                struct errmsg *e);
void certificates_close(struct certificates *c);

/* True if a file has changed since the last attempt, or that one failed. */
bool certificates_are_due(const struct certificates *c);

/* ERR_INVALID: what was in use before still is. */
NODISCARD int certificates_load(struct certificates *c, struct errmsg *e);
