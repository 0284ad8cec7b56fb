#include "node/token.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <jwt.h>
#include <stdlib.h>
#include <string.h>

enum { NOW = 1800000000 };

static const char secret[] = "a secret of some length, as it should be";

/* --- helpers ----------------------------------------------------------------
 */

struct claims {
    const char *iss, *sub, *client_id;
    long exp, nbf;
    jwt_alg_t alg;
};

static const struct claims good = {"DefGuard", "DEFGUARD-NETWORK-7",
                                   "7",        NOW + 1000,
                                   NOW - 1000, JWT_ALG_HS256};

static int check_claims(const struct claims *c, uint32_t *location)
{
    jwt_t *jwt;
    assert_int_equal(jwt_new(&jwt), 0);
    if (c->iss != NULL)
        jwt_add_grant(jwt, "iss", c->iss);
    if (c->sub != NULL)
        jwt_add_grant(jwt, "sub", c->sub);
    if (c->client_id != NULL)
        jwt_add_grant(jwt, "client_id", c->client_id);
    if (c->exp != 0)
        jwt_add_grant_int(jwt, "exp", c->exp);
    if (c->nbf != 0)
        jwt_add_grant_int(jwt, "nbf", c->nbf);
    bool none = c->alg == JWT_ALG_NONE;
    assert_int_equal(jwt_set_alg(jwt, c->alg,
                                 none ? NULL : (const unsigned char *)secret,
                                 none ? 0 : (int)strlen(secret)),
                     0);
    char *token = jwt_encode_str(jwt);
    jwt_free(jwt);
    assert_non_null(token);
    int rv = gateway_token_check(secret, bytes_of_string(token), NOW, location);
    free(token);
    return rv;
}

static void assert_denied(struct claims c)
{
    uint32_t location;
    assert_int_equal(check_claims(&c, &location), ERR_DENIED);
}

/* --- cases ------------------------------------------------------------------
 */

static void a_made_token_is_good_for_its_location(void **state)
{
    (void)state;
    uint32_t location = 0;
    char *token = gateway_token_make(secret, 4294967295U, NOW);
    assert_non_null(token);
    assert_int_equal(
        gateway_token_check(secret, bytes_of_string(token), NOW, &location), 0);
    assert_int_equal(location, 4294967295U);
    assert_int_equal(gateway_token_check("another secret",
                                         bytes_of_string(token), NOW,
                                         &location),
                     ERR_DENIED);
    /* 100 years later it is good still. */
    assert_int_equal(gateway_token_check(secret, bytes_of_string(token),
                                         NOW + 100ULL * 365 * 86400, &location),
                     0);
    free(token);
}

static void the_claims_of_defguard_are_accepted(void **state)
{
    (void)state;
    uint32_t location = 0;
    assert_int_equal(check_claims(&good, &location), 0);
    assert_int_equal(location, 7);
}

static void every_claim_counts(void **state)
{
    (void)state;
    struct claims c;
    assert_denied((c = good, c.iss = "Defguard", c));
    assert_denied((c = good, c.iss = NULL, c));
    assert_denied((c = good, c.sub = NULL, c));
    assert_denied((c = good, c.exp = 0, c));
    assert_denied((c = good, c.nbf = 0, c));
    assert_denied((c = good, c.client_id = NULL, c));
    assert_denied((c = good, c.client_id = "0", c));
    assert_denied((c = good, c.client_id = "07", c));
    assert_denied((c = good, c.client_id = "-7", c));
    assert_denied((c = good, c.client_id = "7 ", c));
    assert_denied((c = good, c.client_id = "4294967296", c));
}

static void exp_and_nbf_have_a_minute_of_leeway(void **state)
{
    (void)state;
    uint32_t location;
    struct claims c = good;
    c.exp = NOW - 60;
    c.nbf = NOW + 60;
    assert_int_equal(check_claims(&c, &location), 0);
    assert_denied((c = good, c.exp = NOW - 61, c));
    assert_denied((c = good, c.nbf = NOW + 61, c));
}

static void other_algorithms_are_denied(void **state)
{
    (void)state;
    struct claims c;
    assert_denied((c = good, c.alg = JWT_ALG_HS384, c));
    assert_denied((c = good, c.alg = JWT_ALG_HS512, c));
    assert_denied((c = good, c.alg = JWT_ALG_NONE, c));
}

static void bytes_that_are_no_token_are_denied(void **state)
{
    (void)state;
    uint32_t location;
    static const char *const bad[] = {"",    ".",        "..",      "a.b.c",
                                      "a.b", "{}.{}.{}", "\xff\xfe"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(gateway_token_check(secret, bytes_of_string(bad[i]),
                                             NOW, &location),
                         ERR_DENIED);
    char *token = gateway_token_make(secret, 1, NOW);
    size_t length = strlen(token);
    /* Each byte counts (of the last one only some bits). */
    for (size_t i = 0; i + 1 < length; i++) {
        char was = token[i];
        token[i] = was == 'A' ? 'B' : 'A';
        assert_int_equal(
            gateway_token_check(secret, bytes_of_string(token), NOW, &location),
            ERR_DENIED);
        token[i] = was;
    }
    struct bytes cut = {(const uint8_t *)token, length};
    uint8_t with_nul[512];
    memcpy(with_nul, token, length + 1);
    cut.data = with_nul;
    cut.size = length + 1;
    assert_int_equal(gateway_token_check(secret, cut, NOW, &location),
                     ERR_DENIED);
    free(token);
}

static void api_tokens_differ_and_hash_as_sha256(void **state)
{
    (void)state;
    char a[API_TOKEN_LENGTH + 1], b[API_TOKEN_LENGTH + 1];
    api_token_make(a);
    api_token_make(b);
    assert_int_equal(strlen(a), API_TOKEN_LENGTH);
    assert_string_not_equal(a, b);
    static const uint8_t abc[API_TOKEN_HASH_SIZE] = {
        0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea, 0x41, 0x41, 0x40,
        0xde, 0x5d, 0xae, 0x22, 0x23, 0xb0, 0x03, 0x61, 0xa3, 0x96, 0x17,
        0x7a, 0x9c, 0xb4, 0x10, 0xff, 0x61, 0xf2, 0x00, 0x15, 0xad};
    uint8_t hash[API_TOKEN_HASH_SIZE];
    api_token_hash(bytes_of_string("abc"), hash);
    assert_memory_equal(hash, abc, sizeof abc);
}

static void secrets_are_64_hexadecimal_digits(void **state)
{
    (void)state;
    char a[65], b[65];
    gateway_secret_make(a);
    gateway_secret_make(b);
    assert_int_equal(strlen(a), 64);
    assert_int_equal(strspn(a, "0123456789abcdef"), 64);
    assert_string_not_equal(a, b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_made_token_is_good_for_its_location),
        cmocka_unit_test(the_claims_of_defguard_are_accepted),
        cmocka_unit_test(every_claim_counts),
        cmocka_unit_test(exp_and_nbf_have_a_minute_of_leeway),
        cmocka_unit_test(other_algorithms_are_denied),
        cmocka_unit_test(bytes_that_are_no_token_are_denied),
        cmocka_unit_test(api_tokens_differ_and_hash_as_sha256),
        cmocka_unit_test(secrets_are_64_hexadecimal_digits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
