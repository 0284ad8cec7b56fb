#include "proto/key_text.h"

static const char alphabet[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/* The six bits of a character; 64 if it stands for none. */
static uint32_t bits_of(uint8_t c)
{
    if (c >= 'A' && c <= 'Z')
        return c - (uint32_t)'A';
    if (c >= 'a' && c <= 'z')
        return c - (uint32_t)'a' + 26;
    if (c >= '0' && c <= '9')
        return c - (uint32_t)'0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : 64;
}

/* 32 bytes are ten groups of three and one of two: 43 characters, whose last
 * two bits are 0, and one '='. */
bool key_from_text(struct bytes text, uint8_t key[KEY_SIZE])
{
    uint32_t pending = 0, pending_bits = 0;
    size_t size = 0;

    if (text.size != KEY_TEXT_LENGTH || text.data[KEY_TEXT_LENGTH - 1] != '=')
        return false;
    for (size_t i = 0; i < KEY_TEXT_LENGTH - 1; i++) {
        uint32_t bits = bits_of(text.data[i]);
        if (bits == 64)
            return false;
        pending = pending << 6 | bits;
        pending_bits += 6;
        if (pending_bits >= 8) {
            pending_bits -= 8;
            key[size++] = (uint8_t)(pending >> pending_bits);
            pending &= (1u << pending_bits) - 1;
        }
    }
    return pending == 0;
}

void key_to_text(const uint8_t key[KEY_SIZE], char text[KEY_TEXT_LENGTH + 1])
{
    uint32_t pending = 0, pending_bits = 0;
    size_t length = 0;

    for (size_t i = 0; i < KEY_SIZE; i++) {
        pending = pending << 8 | key[i];
        pending_bits += 8;
        while (pending_bits >= 6) {
            pending_bits -= 6;
            text[length++] = alphabet[pending >> pending_bits & 63];
        }
        pending &= (1u << pending_bits) - 1;
    }
    text[length++] = alphabet[pending << (6 - pending_bits) & 63];
    text[length++] = '=';
    text[length] = '\0';
}
