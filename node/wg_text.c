/* See wg_text.h. */
#include "node/wg_text.h"

#include "node/http_query.h"

#include <arpa/inet.h>
#include <sodium.h>

void key_format(const uint8_t key[PUBLIC_KEY_SIZE], char out[KEY_TEXT_SIZE])
{
    sodium_bin2base64(out, KEY_TEXT_SIZE, key, PUBLIC_KEY_SIZE,
                      sodium_base64_VARIANT_ORIGINAL);
}

int key_parse(const char *text, uint8_t key[PUBLIC_KEY_SIZE])
{
    size_t size;
    const char *end;
    size_t length = strlen(text);
    if (length != KEY_TEXT_SIZE - 1 ||
        sodium_base642bin(key, PUBLIC_KEY_SIZE, text, length, NULL, &size, &end,
                          sodium_base64_VARIANT_ORIGINAL) != 0 ||
        size != PUBLIC_KEY_SIZE || end != text + length)
        return ERR_INVALID;
    return 0;
}

void key_pair_make(uint8_t private_key[32], uint8_t public_key[32])
{
    randombytes_buf(private_key, 32);
    private_key[0] &= 248;
    private_key[31] = (uint8_t)((private_key[31] & 127) | 64);
    /* Fails only for points of low order, which the base point is not. */
    (void)crypto_scalarmult_curve25519_base(public_key, private_key);
}

/* One part of a list, blanks taken off. */
static bool cidr_is_valid(const char *part, size_t length, bool plain_too)
{
    char text[INET6_ADDRSTRLEN + 4];
    uint8_t address[16];
    while (length > 0 && *part == ' ') {
        part++;
        length--;
    }
    while (length > 0 && part[length - 1] == ' ')
        length--;
    if (length == 0 || length >= sizeof text)
        return false;
    memcpy(text, part, length);
    text[length] = '\0';
    char *slash = strchr(text, '/');
    if (slash != NULL)
        *slash = '\0';
    int family = strchr(text, ':') != NULL ? AF_INET6 : AF_INET;
    if (inet_pton(family, text, address) != 1)
        return false;
    if (slash == NULL)
        return plain_too;
    uint64_t prefix;
    return uint_parse(slash + 1, family == AF_INET6 ? 128 : 32, &prefix) == 0;
}

bool cidr_list_is_valid(const char *list, bool plain_too)
{
    for (;;) {
        size_t length = strcspn(list, ",");
        if (!cidr_is_valid(list, length, plain_too))
            return false;
        if (list[length] == '\0')
            return true;
        list += length + 1;
    }
}

bool host_text_is_valid(const char *text)
{
    for (; *text != '\0'; text++) {
        bool letter = (*text >= 'a' && *text <= 'z') ||
                      (*text >= 'A' && *text <= 'Z') ||
                      (*text >= '0' && *text <= '9');
        if (!letter && strchr(".:-_[], %", *text) == NULL)
            return false;
    }
    return true;
}
