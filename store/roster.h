/* The roster: the replicated configuration that statistics refer to (settings,
 * locations, devices, gateways, API tokens) in memory, with its change journal.
 * Written by the applier alone, from RECORD_* commands; read by any thread
 * under roster_read_lock, for as long as a copy takes. Ids are never used
 * twice. Flushed into LMDB with the same transaction as everything else. */
#pragma once

#include "base/bytes.h"
#include "base/thread.h"
#include "store/entry.h"
#include "store/hearing.h"

struct roster;

enum {
    LOCATIONS_MAX = 10000,
    UNCLAIMED_PER_LOCATION_MAX = 100000,
    GATEWAYS_PER_LOCATION_MAX = 1024,
    DEVICES_MAX = 10 * 1000 * 1000,
    API_TOKENS_MAX = 1000,
    ROSTER_TEXT_LENGTH_MAX = 16 * 1024, /* of any one text in a command */
    API_TOKEN_HASH_SIZE = 32,
    CLUSTER_ID_SIZE = 16,
    JOURNAL_CHANGES_MAX = 4096,
    WISHES_MAX = 32, /* members of which an operator wishes something */
};

struct location {
    uint32_t id;
    char *name, *address, *endpoint, *allowed_ips, *dns; /* owned; address:
                                         comma list of CIDRs, the gateway's */
    uint16_t port;
    uint8_t private_key[32], public_key[32]; /* X25519 */
    uint32_t keepalive_interval_s;           /* default 25 */
    uint32_t peer_disconnect_threshold_s;    /* default 300 */
    bool accept_unknown_peers;
    uint64_t created_ms; /* log time */
    uint32_t next_host;  /* address allotment: none is used again before all
                            were used */
    uint32_t unclaimed;  /* devices that unknown keys made */
    uint32_t gateways;   /* that report or reported */
};

enum device_kind { DEVICE_USER, DEVICE_NETWORK, DEVICE_UNCLAIMED };

/* A device's address in one location: comma list, one per subnet. */
struct attachment {
    uint32_t location;
    char *addresses; /* owned */
};

struct device {
    uint32_t id;
    enum device_kind kind;
    char *name, *user, *description; /* owned */
    uint8_t public_key[PUBLIC_KEY_SIZE];
    uint32_t location;   /* 0: in all locations; else in this one only; of an
                            unclaimed one: where it was seen */
    uint64_t created_ms; /* log time */
    struct attachment *attachments; /* owned; by location; none: unclaimed */
    size_t attachment_count;
};

enum gateway_kind { GATEWAY_NATIVE, GATEWAY_LEGACY };

enum {
    HOST_ADDRESS_LENGTH_MAX = 63,
    HOSTS_TURN_MS_MAX = 10 * 60 * 1000, /* a second turn so soon is no move */
};

/* Which addresses a defguard gateway reports from: for people only. What this
 * process applied; in no row and no digest, and empty after a start. */
struct gateway_hosts {
    char address[HOST_ADDRESS_LENGTH_MAX + 1]; /* "": not heard yet */
    char before[HOST_ADDRESS_LENGTH_MAX + 1];  /* the one before; "": none */
    uint64_t turned_ms; /* log time of the last turn from one to another */
    uint64_t torn_ms;   /* of the last that came soon after a turn; 0: none */
};

/* Rule 1's state lives here too; only the applier reads it for decisions. */
struct gateway {
    uint32_t id;
    uint32_t location;
    enum gateway_kind kind;
    char *identity, *hostname, *name; /* owned */
    uint64_t session, sequence;       /* last taken */
    uint64_t sampled_ms;    /* of that session's last batch, clamped */
    uint64_t machine;       /* hash, 0 = not told */
    uint64_t seen_ms;       /* log time when it was last heard */
    struct hearing hearing; /* legacy; rules 5 and 8 */
    struct gateway_hosts hosts;
};

struct settings {
    bool present;
    uint8_t cluster_id[CLUSTER_ID_SIZE];
    char *gateway_secret; /* owned; HS256 secret of gateway tokens */
    uint64_t retain_minute_s, retain_hour_s, retain_day_s; /* 0 = for ever */
};

/* What an operator wishes of a member; by its name, which survives the loss of
 * its directory. */
enum member_wish {
    WISH_AUTO,    /* the autopilot decides */
    WISH_STANDBY, /* it was demoted and stays so */
};

struct api_token {
    uint32_t id;
    char *name;                        /* owned */
    uint8_t hash[API_TOKEN_HASH_SIZE]; /* SHA-256 of the token */
};

/* --- reading, any thread, between lock and unlock ------------------------ */

void roster_read_lock(struct roster *r);
void roster_read_unlock(struct roster *r);

