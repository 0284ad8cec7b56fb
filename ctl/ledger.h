/* Bytes by (location, gateway, device), as a node's overview tells them or a
 * file says they must be: what check totals compares. Gateway 0 is a location's
 * total, device 0 a gateway's. */
#pragma once

#include "ctl/ctl.h"

struct ledger_key {
    uint64_t location, gateway, device;
};

/* A JSON object, text of the key → {names, upload, download}. */
struct ledger {
    json_t *rows; /* owned */
};

NODISCARD int ledger_init(struct ledger *l, struct errmsg *e);
void ledger_deinit(struct ledger *l);

/* Adds to the row of @key, making it; @gateway and @device are names for people
 * and may be NULL. ERR_NOMEM. */
NODISCARD int ledger_add(struct ledger *l, struct ledger_key key,
                         const char *location, const char *gateway,
                         const char *device, uint64_t upload, uint64_t download,
                         struct errmsg *e);

/* Appends to the array @findings what differs: rows with check, node, the
 * names, and upload, download, wanted_upload, wanted_download. A row that only
 * one of them has is compared with zero bytes. */
NODISCARD int ledger_compare(const struct ledger *have,
                             const struct ledger *want, const char *check,
                             const char *node, json_t *findings,
                             struct errmsg *e);

/* The rows of the level above, added up: devices to gateways, gateways to
 * locations. */
NODISCARD int ledger_sum_up(const struct ledger *l, struct ledger *out,
                            struct errmsg *e);

/* The totals alone: what ledger_sum_up must come to. */
NODISCARD int ledger_totals(const struct ledger *l, struct ledger *out,
                            struct errmsg *e);

/* CSV (location,gateway,device,upload,download; a first line of these words is
 * skipped) or a JSON array of objects with these members. Names and ids are
 * looked up among the rows of @known; what is not there is a row of its own.
 * ERR_INVALID names the line. */
NODISCARD int ledger_read(const char *path, const struct ledger *known,
                          struct ledger *out, struct errmsg *e);
