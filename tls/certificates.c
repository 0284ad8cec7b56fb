#define _GNU_SOURCE /* timegm */
#include "tls/certificates.h"

#include <openssl/err.h>
#include <openssl/pem.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { CA, CERT, KEY };

static SSL_CTX *context_new(bool mutual);
static int load_files(const struct certificates *c, SSL_CTX *context,
                      struct errmsg *e);
static int check_dates(const struct certificates *c, SSL_CTX *context,
                       uint64_t *not_after_s, struct errmsg *e);
static void take_stamps(const struct certificates *c,
                        struct file_stamp out[CERTIFICATE_FILES]);

int certificates_open(struct certificates *c, const struct tls_files *files,
                      struct errmsg *e)
{
    *c = (struct certificates){.mutual = files->mutual};
    const char *given[CERTIFICATE_FILES] = {files->ca, files->cert, files->key};
    if (given[CERT] == NULL || given[KEY] == NULL)
        return errmsg_set(e, ERR_INVALID,
                          "TLS needs a certificate and its key");
    if (files->mutual && given[CA] == NULL)
        return errmsg_set(e, ERR_INVALID,
                          "TLS with certificates on both sides needs a CA");
    for (int i = 0; i < CERTIFICATE_FILES; i++)
        if (given[i] != NULL && (c->paths[i] = strdup(given[i])) == NULL)
            return errmsg_set(e, ERR_NOMEM, "certificates");
    return certificates_load(c, e);
}

void certificates_close(struct certificates *c)
{
    for (int i = 0; i < CERTIFICATE_FILES; i++)
        free(c->paths[i]);
    SSL_CTX_free(c->context);
    *c = (struct certificates){0};
}

bool certificates_are_due(const struct certificates *c)
{
    /* One that failed may have been read in the middle of a write that ended
     * within the same tick of the file system's clock. */
    if (c->failed)
        return true;
    struct file_stamp now[CERTIFICATE_FILES];
    take_stamps(c, now);
    return memcmp(now, c->stamps, sizeof now) != 0;
}

int certificates_load(struct certificates *c, struct errmsg *e)
{
    /* Before the files are read: what is written meanwhile makes the next look
     * find a difference. */
    take_stamps(c, c->stamps);
    uint64_t not_after_s = 0;
    SSL_CTX *context = context_new(c->mutual);
    int rv = context == NULL ? errmsg_set(e, ERR_NOMEM, "TLS context")
                             : load_files(c, context, e);
    if (rv == 0)
        rv = check_dates(c, context, &not_after_s, e);
    ERR_clear_error();
    c->failed = rv != 0;
    if (rv != 0) {
        SSL_CTX_free(context);
        return rv;
    }
    SSL_CTX_free(c->context);
    c->context = context;
    c->not_after_s = not_after_s;
    return 0;
}

static void take_stamps(const struct certificates *c,
                        struct file_stamp out[CERTIFICATE_FILES])
{
    /* Compared as bytes: no padding may differ. */
    memset(out, 0, CERTIFICATE_FILES * sizeof *out);
    for (int i = 0; i < CERTIFICATE_FILES; i++) {
        struct stat s;
        if (c->paths[i] == NULL || stat(c->paths[i], &s) != 0)
            continue;
        out[i].device = s.st_dev;
        out[i].inode = s.st_ino;
        out[i].size = s.st_size;
        out[i].modified.tv_sec = s.st_mtim.tv_sec;
        out[i].modified.tv_nsec = s.st_mtim.tv_nsec;
    }
}

/* --- one context ---------------------------------------------------------- */

/* OpenSSL would ask at the terminal. */
static int no_passphrase(char *out, int room, int writing, void *arg)
{
    (void)out;
    (void)room;
    (void)writing;
    (void)arg;
    return -1;
}

