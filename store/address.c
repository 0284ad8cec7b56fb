#include "store/address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

/* Room for one address in text, NUL included. */
enum { ADDRESS_TEXT_SIZE = INET6_ADDRSTRLEN };

/* Host numbers end below the counter's own limit, so that it never wraps. */
static const uint64_t host_limit = UINT32_MAX - 1;

static void clear_host_bits(struct subnet *s)
{
    memcpy(s->network, s->gateway, sizeof s->network);
    for (unsigned bit = s->prefix; bit < s->size * 8; bit++)
        s->network[bit / 8] &= (uint8_t) ~(0x80 >> bit % 8);
}

/* Decimal digits, no sign, at most @max. */
static bool parse_prefix(const char *digits, size_t length, unsigned max,
                         unsigned *prefix)
{
    if (length == 0 || length > 3)
        return false;
    *prefix = 0;
    for (size_t i = 0; i < length; i++) {
        if (digits[i] < '0' || digits[i] > '9')
            return false;
        *prefix = *prefix * 10 + (unsigned)(digits[i] - '0');
    }
    return *prefix <= max;
}

static bool parse_one(const char *text, size_t length, struct subnet *out)
{
    while (length > 0 && *text == ' ') {
        text++;
        length--;
    }
    while (length > 0 && text[length - 1] == ' ')
        length--;
    const char *slash = length == 0 ? NULL : memchr(text, '/', length);
    size_t address_length = slash == NULL ? length : (size_t)(slash - text);
    char address[ADDRESS_TEXT_SIZE];
    if (address_length >= sizeof address)
        return false;
    memcpy(address, text, address_length);
    address[address_length] = '\0';

    *out = (struct subnet){0};
    if (inet_pton(AF_INET, address, out->gateway) == 1)
        out->size = 4;
    else if (inet_pton(AF_INET6, address, out->gateway) == 1)
        out->size = 16;
    else
        return false;
    out->prefix = out->size * 8;
    if (slash != NULL && !parse_prefix(slash + 1, length - address_length - 1,
                                       out->size * 8, &out->prefix))
        return false;
    clear_host_bits(out);
    return true;
}

static bool overlap(const struct subnet *a, const struct subnet *b)
{
    if (a->size != b->size)
        return false;
    unsigned prefix = a->prefix < b->prefix ? a->prefix : b->prefix;
    for (unsigned bit = 0; bit < prefix; bit++) {
        if ((a->network[bit / 8] ^ b->network[bit / 8]) & 0x80 >> bit % 8)
            return false;
    }
    return true;
}

int subnets_parse(const char *text, struct subnets *out)
{
    out->count = 0;
    if (*text == '\0')
        return 0;
    for (;;) {
        size_t length = strcspn(text, ",");
        if (out->count == SUBNETS_MAX ||
            !parse_one(text, length, &out->items[out->count]))
            return ERR_INVALID;
        for (size_t i = 0; i < out->count; i++) {
            if (overlap(&out->items[i], &out->items[out->count]))
                return ERR_INVALID;
        }
        out->count++;
        if (text[length] == '\0')
            return 0;
        text += length + 1;
    }
}

bool subnets_keep_hosts(const struct subnets *before,
                        const struct subnets *after)
{
    if (before->count != after->count)
        return false;
    for (size_t i = 0; i < before->count; i++) {
        const struct subnet *x = &before->items[i], *y = &after->items[i];
        if (x->size != y->size || y->prefix > x->prefix ||
            memcmp(x->network, y->network, x->size) != 0)
            return false;
    }
    return true;
}

/* The last host number of a subnet. */
static uint64_t last_host(const struct subnet *s)
{
    unsigned bits = s->size * 8 - s->prefix;
    if (bits >= 32)
        return host_limit;
    uint64_t last = ((uint64_t)1 << bits) - 1;
    /* the last is the broadcast address, but not between two (RFC 3021) */
    if (s->size == 4 && bits >= 2)
        last--;
    return last < host_limit ? last : host_limit;
}

static uint64_t last_host_of_all(const struct subnets *s)
{
    uint64_t last = host_limit;
    for (size_t i = 0; i < s->count; i++) {
        uint64_t one = last_host(&s->items[i]);
        last = one < last ? one : last;
    }
    return last;
}

