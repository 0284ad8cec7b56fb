#include "node/token.h"

#include "base/assert.h"

#include <jwt.h>
#include <sodium.h>

#include <stdio.h>
#include <stdlib.h>

enum {
    LEEWAY_S = 60,
    TOKEN_LENGTH_MAX = 4096,
};

static const char issuer[] = "DefGuard";

/* The location of a decimal client_id without sign, space or leading zero. */
static uint32_t location_parse(const char *text)
{
    uint64_t id = 0;
    if (text == NULL || text[0] < '1' || text[0] > '9')
        return 0;
    for (const char *p = text; *p != '\0'; p++) {
        if (*p < '0' || *p > '9')
            return 0;
        id = id * 10 + (uint64_t)(*p - '0');
        if (id > UINT32_MAX)
            return 0;
    }
    return (uint32_t)id;
}

static bool claims_hold(jwt_t *jwt, uint64_t now_s)
{
    const char *iss = jwt_get_grant(jwt, "iss");
    const char *sub = jwt_get_grant(jwt, "sub");
    long exp = jwt_get_grant_int(jwt, "exp");
    long nbf = jwt_get_grant_int(jwt, "nbf");
    /* 0 stands for "absent" in libjwt; such a claim would never hold anyway. */
    return iss != NULL && strcmp(iss, issuer) == 0 && sub != NULL && exp > 0 &&
           nbf > 0 && (uint64_t)exp + LEEWAY_S >= now_s &&
           (uint64_t)nbf <= now_s + LEEWAY_S;
}

int gateway_token_check(const char *secret, struct bytes token, uint64_t now_s,
                        uint32_t *location)
{
    char text[TOKEN_LENGTH_MAX + 1];
    /* An empty key would make libjwt accept the algorithm "none". */
    ASSERT(secret[0] != '\0');
    if (token.size == 0 || token.size > TOKEN_LENGTH_MAX ||
        memchr(token.data, '\0', token.size) != NULL)
        return ERR_DENIED;
    memcpy(text, token.data, token.size);
    text[token.size] = '\0';

    jwt_t *jwt = NULL;
    if (jwt_decode(&jwt, text, (const unsigned char *)secret,
                   (int)strlen(secret)) != 0)
        return ERR_DENIED;
    int rv = ERR_DENIED;
    if (jwt_get_alg(jwt) == JWT_ALG_HS256 && claims_hold(jwt, now_s)) {
        *location = location_parse(jwt_get_grant(jwt, "client_id"));
        rv = *location == 0 ? ERR_DENIED : 0;
    }
    jwt_free(jwt);
    return rv;
}

char *gateway_token_make(const char *secret, uint32_t location, uint64_t now_s)
{
    char id[16], subject[48];
    snprintf(id, sizeof id, "%u", location);
    snprintf(subject, sizeof subject, "DEFGUARD-NETWORK-%u", location);

    jwt_t *jwt = NULL;
    char *token = NULL;
    if (jwt_new(&jwt) != 0)
        return NULL;
    /* defguard's "never": 2^32 - 1 s from now. */
    if (jwt_add_grant(jwt, "iss", issuer) == 0 &&
        jwt_add_grant(jwt, "sub", subject) == 0 &&
        jwt_add_grant(jwt, "client_id", id) == 0 &&
        jwt_add_grant_int(jwt, "exp", (long)(now_s + UINT32_MAX)) == 0 &&
        jwt_add_grant_int(jwt, "nbf", (long)now_s) == 0 &&
        jwt_set_alg(jwt, JWT_ALG_HS256, (const unsigned char *)secret,
                    (int)strlen(secret)) == 0)
        token = jwt_encode_str(jwt);
    jwt_free(jwt);
    return token;
}

/* libsodium's generator must be set up once; more often is harmless. */
static void random_bytes(void *out, size_t size)
{
    ASSERT(sodium_init() >= 0);
    randombytes_buf(out, size);
}

void api_token_make(char out[API_TOKEN_LENGTH + 1])
{
    uint8_t raw[32];
    random_bytes(raw, sizeof raw);
    sodium_bin2base64(out, API_TOKEN_LENGTH + 1, raw, sizeof raw,
                      sodium_base64_VARIANT_URLSAFE_NO_PADDING);
    sodium_memzero(raw, sizeof raw);
}

void api_token_hash(struct bytes token, uint8_t out[API_TOKEN_HASH_SIZE])
{
    crypto_hash_sha256(out, token.data, token.size);
}

void gateway_secret_make(char out[65])
{
    uint8_t raw[32];
    random_bytes(raw, sizeof raw);
    sodium_bin2hex(out, 65, raw, sizeof raw);
    sodium_memzero(raw, sizeof raw);
}
