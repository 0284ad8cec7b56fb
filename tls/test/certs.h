/* Certificates for tests, made on the spot with small keys: a CA, files signed
 * by it, and files that are wrong in the way a test wants. Aborts on failure.
 * Files appear whole (written beside, then renamed). */
#pragma once

#include <stddef.h>

struct test_ca {
    void *key, *cert; /* owned */
};

void test_ca_init(struct test_ca *ca, const char *name);
void test_ca_deinit(struct test_ca *ca);

/* One PEM file with @ca and, unless NULL, @other. */
void test_ca_write(const char *path, const struct test_ca *ca,
                   const struct test_ca *other);

struct test_wish {
    const char *san;       /* "DNS:a.example,IP:127.0.0.1"; NULL: none */
    const char *usage;     /* "serverAuth"; NULL: both */
    long begins_s, ends_s; /* from now; 0, 0: valid for a day */
};

/* A certificate with a fresh key. Its common name is "common.example", which
 * must never count. */
void test_cert_write(const struct test_ca *ca, const struct test_wish *wish,
                     const char *cert_path, const char *key_path);