/* The number of an address in its subnet; UINT64_MAX when it is beyond any that
 * is given out. */
static uint64_t host_of(const struct subnet *s, const uint8_t *address)
{
    uint64_t host = 0;
    for (unsigned i = 0; i < s->size; i++) {
        if (host > host_limit)
            return UINT64_MAX;
        host = host << 8 | (uint8_t)(address[i] ^ s->network[i]);
    }
    return host <= host_limit ? host : UINT64_MAX;
}

static uint64_t gateway_host(const struct subnet *s)
{
    return host_of(s, s->gateway);
}

static bool is_gateway(const struct subnets *s, uint64_t host)
{
    for (size_t i = 0; i < s->count; i++) {
        if (gateway_host(&s->items[i]) == host)
            return true;
    }
    return false;
}

/* Host 0 is the network's own address: numbers begin at 1. */
static uint64_t first_host(uint32_t next_host)
{
    return next_host == 0 ? 1 : next_host;
}

uint64_t subnets_room(const struct subnets *s, uint32_t next_host)
{
    uint64_t first = first_host(next_host), last = last_host_of_all(s);
    if (first > last)
        return 0;
    uint64_t room = last - first + 1;
    for (size_t i = 0; i < s->count; i++) {
        uint64_t host = gateway_host(&s->items[i]);
        bool counted = false; /* two gateways may have the same number */
        for (size_t k = 0; k < i; k++)
            counted = counted || gateway_host(&s->items[k]) == host;
        if (!counted && host >= first && host <= last)
            room--;
    }
    return room;
}

bool subnets_allot(const struct subnets *s, uint32_t *next_host, uint32_t *host)
{
    uint64_t last = last_host_of_all(s), h = first_host(*next_host);
    while (h <= last && is_gateway(s, h))
        h++;
    if (h > last)
        return false;
    *host = (uint32_t)h;
    *next_host = (uint32_t)h + 1;
    return true;
}

static void put_address(const struct subnet *s, const uint8_t *address,
                        char out[ADDRESS_TEXT_SIZE])
{
    if (inet_ntop(s->size == 4 ? AF_INET : AF_INET6, address, out,
                  ADDRESS_TEXT_SIZE) == NULL)
        out[0] = '\0'; /* cannot be: family and room are right */
}

void subnets_put_addresses(const struct subnets *s, uint32_t host,
                           struct buf *out)
{
    for (size_t i = 0; i < s->count; i++) {
        const struct subnet *subnet = &s->items[i];
        uint8_t address[ADDRESS_SIZE_MAX];
        char text[ADDRESS_TEXT_SIZE];
        memcpy(address, subnet->network, sizeof address);
        for (unsigned b = 0; b < 4; b++)
            address[subnet->size - 1 - b] |= (uint8_t)(host >> 8 * b);
        put_address(subnet, address, text);
        buf_printf(out, "%s%s", i == 0 ? "" : ",", text);
    }
}

uint32_t subnets_host_of(const struct subnets *s, const char *addresses)
{
    char text[ADDRESS_TEXT_SIZE];
    uint8_t address[ADDRESS_SIZE_MAX];
    size_t length = strcspn(addresses, ",");
    if (s->count == 0 || length >= sizeof text)
        return 0;
    memcpy(text, addresses, length);
    text[length] = '\0';
    const struct subnet *first = &s->items[0];
    if (inet_pton(first->size == 4 ? AF_INET : AF_INET6, text, address) != 1)
        return 0;
    uint64_t host = host_of(first, address);
    return host > last_host(first) ? 0 : (uint32_t)host;
}

bool subnets_gateway_in(const struct subnets *s, const char *addresses)
{
    for (size_t i = 0; i < s->count; i++) {
        char text[ADDRESS_TEXT_SIZE];
        put_address(&s->items[i], s->items[i].gateway, text);
        size_t length = strlen(text);
        for (const char *a = addresses; *a != '\0';) {
            size_t end = strcspn(a, ",");
            if (end == length && memcmp(a, text, length) == 0)
                return true;
            a += end + (a[end] == ',');
        }
    }
    return false;
}