/* Borrowed until roster_read_unlock; NULL when not there. */
const struct settings *roster_settings(const struct roster *r);
const struct location *roster_location(const struct roster *r, uint32_t id);
const struct device *roster_device(const struct roster *r, uint32_t id);
const struct gateway *roster_gateway(const struct roster *r, uint32_t id);

/* Was this id ever given to one? What it moved is told under that id even when
 * the roster has forgotten it. */
bool roster_gave_device(const struct roster *r, uint32_t id);
bool roster_gave_gateway(const struct roster *r, uint32_t id);

/* The next one with a larger id, NULL at the end: for (x = next(r, 0); x; x =
 * next(r, x->id)). O(1) amortised. */
const struct location *roster_next_location(const struct roster *r,
                                            uint32_t after);
const struct device *roster_next_device(const struct roster *r, uint32_t after);
const struct gateway *roster_next_gateway(const struct roster *r,
                                          uint32_t after);
const struct api_token *roster_next_api_token(const struct roster *r,
                                              uint32_t after);

/* The device's place in a location; NULL if it has none there. */
const struct attachment *device_attachment(const struct device *d,
                                           uint32_t location);

enum member_wish roster_wish(const struct roster *r, const char *name);

/* The feature level that the cluster agreed on. Any thread, without the lock.
 */
unsigned roster_level(const struct roster *r);

struct roster_counts {
    uint32_t locations, devices, gateways;
};

struct roster_counts roster_count(const struct roster *r);

/* 0 when unknown. One hash probe: called for every sample. */
uint32_t roster_device_by_key(const struct roster *r,
                              const uint8_t key[PUBLIC_KEY_SIZE]);
uint32_t roster_gateway_by_identity(const struct roster *r, uint32_t location,
                                    enum gateway_kind kind,
                                    struct bytes identity, struct bytes name);
bool roster_api_token(const struct roster *r,
                      const uint8_t hash[API_TOKEN_HASH_SIZE]);

/* --- the change journal: feeds the gateways' Updates streams -------------- */

enum change_kind {
    CHANGE_LOCATION_CREATED,
    CHANGE_LOCATION_CHANGED,
    CHANGE_LOCATION_DELETED,
    CHANGE_DEVICE_CREATED,
    CHANGE_DEVICE_CHANGED,
    CHANGE_DEVICE_DELETED,
};

struct change {
    uint64_t index; /* log index */
    enum change_kind kind;
    uint32_t id;                         /* of the location or device */
    uint8_t public_key[PUBLIC_KEY_SIZE]; /* of a device: the key to remove */
};

/* Changes with an index above @after, oldest first, at most @max; an index is
 * never split, so ->index of the last is the next @after. Returns the count, or
 * ERR_BEHIND if the journal no longer reaches back to @after or one index has
 * more than @max (the reader must start again from a full Config). Under the
 * read lock.
 * An entry may hold many commands, and the lock is free between them: take
 * changes up to a store_applied_index that was read before the lock, and leave
 * what is above it, which may be half an entry, for the next time.
 * A device whose key changed, or that left a location, is a DELETED with the
 * old key and a CREATED. Unclaimed devices are no gateway's configuration: they
 * appear when they are claimed. */
NODISCARD int roster_changes(const struct roster *r, uint64_t after,
                             struct change *out, size_t max);

/* --- commands: bodies of the RECORD_* of configuration -------------------- */

/* NULL strings are "". All are checked by the caller for length and UTF-8; what
 * passes ROSTER_TEXT_LENGTH_MAX or is no text ends as OUTCOME_INVALID, and so
 * does an address that store/address.h does not take. EXISTS: a device has this
 * key, or has the address that a location_change wants for the gateway. A
 * device that unknown keys made is claimed by a device_change of its kind. */
struct location_spec {
    const char *name, *address, *endpoint, *allowed_ips, *dns;
    uint16_t port;
    uint8_t private_key[32], public_key[32]; /* create only */
    uint32_t keepalive_interval_s, peer_disconnect_threshold_s;
    bool accept_unknown_peers;
};

struct device_spec {
    enum device_kind kind;
    const char *name, *user, *description;
    uint8_t public_key[PUBLIC_KEY_SIZE];
    uint32_t location; /* 0: all locations (a user's device); else only this.
                          INVALID from feature level 4 on: a network device
                          with 0 */
};

struct settings_spec {
    uint8_t cluster_id[CLUSTER_ID_SIZE];
    const char *gateway_secret;
    uint64_t retain_minute_s, retain_hour_s, retain_day_s;
    uint8_t admin_token_hash[API_TOKEN_HASH_SIZE];
};

/* What an operator may change later: how long the tiers are kept. Names only
 * what changes, so that two changes at once do not undo one another. */
struct settings_change {
    bool has_minute, has_hour, has_day;
    uint64_t retain_minute_s, retain_hour_s, retain_day_s;
};

