#include "node/registration.h"

#include <uthash.h>
#include <xxhash.h>

#include <stdio.h>
#include <stdlib.h>

/* Compared as bytes: must be zeroed whole before it is filled. */
struct registration_key {
    uint32_t location;
    char hostname[IDENTITY_LENGTH_MAX + 1];
    char connection[CONNECTION_LENGTH_MAX + 1];
};

struct registration_entry {
    struct registration_key key;
    struct registration told;
    UT_hash_handle hh;
};

static void entry_drop(struct registrations *r, struct registration_entry *e)
{
    HASH_DEL(r->entries, e);
    free(e);
}

void registrations_deinit(struct registrations *r)
{
    while (r->entries != NULL)
        entry_drop(r, r->entries);
}

static void key_fill(struct registration_key *key, uint32_t location,
                     const char *hostname, const char *connection)
{
    memset(key, 0, sizeof *key);
    key->location = location;
    snprintf(key->hostname, sizeof key->hostname, "%s", hostname);
    snprintf(key->connection, sizeof key->connection, "%s", connection);
}

static unsigned hash_of(const struct registrations *r,
                        const struct registration_key *key)
{
    return (unsigned)XXH3_64bits_withSeed(key, sizeof *key, r->seed);
}

static void entry_add(struct registrations *r, struct registration_entry *e,
                      unsigned hash)
{
    HASH_ADD_BYHASHVALUE(hh, r->entries, key, sizeof e->key, hash, e);
}

/* Moves the entry to the end of the order of use. */
static struct registration_entry *entry_use(struct registrations *r,
                                            const struct registration_key *key)
{
    struct registration_entry *e;
    unsigned hash = hash_of(r, key);
    HASH_FIND_BYHASHVALUE(hh, r->entries, key, sizeof *key, hash, e);
    if (e != NULL) {
        HASH_DEL(r->entries, e);
        entry_add(r, e, hash);
    }
    return e;
}

int registrations_note(struct registrations *r, uint32_t location,
                       const char *hostname, const char *connection,
                       const struct registration *told)
{
    struct registration_key key;
    key_fill(&key, location, hostname, connection);
    struct registration_entry *e = entry_use(r, &key);
    if (e == NULL) {
        if (HASH_COUNT(r->entries) >= REGISTRATIONS_MAX)
            entry_drop(r, r->entries);
        e = calloc(1, sizeof *e);
        if (e == NULL)
            return ERR_NOMEM;
        e->key = key;
        entry_add(r, e, hash_of(r, &key));
    }
    e->told = *told;
    return 0;
}

const struct registration *registrations_find(struct registrations *r,
                                              uint32_t location,
                                              const char *hostname,
                                              const char *connection)
{
    struct registration_key key;
    key_fill(&key, location, hostname, connection);
    struct registration_entry *e = entry_use(r, &key);
    return e == NULL ? NULL : &e->told;
}

int gateway_name_known(struct roster *roster, uint32_t location,
                       const char *hostname, char name[IDENTITY_LENGTH_MAX + 1])
{
    unsigned found = 0;
    name[0] = '\0';
    roster_read_lock(roster);
    const struct gateway *g = roster_next_gateway(roster, 0);
    for (; g != NULL; g = roster_next_gateway(roster, g->id)) {
        if (g->location != location || g->kind != GATEWAY_LEGACY ||
            strcmp(g->identity, hostname) != 0)
            continue;
        found++;
        snprintf(name, IDENTITY_LENGTH_MAX + 1, "%s", g->name);
    }
    roster_read_unlock(roster);
    return found > 1 ? ERR_EXISTS : 0;
}