static SSL_CTX *context_new(bool mutual)
{
    SSL_CTX *context = SSL_CTX_new(TLS_method());
    if (context == NULL)
        return NULL;
    SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
    SSL_CTX_set_cipher_list(context, "ECDHE+AESGCM:ECDHE+CHACHA20");
    SSL_CTX_set_options(context,
                        SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION);
    /* Partial writes, because the buffer moves on with what was taken; little
     * memory for connections that say nothing. */
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE |
                                  SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                  SSL_MODE_AUTO_RETRY |
                                  SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_read_ahead(context, 1);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_default_passwd_cb(context, no_passphrase);
    if (mutual) {
        SSL_CTX_set_verify(
            context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
        /* A session that is taken up again would skip the look at the other
         * side's certificate. */
        SSL_CTX_set_options(context, SSL_OP_NO_TICKET);
        SSL_CTX_set_num_tickets(context, 0);
    }
    /* A CA of the file is enough, also when another one signed it. */
    X509_VERIFY_PARAM_set_flags(SSL_CTX_get0_param(context),
                                X509_V_FLAG_PARTIAL_CHAIN);
    return context;
}

static int unreadable(const char *path, const char *what, struct errmsg *e)
{
    unsigned long code = ERR_peek_error();
    if (ERR_SYSTEM_ERROR(code))
        return errmsg_set(e, ERR_INVALID, "%.120s: %s", path,
                          strerror(ERR_GET_REASON(code)));
    if (ERR_GET_LIB(code) == ERR_LIB_PEM &&
        ERR_GET_REASON(code) == PEM_R_NO_START_LINE)
        return errmsg_set(e, ERR_INVALID, "%.120s: there is no %s in PEM in it",
                          path, what);
    const char *reason = ERR_reason_error_string(ERR_peek_last_error());
    return errmsg_set(e, ERR_INVALID, "%.120s: no usable %s: %s", path, what,
                      reason != NULL ? reason : "unknown reason");
}

static int load_key(const struct certificates *c, SSL_CTX *context,
                    struct errmsg *e)
{
    if (SSL_CTX_use_PrivateKey_file(context, c->paths[KEY], SSL_FILETYPE_PEM) ==
        1)
        return 0;
    unsigned long code = ERR_peek_last_error();
    int reason = ERR_GET_REASON(code);
    if (ERR_GET_LIB(code) == ERR_LIB_X509 &&
        (reason == X509_R_KEY_VALUES_MISMATCH ||
         reason == X509_R_KEY_TYPE_MISMATCH))
        return errmsg_set(e, ERR_INVALID,
                          "%.100s is not the key of the certificate in %.100s",
                          c->paths[KEY], c->paths[CERT]);
    if (ERR_GET_LIB(code) == ERR_LIB_PEM && reason == PEM_R_BAD_PASSWORD_READ)
        return errmsg_set(e, ERR_INVALID,
                          "%.120s: the key is encrypted and nobody is there "
                          "to type its passphrase: store it without one",
                          c->paths[KEY]);
    return unreadable(c->paths[KEY], "private key", e);
}

static int load_files(const struct certificates *c, SSL_CTX *context,
                      struct errmsg *e)
{
    ERR_clear_error();
    if (SSL_CTX_use_certificate_chain_file(context, c->paths[CERT]) != 1)
        return unreadable(c->paths[CERT], "certificate", e);
    int rv = load_key(c, context, e);
    if (rv == 0 && c->paths[CA] != NULL &&
        SSL_CTX_load_verify_file(context, c->paths[CA]) != 1)
        rv = unreadable(c->paths[CA], "CA certificate", e);
    return rv;
}

static int check_dates(const struct certificates *c, SSL_CTX *context,
                       uint64_t *not_after_s, struct errmsg *e)
{
    const X509 *own = SSL_CTX_get0_certificate(context);
    struct tm begins, ends;
    if (own == NULL ||
        ASN1_TIME_to_tm(X509_get0_notBefore(own), &begins) != 1 ||
        ASN1_TIME_to_tm(X509_get0_notAfter(own), &ends) != 1)
        return errmsg_set(e, ERR_INVALID, "%.120s: dates cannot be read",
                          c->paths[CERT]);
    time_t now = time(NULL), until = timegm(&ends);
    char date[32];
    if (until <= now) {
        strftime(date, sizeof date, "%Y-%m-%d %H:%M UTC", &ends);
        return errmsg_set(e, ERR_INVALID,
                          "%.120s: the certificate expired on %s: renew it",
                          c->paths[CERT], date);
    }
    if (timegm(&begins) > now) {
        strftime(date, sizeof date, "%Y-%m-%d %H:%M UTC", &begins);
        return errmsg_set(e, ERR_INVALID,
                          "%.120s: the certificate is not valid before %s: "
                          "compare this machine's clock",
                          c->paths[CERT], date);
    }
    *not_after_s = (uint64_t)until;
    return 0;
}
