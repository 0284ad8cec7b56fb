/* WireGuard's textual forms as the API takes and gives them: keys in base64,
 * lists of addresses, host names. Pure functions. */
#pragma once

#include "base/bytes.h"
#include "store/entry.h"

enum { KEY_TEXT_SIZE = 45 }; /* base64 of 32 bytes, NUL included */

void key_format(const uint8_t key[PUBLIC_KEY_SIZE], char out[KEY_TEXT_SIZE]);
NODISCARD int key_parse(const char *text, uint8_t key[PUBLIC_KEY_SIZE]);

/* A new X25519 pair, clamped as wg genkey does. */
void key_pair_make(uint8_t private_key[32], uint8_t public_key[32]);

/* A comma list of "ip/prefix" (with @plain_too also "ip"); blanks around
 * commas are fine. False for an empty list. */
bool cidr_list_is_valid(const char *list, bool plain_too);

/* Letters, digits and what stands in host names, addresses and lists of them:
 * nothing that could end a line of a configuration file. */
bool host_text_is_valid(const char *text);
