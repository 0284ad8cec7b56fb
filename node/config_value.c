#include "node/config_value.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdio.h>
#include <string.h>

struct unit {
    const char *suffix;
    uint64_t factor;
};

/* Digits, then one of the suffixes. False on anything else or on overflow. */
static bool scaled_parse(const char *text, const struct unit *units,
                         size_t count, uint64_t *out)
{
    uint64_t value = 0;
    const char *p = text;
    for (; isdigit((unsigned char)*p); p++) {
        uint64_t digit = (uint64_t)(*p - '0');
        if (value > (UINT64_MAX - digit) / 10)
            return false;
        value = value * 10 + digit;
    }
    if (p == text)
        return false;
    for (size_t i = 0; i < count; i++)
        if (strcmp(p, units[i].suffix) == 0) {
            if (value > UINT64_MAX / units[i].factor)
                return false;
            *out = value * units[i].factor;
            return true;
        }
    return false;
}

int duration_parse(const char *text, uint64_t *ms, struct errmsg *e)
{
    static const struct unit units[] = {
        {"ms", 1},          {"s", 1000},         {"m", 60000},
        {"h", 3600 * 1000}, {"d", 86400 * 1000},
    };
    if (strcmp(text, "0") == 0) {
        *ms = 0;
        return 0;
    }
    if (!scaled_parse(text, units, sizeof units / sizeof *units, ms))
        return errmsg_set(e, ERR_INVALID,
                          "\"%.32s\" is no duration: write 500ms, 30s, 5m, "
                          "24h or 7d",
                          text);
    return 0;
}

int size_parse(const char *text, uint64_t *bytes, struct errmsg *e)
{
    static const struct unit units[] = {
        {"", 1},
        {"KiB", 1024},
        {"MiB", 1024 * 1024},
        {"GiB", 1024ULL * 1024 * 1024},
        {"TiB", 1024ULL * 1024 * 1024 * 1024},
    };
    if (!scaled_parse(text, units, sizeof units / sizeof *units, bytes))
        return errmsg_set(e, ERR_INVALID,
                          "\"%.32s\" is no size: write bytes, or 64KiB, "
                          "512MiB, 10GiB, 1TiB",
                          text);
    return 0;
}

static bool host_is_numeric(const char *host)
{
    uint8_t raw[16];
    return inet_pton(AF_INET, host, raw) == 1 ||
           inet_pton(AF_INET6, host, raw) == 1;
}

/* A DNS name as RFC 1123 has it (an underscore is common and harmless). */
static bool host_is_name(const char *host)
{
    size_t label = 0;
    for (const char *p = host; *p != '\0'; p++) {
        if (*p == '.') {
            if (label == 0)
                return false;
            label = 0;
        } else if (isalnum((unsigned char)*p) || *p == '-' || *p == '_') {
            if (++label > 63)
                return false;
        } else {
            return false;
        }
    }
    return host[0] != '\0';
}

static bool port_parse(const char *text, uint16_t *port)
{
    unsigned value = 0;
    const char *p = text;
    for (; isdigit((unsigned char)*p) && value <= UINT16_MAX; p++)
        value = value * 10 + (unsigned)(*p - '0');
    *port = (uint16_t)value;
    return p != text && *p == '\0' && value <= UINT16_MAX;
}

int address_parse(const char *text, int default_port, bool numeric,
                  struct address *out, struct errmsg *e)
{
    const char *host = text, *end = strrchr(text, ':'), *port = NULL;
    if (text[0] == '[') {
        host = text + 1;
        end = strchr(text, ']');
        if (end == NULL || (end[1] != ':' && end[1] != '\0'))
            goto refuse;
        port = end[1] == ':' ? end + 2 : NULL;
    } else if (end != NULL) {
        port = end + 1;
    } else {
        end = text + strlen(text);
    }
    size_t length = (size_t)(end - host);
    if (length >= sizeof out->host)
        goto refuse;
    memcpy(out->host, host, length);
    out->host[length] = '\0';
    if (!host_is_numeric(out->host) &&
        (numeric || text[0] == '[' || !host_is_name(out->host)))
        goto refuse;
    if (port == NULL) {
        if (default_port < 0)
            goto refuse;
        out->port = (uint16_t)default_port;
    } else if (!port_parse(port, &out->port)) {
        goto refuse;
    }
    return 0;
refuse:
    return errmsg_set(e, ERR_INVALID, "\"%.64s\" is no %s", text,
                      numeric ? "address: write 127.0.0.1:port or [::1]:port"
                              : "host:port");
}

void address_format(const struct address *a, char *out, size_t room)
{
    snprintf(out, room, strchr(a->host, ':') != NULL ? "[%s]:%u" : "%s:%u",
             a->host, a->port);
}

bool address_is_loopback(const struct address *a)
{
    struct in_addr v4;
    struct in6_addr v6;
    if (inet_pton(AF_INET, a->host, &v4) == 1)
        return (ntohl(v4.s_addr) >> 24) == 127;
    if (inet_pton(AF_INET6, a->host, &v6) == 1)
        return IN6_IS_ADDR_LOOPBACK(&v6);
    return strcmp(a->host, "localhost") == 0;
}
