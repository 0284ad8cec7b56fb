/* The inside of the roster, shared by its parts: roster.c (life, lock, look
 * ups), roster_command.c (what commands do), roster_device.c (attachments and
 * unclaimed devices), roster_gateway.c (who reports), roster_member.c (nodes),
 * roster_spec.c (bodies of commands), roster_row.c (rows), journal.c (changes).
 */
#pragma once

#include "store/id_table.h"
#include "store/journal.h"
#include "store/key_index.h"
#include "store/roster.h"

#include <pthread.h>
#include <stdatomic.h>

struct members {
    unsigned level; /* at least LEVEL_OLDEST */
    size_t count;
    struct member_row {
        char name[64]; /* as long as a node's name may be */
        enum member_wish wish;
    } rows[WISHES_MAX]; /* by name; none is WISH_AUTO */
};

struct roster {
    pthread_rwlock_t lock;

    /* changed by the applier under the write lock, read under the read lock */
    struct settings settings;
    struct members members;
    struct id_table locations, devices, gateways, tokens;
    struct key_index device_keys;        /* public key -> device */
    struct key_index gateway_identities; /* location, kind, names -> gateway */
    struct journal journal;

    atomic_uint level_seen; /* members.level, for any thread */

    /* the applier's alone */
    bool settings_dirty, members_dirty;
    bool sequences_dirty; /* an id was given out */
};

/* --- roster_member.c ------------------------------------------------------ */

void roster_set_level(struct roster *r, unsigned level);
/* Bodies after their version. */
enum outcome_code roster_apply_level(struct roster *r, struct reader *body);
enum outcome_code roster_apply_member(struct roster *r, struct reader *body);
/* Is there anything to write? */
bool roster_has_members(const struct roster *r);
void roster_put_members(struct buf *out, const struct roster *r);
/* ERR_CORRUPT; ERR_NEWER: the cluster's level is above LEVEL_NEWEST. */
NODISCARD int roster_load_members(struct roster *r, struct reader *in);

/* --- roster.c ------------------------------------------------------------- */

/* Applier, around every change. */
void roster_write_lock(struct roster *r);
void roster_write_unlock(struct roster *r);

/* A copy with a NUL, NULL when memory is short. */
char *text_copy(struct bytes text);

/* Insert and remove with the indexes and counters that go with them; the
 * roster owns the object from a success on. ERR_NOMEM. Who inserts marks the id
 * for the next flush, unless it came from disk; a removal marks it. */
NODISCARD int roster_insert_location(struct roster *r, struct location *l);
NODISCARD int roster_insert_device(struct roster *r, struct device *d);
NODISCARD int roster_insert_gateway(struct roster *r, struct gateway *g);
NODISCARD int roster_insert_token(struct roster *r, struct api_token *t);
void roster_remove_location(struct roster *r, struct location *l);
void roster_remove_device(struct roster *r, struct device *d);
void roster_remove_gateway(struct roster *r, struct gateway *g);
void roster_remove_token(struct roster *r, struct api_token *t);
/* Under a key that no other device has. */
NODISCARD int roster_change_key(struct roster *r, struct device *d,
                                const uint8_t key[PUBLIC_KEY_SIZE]);

/* NULL is fine. */
void location_free(struct location *l);
void device_free(struct device *d);
void gateway_free(struct gateway *g);
void api_token_free(struct api_token *t);
void settings_deinit(struct settings *s);

/* --- roster_device.c ------------------------------------------------------ */

struct subnets;

/* Does the device belong into this location? */
bool device_wants(const struct device *d, uint32_t location);

/* Gives every device its place in a new location, or new addresses in one whose
 * subnets changed. There is room. ERR_NOMEM. */
NODISCARD int roster_attach_all(struct roster *r, struct location *l);
NODISCARD int roster_readdress_all(struct roster *r, struct location *l);
void roster_detach_all(struct roster *r, uint32_t location);

/* Is there room for the device wherever it has to be and is not yet? */
bool roster_has_room_for(struct roster *r, const struct device *d);
/* Makes its attachments what its kind and location say. There is room.
 * @lost: it left some location. ERR_NOMEM. */
NODISCARD int roster_attach_device(struct roster *r, struct device *d,
                                   bool *lost);