/* So long can be kept, in seconds: a hundred years. 0, for ever, is longer. */
#define RETAIN_S_MAX (UINT64_C(876000) * 3600)

void record_put_settings(struct buf *out, const struct settings_spec *spec);
/* INVALID: longer than RETAIN_S_MAX. NOTFOUND: there are no settings yet. */
void record_put_settings_change(struct buf *out,
                                const struct settings_change *change);
void record_put_location_create(struct buf *out,
                                const struct location_spec *spec);
void record_put_location_change(struct buf *out, uint32_t id,
                                const struct location_spec *spec);
void record_put_location_delete(struct buf *out, uint32_t id);
void record_put_device_create(struct buf *out, const struct device_spec *spec);
void record_put_device_change(struct buf *out, uint32_t id,
                              const struct device_spec *spec);
void record_put_device_delete(struct buf *out, uint32_t id);
/* Its history stays, without a name. */
void record_put_gateway_delete(struct buf *out, uint32_t id);
void record_put_token_create(struct buf *out, const char *name,
                             const uint8_t hash[API_TOKEN_HASH_SIZE]);
/* LIMIT from feature level 4 on: it is the last. */
void record_put_token_revoke(struct buf *out, uint32_t id);
/* LIMIT: WISHES_MAX are there. DUPLICATE: it was so before. */
void record_put_member(struct buf *out, const char *name,
                       enum member_wish wish);
/* DUPLICATE: the cluster is there already. */
void record_put_level(struct buf *out, unsigned level);

/* --- the applier's side ----------------------------------------------------
 */

NODISCARD int roster_create(struct roster **out);
void roster_destroy(struct roster *r);

/* Applies one configuration record. Never fails but for memory: what cannot be
 * done is an outcome. */
NODISCARD int roster_apply(struct roster *r, const struct record *record,
                           uint64_t index, uint64_t log_time_ms,
                           struct outcome *outcome) REQUIRES(applier_thread);

/* Finds the gateway of a batch, making it when it is new. 0 and @out; or 0, a
 * NULL @out and an outcome (NOTFOUND: no such location or id; LIMIT; INVALID: a
 * name that is no text); or ERR_NOMEM. The gateways of a location that was
 * deleted stay for the history's sake, but report no more. From feature level 4
 * on a full location forgets the gateway that it has not heard for longest, if
 * that is longer than SLOT_LIFE_MS, for a new one. */
NODISCARD int
roster_resolve_gateway(struct roster *r, const struct batch_head *head,
                       enum gateway_kind kind, uint64_t log_time_ms,
                       struct gateway **out, struct outcome *outcome)
    REQUIRES(applier_thread);

/* The gateway with this id, if it is of that kind and its location is there. */
struct gateway *roster_reporting_gateway(struct roster *r, uint32_t id,
                                         enum gateway_kind kind)
    REQUIRES(applier_thread);

/* Takes what a record says of its gateway (session state, seen_ms, hearing);
 * the applier is the only writer, readers look under the lock. */
void roster_update_gateway(struct roster *r, struct gateway *g,
                           const struct gateway *state)
    REQUIRES(applier_thread);

/* A batch with news came from the host at @address. */
void roster_note_host(struct roster *r, struct gateway *g, struct bytes address,
                      uint64_t log_time_ms) REQUIRES(applier_thread);

/* Registers an unknown key as an unclaimed device where the location accepts
 * that; @device 0 when it does not, or when a cap is reached. */
NODISCARD int roster_claim_key(struct roster *r, uint32_t location,
                               const uint8_t key[PUBLIC_KEY_SIZE],
                               uint64_t index, uint64_t log_time_ms,
                               uint32_t *device) REQUIRES(applier_thread);

/* Persistence: rows of (kind, id) -> bytes, written by the store's flush. */
typedef int roster_row_fn(void *arg, uint8_t kind, uint32_t id,
                          struct bytes row); /* size 0: delete the row */

/* Calls @fn for every row that changed since the last roster_flushed, in (kind,
 * id) order. Rows to delete may never have been written. Stops at @fn's first
 * non-zero and returns it. */
NODISCARD int roster_each_dirty(struct roster *r, roster_row_fn *fn, void *arg)
    REQUIRES(applier_thread);
/* Every row in (kind, id) order, never of size 0: the roster's logical state,
 * the same on every node whenever it was flushed. What the digest reads. */
NODISCARD int roster_each_row(const struct roster *r, roster_row_fn *fn,
                              void *arg);
/* The transaction with those rows is committed. */
void roster_flushed(struct roster *r) REQUIRES(applier_thread);
/* At start: one stored row, in (kind, id) order. ERR_CORRUPT or ERR_NEWER (a
 * row of a newer version) names it. */
NODISCARD int roster_load_row(struct roster *r, uint8_t kind, uint32_t id,
                              struct bytes row, struct errmsg *e);
