/* Tokens: the gateways' JWT (HS256, defguard's claims: reference section 1.4)
 * over libjwt, and the API's bearer tokens, of which only the SHA-256 is kept.
 */
#pragma once

#include "base/bytes.h"
#include "store/roster.h"

enum { API_TOKEN_LENGTH = 43 }; /* 32 random bytes, base64url */

/* Checks a gateway's token: HS256 and nothing else, iss "DefGuard", exp and nbf
 * with 60 s leeway against @now_s; 0 and the location of client_id, or
 * ERR_DENIED. */
NODISCARD int gateway_token_check(const char *secret, struct bytes token,
                                  uint64_t now_s, uint32_t *location);

/* A new token for @location, malloc'ed; NULL on failure. */
char *gateway_token_make(const char *secret, uint32_t location, uint64_t now_s);

/* A random API token, NUL-terminated. */
void api_token_make(char out[API_TOKEN_LENGTH + 1]);
void api_token_hash(struct bytes token, uint8_t out[API_TOKEN_HASH_SIZE]);

/* 32 random bytes as 64 hexadecimal digits: the default gateway secret. */
void gateway_secret_make(char out[65]);
