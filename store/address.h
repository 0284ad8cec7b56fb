/* Addresses of a location: its list of CIDRs, and the allotment of one host
 * number to a device, which gives it one address in every CIDR. Host numbers
 * count up, so that an address in old firewall rules or logs means another
 * device as late as possible. Pure; the roster calls it from apply, so the same
 * input gives the same address on every node. */
#pragma once

#include "base/bytes.h"

enum { SUBNETS_MAX = 16, ADDRESS_SIZE_MAX = 16 };

struct subnet {
    uint8_t gateway[ADDRESS_SIZE_MAX]; /* the address as given */
    uint8_t network[ADDRESS_SIZE_MAX]; /* the same with the host bits zero */
    unsigned size;                     /* bytes: 4 or 16 */
    unsigned prefix;                   /* bits */
};

struct subnets {
    struct subnet items[SUBNETS_MAX];
    size_t count; /* 0: a location without addresses of its own */
};

/* A comma list of CIDRs, blanks around each allowed; the address is the
 * gateway's own and a missing mask means the one host. "" is an empty list.
 * ERR_INVALID: not an address, too many, or two that overlap. */
NODISCARD int subnets_parse(const char *text, struct subnets *out);

/* Does every host number of @before mean the same addresses in @after? So it
 * is when the networks are the same, or grew at their end; the gateways' own
 * addresses may differ. */
bool subnets_keep_hosts(const struct subnets *before,
                        const struct subnets *after);

/* How many host numbers are left when @next_host is the next. */
uint64_t subnets_room(const struct subnets *s, uint32_t next_host);

/* Takes the next host number that is free in all subnets: neither the network
 * nor the broadcast address nor a gateway's own. False when there is none. */
bool subnets_allot(const struct subnets *s, uint32_t *next_host,
                   uint32_t *host);

/* The comma list of @host's addresses, one a subnet; no mask. */
void subnets_put_addresses(const struct subnets *s, uint32_t host,
                           struct buf *out);

/* The inverse: the number of a list that was written so; 0 for any other. */
uint32_t subnets_host_of(const struct subnets *s, const char *addresses);

/* Is one of the gateway's own addresses in this list, as written above? */
bool subnets_gateway_in(const struct subnets *s, const char *addresses);
