/* The values that settings are written in: durations, sizes and addresses.
 * Pure parsers; every message says what was expected. */
#pragma once

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PEER_PORT = 7600 }; /* where an address leaves it out */

/* "500ms", "30s", "5m", "24h", "7d"; a bare "0" is allowed. ERR_INVALID. */
NODISCARD int duration_parse(const char *text, uint64_t *ms, struct errmsg *e);

/* "4096", "64KiB", "512MiB", "10GiB", "1TiB". ERR_INVALID. */
NODISCARD int size_parse(const char *text, uint64_t *bytes, struct errmsg *e);

/* "host:port" or "[v6]:port" with the host cut out of the brackets. A port of
 * -1 as @default_port makes the port obligatory. @numeric demands an address
 * rather than a name. ERR_INVALID. */
struct address {
    char host[256];
    uint16_t port;
};
NODISCARD int address_parse(const char *text, int default_port, bool numeric,
                            struct address *out, struct errmsg *e);

/* The host and port in the form that address_parse reads. */
void address_format(const struct address *a, char *out, size_t room);

/* 127.0.0.0/8, ::1 and the name localhost: bytes never leave the machine. */
bool address_is_loopback(const struct address *a);
