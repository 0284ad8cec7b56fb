/* The roster's life, its lock and its look-ups. Reads run on any thread under
 * the read lock, changes on the applier under the write lock; the applier reads
 * without one. The other parts are listed in store/roster_state.h. */
#include "store/roster_state.h"

#include "base/assert.h"

#include <stdlib.h>
#include <xxhash.h>

/* --- life ---------------------------------------------------------------- */

static int lock_init(pthread_rwlock_t *lock)
{
    pthread_rwlockattr_t attr;
    if (pthread_rwlockattr_init(&attr) != 0)
        return ERR_NOMEM;
    /* The applier must not starve behind overlapping readers. */
    pthread_rwlockattr_setkind_np(&attr,
                                  PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    int rc = pthread_rwlock_init(lock, &attr) != 0 ? ERR_NOMEM : 0;
    pthread_rwlockattr_destroy(&attr);
    return rc;
}

int roster_create(struct roster **out)
{
    *out = NULL;
    struct roster *r = calloc(1, sizeof *r);
    if (r == NULL)
        return ERR_NOMEM;
    if (lock_init(&r->lock) != 0) {
        free(r);
        return ERR_NOMEM;
    }
    roster_set_level(r, LEVEL_OLDEST);
    id_table_init(&r->locations);
    id_table_init(&r->devices);
    id_table_init(&r->gateways);
    id_table_init(&r->tokens);
    key_index_init(&r->device_keys);
    key_index_init(&r->gateway_identities);
    if (journal_init(&r->journal) != 0) {
        roster_destroy(r);
        return ERR_NOMEM;
    }
    *out = r;
    return 0;
}

typedef void free_fn(void *object);

static void table_deinit(struct id_table *t, free_fn *destroy)
{
    for (uint32_t id = 1; id < t->capacity; id++)
        destroy(t->items[id]);
    id_table_deinit(t);
}

static void free_location(void *l)
{
    location_free(l);
}

static void free_device(void *d)
{
    device_free(d);
}

static void free_gateway(void *g)
{
    gateway_free(g);
}

static void free_token(void *t)
{
    api_token_free(t);
}

void roster_destroy(struct roster *r)
{
    if (r == NULL)
        return;
    table_deinit(&r->locations, free_location);
    table_deinit(&r->devices, free_device);
    table_deinit(&r->gateways, free_gateway);
    table_deinit(&r->tokens, free_token);
    key_index_deinit(&r->device_keys);
    key_index_deinit(&r->gateway_identities);
    journal_deinit(&r->journal);
    settings_deinit(&r->settings);
    pthread_rwlock_destroy(&r->lock);
    free(r);
}

void location_free(struct location *l)
{
    if (l == NULL)
        return;
    free(l->name);
    free(l->address);
    free(l->endpoint);
    free(l->allowed_ips);
    free(l->dns);
    free(l);
}

void device_free(struct device *d)
{
    if (d == NULL)
        return;
    for (size_t i = 0; i < d->attachment_count; i++)
        free(d->attachments[i].addresses);
    free(d->attachments);
    free(d->name);
    free(d->user);
    free(d->description);
    free(d);
}

void gateway_free(struct gateway *g)
{
    if (g == NULL)
        return;
    free(g->identity);
    free(g->hostname);
    free(g->name);
    free(g);
}

void api_token_free(struct api_token *t)
{
    if (t == NULL)
        return;
    free(t->name);
    free(t);
}

void settings_deinit(struct settings *s)
{
    free(s->gateway_secret);
    *s = (struct settings){0};
}

char *text_copy(struct bytes text)
{
    char *copy = malloc(text.size + 1);
    if (copy == NULL)
        return NULL;
    if (text.size > 0)
        memcpy(copy, text.data, text.size);
    copy[text.size] = '\0';
    return copy;
}

/* --- the lock ------------------------------------------------------------ */

void roster_read_lock(struct roster *r)
{
    ASSERT(pthread_rwlock_rdlock(&r->lock) == 0);
}

void roster_read_unlock(struct roster *r)
{
    ASSERT(pthread_rwlock_unlock(&r->lock) == 0);
}

void roster_write_lock(struct roster *r)
{
    ASSERT(pthread_rwlock_wrlock(&r->lock) == 0);
}

void roster_write_unlock(struct roster *r)
{
    ASSERT(pthread_rwlock_unlock(&r->lock) == 0);
}

/* --- look-ups ------------------------------------------------------------ */

const struct settings *roster_settings(const struct roster *r)
{
    return r->settings.present ? &r->settings : NULL;
}

const struct location *roster_location(const struct roster *r, uint32_t id)
{
    return id_table_get(&r->locations, id);
}

const struct device *roster_device(const struct roster *r, uint32_t id)
{
    return id_table_get(&r->devices, id);
}

const struct gateway *roster_gateway(const struct roster *r, uint32_t id)
{
    return id_table_get(&r->gateways, id);
}

bool roster_gave_device(const struct roster *r, uint32_t id)
{
    return id_table_gave(&r->devices, id);
}

bool roster_gave_gateway(const struct roster *r, uint32_t id)
{
    return id_table_gave(&r->gateways, id);
}

const struct location *roster_next_location(const struct roster *r,
                                            uint32_t after)
{
    return id_table_next(&r->locations, after);
}

const struct device *roster_next_device(const struct roster *r, uint32_t after)
{
    return id_table_next(&r->devices, after);
}

const struct gateway *roster_next_gateway(const struct roster *r,
                                          uint32_t after)
{
    return id_table_next(&r->gateways, after);
}

const struct api_token *roster_next_api_token(const struct roster *r,
                                              uint32_t after)
{
    return id_table_next(&r->tokens, after);
}

struct roster_counts roster_count(const struct roster *r)
{
    return (struct roster_counts){.locations = r->locations.count,
                                  .devices = r->devices.count,
                                  .gateways = r->gateways.count};
}

static uint64_t key_hash(const struct roster *r, const uint8_t *key)
{
    return XXH3_64bits_withSeed(key, PUBLIC_KEY_SIZE, r->device_keys.seed);
}

struct key_query {
    const struct roster *r;
    const uint8_t *key;
};

static bool same_key(const void *arg, uint32_t id)
{
    const struct key_query *q = arg;
    const struct device *d = roster_device(q->r, id);
    ASSERT(d != NULL); /* the index holds what is there */
    return memcmp(d->public_key, q->key, PUBLIC_KEY_SIZE) == 0;
}

uint32_t roster_device_by_key(const struct roster *r,
                              const uint8_t key[PUBLIC_KEY_SIZE])
{
    struct key_query q = {r, key};
    return key_index_find(&r->device_keys, key_hash(r, key), same_key, &q);
}

struct identity_query {
    const struct roster *r;
    uint32_t location;
    enum gateway_kind kind;
    struct bytes identity, name; /* name is empty but for defguard's */
};

/* What names a gateway: the display name belongs to it only where there is no
 * persistent id (rule 4). */
static struct identity_query
identity_query(const struct roster *r, uint32_t location,
               enum gateway_kind kind, struct bytes identity, struct bytes name)
{
    if (kind == GATEWAY_NATIVE)
        name.size = 0;
    return (struct identity_query){r, location, kind, identity, name};
}

static uint64_t identity_hash(const struct identity_query *q)
{
    uint64_t h = q->r->gateway_identities.seed;
    h ^= (uint64_t)q->location << 1 | (q->kind == GATEWAY_LEGACY);
    h = XXH3_64bits_withSeed(q->identity.data, q->identity.size, h);
    return XXH3_64bits_withSeed(q->name.data, q->name.size, h);
}

static bool same_identity(const void *arg, uint32_t id)
{
    const struct identity_query *q = arg;
    const struct gateway *g = roster_gateway(q->r, id);
    ASSERT(g != NULL);
    return g->location == q->location && g->kind == q->kind &&
           bytes_equal(bytes_of_string(g->identity), q->identity) &&
           (g->kind == GATEWAY_NATIVE ||
            bytes_equal(bytes_of_string(g->name), q->name));
}

uint32_t roster_gateway_by_identity(const struct roster *r, uint32_t location,
                                    enum gateway_kind kind,
                                    struct bytes identity, struct bytes name)
{
    struct identity_query q = identity_query(r, location, kind, identity, name);
    return key_index_find(&r->gateway_identities, identity_hash(&q),
                          same_identity, &q);
}

bool roster_api_token(const struct roster *r,
                      const uint8_t hash[API_TOKEN_HASH_SIZE])
{
    bool found = false;
    for (const struct api_token *t = id_table_next(&r->tokens, 0); t != NULL;
         t = id_table_next(&r->tokens, t->id))
        found = found || memcmp(t->hash, hash, API_TOKEN_HASH_SIZE) == 0;
    return found;
}

/* --- insert and remove --------------------------------------------------- */

static int insert(struct roster *r, struct id_table *t, uint32_t id,
                  void *object)
{
    uint32_t next_id = t->next_id;
    if (id_table_insert(t, id, object) != 0)
        return ERR_NOMEM;
    r->sequences_dirty = r->sequences_dirty || t->next_id != next_id;
    return 0;
}

int roster_insert_location(struct roster *r, struct location *l)
{
    return insert(r, &r->locations, l->id, l);
}

int roster_insert_token(struct roster *r, struct api_token *t)
{
    return insert(r, &r->tokens, t->id, t);
}

/* The counter of unclaimed devices where this one was seen. */
static void count_unclaimed(struct roster *r, const struct device *d, int by)
{
    struct location *l = id_table_get(&r->locations, d->location);
    if (d->kind == DEVICE_UNCLAIMED && l != NULL)
        l->unclaimed += (uint32_t)by;
}

int roster_insert_device(struct roster *r, struct device *d)
{
    if (key_index_insert(&r->device_keys, key_hash(r, d->public_key), d->id) !=
        0)
        return ERR_NOMEM;
    if (insert(r, &r->devices, d->id, d) != 0) {
        key_index_remove(&r->device_keys, key_hash(r, d->public_key), d->id);
        return ERR_NOMEM;
    }
    count_unclaimed(r, d, 1);
    return 0;
}

static uint64_t gateway_hash(const struct roster *r, const struct gateway *g)
{
    struct identity_query q =
        identity_query(r, g->location, g->kind, bytes_of_string(g->identity),
                       bytes_of_string(g->name));
    return identity_hash(&q);
}

int roster_insert_gateway(struct roster *r, struct gateway *g)
{
    uint64_t hash = gateway_hash(r, g);
    if (key_index_insert(&r->gateway_identities, hash, g->id) != 0)
        return ERR_NOMEM;
    if (insert(r, &r->gateways, g->id, g) != 0) {
        key_index_remove(&r->gateway_identities, hash, g->id);
        return ERR_NOMEM;
    }
    struct location *l = id_table_get(&r->locations, g->location);
    if (l != NULL)
        l->gateways++;
    return 0;
}

void roster_remove_location(struct roster *r, struct location *l)
{
    id_table_mark(&r->locations, l->id);
    id_table_remove(&r->locations, l->id);
    location_free(l);
}

void roster_remove_device(struct roster *r, struct device *d)
{
    count_unclaimed(r, d, -1);
    key_index_remove(&r->device_keys, key_hash(r, d->public_key), d->id);
    id_table_mark(&r->devices, d->id);
    id_table_remove(&r->devices, d->id);
    device_free(d);
}

void roster_remove_gateway(struct roster *r, struct gateway *g)
{
    struct location *l = id_table_get(&r->locations, g->location);
    if (l != NULL)
        l->gateways--;
    key_index_remove(&r->gateway_identities, gateway_hash(r, g), g->id);
    id_table_mark(&r->gateways, g->id);
    id_table_remove(&r->gateways, g->id);
    gateway_free(g);
}

void roster_remove_token(struct roster *r, struct api_token *t)
{
    id_table_mark(&r->tokens, t->id);
    id_table_remove(&r->tokens, t->id);
    api_token_free(t);
}

int roster_change_key(struct roster *r, struct device *d,
                      const uint8_t key[PUBLIC_KEY_SIZE])
{
    if (key_index_insert(&r->device_keys, key_hash(r, key), d->id) != 0)
        return ERR_NOMEM;
    key_index_remove(&r->device_keys, key_hash(r, d->public_key), d->id);
    memcpy(d->public_key, key, PUBLIC_KEY_SIZE);
    return 0;
}
