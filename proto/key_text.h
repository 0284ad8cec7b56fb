/* WireGuard keys as people and defguard write them: 32 bytes in base64, always
 * 44 characters. Own code, because libsodium 1.0.18 takes bytes beyond ASCII
 * for digits (test_report holds an example). No thread. */
#pragma once

#include "base/bytes.h"

enum { KEY_SIZE = 32, KEY_TEXT_LENGTH = 44 };

/* Strict: standard alphabet, padding, no space, no stray bits. False: @text is
 * no key and @key is void. */
NODISCARD bool key_from_text(struct bytes text, uint8_t key[KEY_SIZE]);

/* Writes the text and a NUL. */
void key_to_text(const uint8_t key[KEY_SIZE], char text[KEY_TEXT_LENGTH + 1]);
