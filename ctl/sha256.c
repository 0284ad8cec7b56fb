#include "ctl/sha256.h"

#include "base/assert.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

/* The context itself; the name keeps OpenSSL out of the header. */
struct sha256 *sha256_create(void)
{
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    if (context == NULL)
        return NULL;
    ASSERT(EVP_DigestInit_ex(context, EVP_sha256(), NULL) == 1);
    return (struct sha256 *)context;
}

void sha256_destroy(struct sha256 *s)
{
    EVP_MD_CTX_free((EVP_MD_CTX *)s);
}

void sha256_add(struct sha256 *s, const void *data, size_t size)
{
    ASSERT(EVP_DigestUpdate((EVP_MD_CTX *)s, data, size) == 1);
}

void sha256_text(struct sha256 *s, char out[SHA256_TEXT_SIZE])
{
    unsigned char raw[EVP_MAX_MD_SIZE];
    unsigned size = 0;
    ASSERT(EVP_DigestFinal_ex((EVP_MD_CTX *)s, raw, &size) == 1 && size == 32);
    for (unsigned i = 0; i < size; i++)
        snprintf(out + (size_t)2 * i, 3, "%02x", raw[i]);
}

int sha256_of_file(const char *path, char out[SHA256_TEXT_SIZE],
                   struct errmsg *e)
{
    char piece[64 * 1024];
    size_t size;
    int rv = 0;
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return errmsg_set(e, errno == ENOENT ? ERR_NOTFOUND : ERR_IO, "%s: %s",
                          path, strerror(errno));
    struct sha256 *s = sha256_create();
    if (s == NULL)
        rv = errmsg_set(e, ERR_NOMEM, "out of memory");
    while (rv == 0 && (size = fread(piece, 1, sizeof piece, file)) > 0)
        sha256_add(s, piece, size);
    if (rv == 0 && ferror(file))
        rv = errmsg_set(e, ERR_IO, "%s: cannot be read", path);
    if (rv == 0)
        sha256_text(s, out);
    sha256_destroy(s);
    fclose(file);
    return rv;
}
