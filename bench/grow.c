/* holdfast-grow: makes a store of a wanted size, through the store's own
 * doors, to measure what copies of it cost: gateways that report all their
 * devices once a minute, minute after minute. What it makes is a backup that
 * `holdfastctl snapshot restore` takes. */
#include "store/store.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { GATEWAYS = 16, STEP_MS = 60 * 1000, FLUSH_MINUTES = 20 };

struct grow {
    struct store *store;
    struct buf entry;
    uint8_t admin_hash[API_TOKEN_HASH_SIZE]; /* SHA-256 of the admin's token */
    uint64_t index, now_ms, sequence, random;
    uint64_t upload[GATEWAYS][BATCH_PEERS_MAX];
};

static uint64_t next_random(struct grow *g)
{
    g->random ^= g->random << 13;
    g->random ^= g->random >> 7;
    g->random ^= g->random << 17;
    return g->random;
}

static void begin(struct grow *g)
{
    struct entry_header header = {.term = 1, .log_time_ms = g->now_ms};
    entry_begin(&g->entry, &header);
}

static int apply(struct grow *g, struct errmsg *e)
{
    struct apply_result result = {0};
    thread_role_assert(&applier_thread);
    entry_finish(&g->entry);
    int rv = buf_failed(&g->entry)
                 ? errmsg_set(e, ERR_NOMEM, "entry: out of memory")
                 : store_apply(g->store, ++g->index, buf_bytes(&g->entry),
                               &result, e);
    for (size_t i = 0; rv == 0 && i < result.count; i++)
        if (result.outcomes[i].code != OUTCOME_TAKEN)
            rv = errmsg_set(e, ERR_INVALID, "a record was not taken: %d",
                            (int)result.outcomes[i].code);
    return rv;
}

static int set_the_scene(struct grow *g, struct errmsg *e)
{
    struct settings_spec settings = {.cluster_id = "holdfast-grow",
                                     .gateway_secret = "bench-secret"};
    memcpy(settings.admin_token_hash, g->admin_hash, API_TOKEN_HASH_SIZE);
    begin(g);
    record_put_settings(&g->entry, &settings);
    for (int i = 0; i < GATEWAYS; i++) {
        char name[32];
        snprintf(name, sizeof name, "place %d", i);
        struct location_spec location = {.name = name,
                                         .address = "10.64.0.1/10",
                                         .endpoint = "vpn.example.com",
                                         .port = 51820,
                                         .accept_unknown_peers = true};
        record_put_location_create(&g->entry, &location);
    }
    return apply(g, e);
}

static void put_gateway(struct grow *g, uint32_t gateway)
{
    char identity[32];
    snprintf(identity, sizeof identity, "gateway-%u", gateway);
    struct batch_head head = {.location = gateway + 1,
                              .identity = bytes_of_string(identity),
                              .hostname = bytes_of_string(identity),
                              .session = 1,
                              .sequence = g->sequence,
                              .sampled_at_ms = g->now_ms};
    struct batch_writer w;
    batch_begin(&w, &g->entry, RECORD_NATIVE_BATCH, &head);
    for (uint32_t i = 0; i < BATCH_PEERS_MAX; i++) {
        uint8_t key[PUBLIC_KEY_SIZE] = {(uint8_t)gateway, (uint8_t)i,
                                        (uint8_t)(i >> 8), 1};
        g->upload[gateway][i] += next_random(g) >> 24;
        struct batch_peer peer = {.key = key,
                                  .upload = g->upload[gateway][i],
                                  .download = g->upload[gateway][i] * 3,
                                  .handshake = g->now_ms / 1000};
        batch_put(&w, &peer);
    }
    batch_end(&w);
}

static int one_minute(struct grow *g, struct errmsg *e)
{
    g->now_ms += STEP_MS;
    g->sequence++;
    int rv = 0;
    for (uint32_t i = 0; i < GATEWAYS && rv == 0; i++) {
        begin(g);
        put_gateway(g, i);
        rv = apply(g, e);
    }
    thread_role_assert(&applier_thread);
    return rv == 0 && g->sequence % FLUSH_MINUTES == 0
               ? store_flush(g->store, e)
               : rv;
}

static int grow(struct grow *g, uint64_t bytes, struct errmsg *e)
{
    int rv = set_the_scene(g, e);
    struct store_status status = {0};
    while (rv == 0 && status.used_bytes < bytes) {
        rv = one_minute(g, e);
        store_status(g->store, &status);
    }
    return rv;
}

static bool parse_hash(const char *text, uint8_t out[API_TOKEN_HASH_SIZE])
{
    for (size_t i = 0; i < API_TOKEN_HASH_SIZE; i++) {
        int high = hex_digit((uint8_t)text[2 * i]);
        int low = high < 0 ? -1 : hex_digit((uint8_t)text[2 * i + 1]);
        if (low < 0)
            return false;
        out[i] = (uint8_t)(high << 4 | low);
    }
    return text[2 * API_TOKEN_HASH_SIZE] == '\0';
}

static int grow_and_copy(const char *directory, const char *file,
                         uint64_t bytes, const char *admin_hash,
                         struct errmsg *e)
{
    struct grow *g = calloc(1, sizeof *g);
    if (g == NULL)
        return errmsg_set(e, ERR_NOMEM, "out of memory");
    if (!parse_hash(admin_hash, g->admin_hash)) {
        free(g);
        return errmsg_set(e, ERR_INVALID, "SHA256: 64 hexadecimal digits");
    }
    g->now_ms = (uint64_t)1760000000 * 1000;
    g->random = 88172645463325252u;
    struct store_options options = {.path = directory};
    int rv = store_open(&options, &g->store, e);
    if (rv == 0)
        rv = grow(g, bytes, e);
    struct copy_info info;
    if (rv == 0)
        rv = store_copy(g->store, file, NULL, NULL, &info, e);
    if (rv == 0)
        printf("%s: %" PRIu64 " MiB, %" PRIu64 " minutes of %d devices\n", file,
               info.bytes >> 20, g->sequence, GATEWAYS * BATCH_PEERS_MAX);
    store_close(g->store);
    buf_deinit(&g->entry);
    free(g);
    return rv;
}

int main(int argc, char **argv)
{
    char *end = NULL;
    uint64_t mib = argc == 5 ? strtoull(argv[3], &end, 10) : 0;
    if (mib == 0 || *end != '\0') {
        fprintf(stderr, "usage: holdfast-grow DIRECTORY FILE MIB SHA256\n"
                        "  grows a store in DIRECTORY to MIB and copies it to "
                        "FILE; SHA256: of the admin's token\n");
        return 2;
    }
    struct errmsg e = {""};
    if (grow_and_copy(argv[1], argv[2], mib << 20, argv[4], &e) != 0) {
        fprintf(stderr, "holdfast-grow: %s\n", e.text);
        return 1;
    }
    return 0;
}
