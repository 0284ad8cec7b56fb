#include "tls/test/certs.h"

#include "base/assert.h"

#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>

enum { DAY_S = 24 * 3600 };

static void add_extension(X509 *x, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX context;
    X509V3_set_ctx_nodb(&context);
    X509V3_set_ctx(&context, issuer, x, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
    ASSERT(extension != NULL && X509_add_ext(x, extension, -1) == 1);
    X509_EXTENSION_free(extension);
}

static X509 *unsigned_cert(EVP_PKEY *key, const char *common_name,
                           long begins_s, long ends_s)
{
    static atomic_long serial = 1;
    X509 *x = X509_new();
    ASSERT(x != NULL && key != NULL);
    X509_set_version(x, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(x), atomic_fetch_add(&serial, 1));
    X509_gmtime_adj(X509_getm_notBefore(x), begins_s);
    X509_gmtime_adj(X509_getm_notAfter(x), ends_s);
    X509_set_pubkey(x, key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC,
                               (const unsigned char *)common_name, -1, -1, 0);
    return x;
}

void test_ca_init(struct test_ca *ca, const char *name)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *x = unsigned_cert(key, name, -DAY_S, 2 * DAY_S);
    X509_set_issuer_name(x, X509_get_subject_name(x));
    add_extension(x, x, NID_basic_constraints, "critical,CA:TRUE");
    add_extension(x, x, NID_key_usage, "critical,keyCertSign");
    add_extension(x, x, NID_subject_key_identifier, "hash");
    ASSERT(X509_sign(x, key, EVP_sha256()) > 0);
    *ca = (struct test_ca){key, x};
}

void test_ca_deinit(struct test_ca *ca)
{
    EVP_PKEY_free(ca->key);
    X509_free(ca->cert);
}

/* --- files ---------------------------------------------------------------- */

struct draft {
    FILE *file;
    const char *path;
    char beside[512];
};

static void draft_open(struct draft *d, const char *path)
{
    d->path = path;
    snprintf(d->beside, sizeof d->beside, "%s.new", path);
    d->file = fopen(d->beside, "w");
    ASSERT(d->file != NULL);
}

static void draft_publish(struct draft *d)
{
    ASSERT(fclose(d->file) == 0);
    ASSERT(rename(d->beside, d->path) == 0);
}

void test_ca_write(const char *path, const struct test_ca *ca,
                   const struct test_ca *other)
{
    struct draft d;
    draft_open(&d, path);
    ASSERT(PEM_write_X509(d.file, ca->cert) == 1);
    ASSERT(other == NULL || PEM_write_X509(d.file, other->cert) == 1);
    draft_publish(&d);
}

void test_cert_write(const struct test_ca *ca, const struct test_wish *wish,
                     const char *cert_path, const char *key_path)
{
    bool dated = wish->begins_s != 0 || wish->ends_s != 0;
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *x =
        unsigned_cert(key, "common.example", dated ? wish->begins_s : -DAY_S,
                      dated ? wish->ends_s : DAY_S);
    X509_set_issuer_name(x, X509_get_subject_name(ca->cert));
    if (wish->san != NULL)
        add_extension(x, ca->cert, NID_subject_alt_name, wish->san);
    add_extension(x, ca->cert, NID_ext_key_usage,
                  wish->usage != NULL ? wish->usage : "serverAuth,clientAuth");
    add_extension(x, ca->cert, NID_authority_key_identifier, "keyid");
    ASSERT(X509_sign(x, ca->key, EVP_sha256()) > 0);

    struct draft d;
    draft_open(&d, key_path);
    ASSERT(PEM_write_PrivateKey(d.file, key, NULL, NULL, 0, NULL, NULL) == 1);
    draft_publish(&d);
    draft_open(&d, cert_path);
    ASSERT(PEM_write_X509(d.file, x) == 1);
    draft_publish(&d);
    X509_free(x);
    EVP_PKEY_free(key);
}
