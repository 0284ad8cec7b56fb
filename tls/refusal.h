/* Why a handshake failed, in words for an operator's log: OpenSSL's own are for
 * those who know its source. Pump thread. */
#pragma once

#include <openssl/ssl.h>

#include <stddef.h>

/* The check of one certificate failed; @host: whom it had to name, or "". */
void refusal_of_certificate(X509_STORE_CTX *check, const char *host, char *out,
                            size_t room);

/* The handshake failed for another reason: @error of SSL_get_error, the rest
 * is in OpenSSL's queue and errno. */
void refusal_of_handshake(int error, char *out, size_t room);
