/* The bodies of configuration commands, and the parts of them that rows of the
 * roster share: encoded from the caller's strings, decoded into views. Strict:
 * whatever our encoders do not write is refused. docs/format.md, "Roster rows".
 * No thread: pure codecs. */
#pragma once

#include "store/roster.h"

enum { SPEC_VERSION = 1 };

/* As the specs of store/roster.h, borrowed from the input. */
struct location_fields {
    struct bytes name, address, endpoint, allowed_ips, dns;
    uint16_t port;
    uint32_t keepalive_interval_s, peer_disconnect_threshold_s;
    bool accept_unknown_peers;
};

struct device_fields {
    enum device_kind kind;
    struct bytes name, user, description;
    const uint8_t *public_key;
    uint32_t location;
};

struct settings_fields {
    const uint8_t *cluster_id;
    struct bytes gateway_secret;
    uint64_t retain_minute_s, retain_hour_s, retain_day_s;
};

void spec_put_location(struct buf *out, const struct location_spec *spec);
void spec_put_device(struct buf *out, const struct device_spec *spec);
void spec_put_settings(struct buf *out, const struct settings_spec *spec);
void spec_put_settings_change(struct buf *out,
                              const struct settings_change *change);

/* Each leaves @r failed when it cannot be read. */
void spec_take_location(struct reader *r, struct location_fields *out);
void spec_take_device(struct reader *r, struct device_fields *out);
void spec_take_settings(struct reader *r, struct settings_fields *out);
void spec_take_settings_change(struct reader *r, struct settings_change *out);
/* A text as every spec holds it. */
struct bytes spec_take_text(struct reader *r);
/* @size bytes; never NULL, but only good while @r has not failed. */
const uint8_t *spec_take_raw(struct reader *r, size_t size);

/* --- roster_row.c: the settings of a store that is not open -------------- */

enum { ROSTER_KEY_SIZE = 5 };
extern const uint8_t roster_settings_key[ROSTER_KEY_SIZE];

/* The settings row @row with another cluster id into @out. ERR_CORRUPT,
 * ERR_NEWER, ERR_NOMEM. */
NODISCARD int roster_rename_settings(struct bytes row,
                                     const uint8_t cluster_id[],
                                     struct buf *out);
