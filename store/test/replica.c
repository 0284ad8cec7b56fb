#include "store/test/replica.h"

#include "store/flush_job.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* cmocka wants these four first */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { TEST_MAP_BYTES = 256 << 20 };

void key_bytes(unsigned key, uint8_t out[PUBLIC_KEY_SIZE])
{
    for (size_t i = 0; i < PUBLIC_KEY_SIZE; i++)
        out[i] = (uint8_t)(key * 31 + i);
}

void replica_init(struct replica *r)
{
    const char *parent = getenv("TMPDIR");
    *r = (struct replica){0};
    snprintf(r->path, sizeof r->path, "%s/holdfast-store-XXXXXX",
             parent != NULL && strlen(parent) < 32 ? parent : "/tmp");
    assert_non_null(mkdtemp(r->path));
    replica_open(r);
}

void remove_directory(const char *path)
{
    char file[128];
    snprintf(file, sizeof file, "%s/data.mdb", path);
    unlink(file);
    snprintf(file, sizeof file, "%s/lock.mdb", path);
    unlink(file);
    rmdir(path);
}

void replica_deinit(struct replica *r)
{
    store_close(r->store);
    remove_directory(r->path);
}

void replica_open(struct replica *r)
{
    struct errmsg e;
    struct store_options options = {r->path, TEST_MAP_BYTES};
    int rc = store_open(&options, &r->store, &e);
    if (rc != 0)
        fail_msg("%s", e.text);
}

void replica_crash(struct replica *r)
{
    store_close(r->store);
    r->store = NULL;
    r->flushing = false;
}

void replica_flush(struct replica *r)
{
    struct errmsg e;
    thread_role_assert(&applier_thread);
    replica_end_flush(r);
    if (store_flush(r->store, &e) != 0)
        fail_msg("%s", e.text);
}

void replica_begin_flush(struct replica *r)
{
    struct errmsg e;
    thread_role_assert(&applier_thread);
    replica_end_flush(r);
    int rc = store_flush_begin(r->store, &e);
    if (rc < 0)
        fail_msg("%s", e.text);
    r->flushing = rc == 1;
}

void replica_walk(struct replica *r, size_t slots)
{
    if (r->flushing)
        assert_true(flush_job_walk(r->store, slots) >= 0);
}

void replica_end_flush(struct replica *r)
{
    struct errmsg e;
    thread_role_assert(&flusher_thread);
    if (r->flushing && store_flush_end(r->store, &e) != 0)
        fail_msg("%s", e.text);
    r->flushing = false;
}

/* The store would wait for the flush, and we are who ends it. */
static bool asks_for_digest(struct bytes entry)
{
    struct entry_header header;
    struct reader records;
    struct record record;
    struct errmsg e;
    assert_int_equal(entry_open(entry, &header, &records, &e), 0);
    while (record_next(&records, &record) > 0)
        if (record.kind == RECORD_DIGEST)
            return true;
    return false;
}

void replica_apply(struct replica *r, uint64_t index, struct bytes entry)
{
    struct errmsg e;
    thread_role_assert(&applier_thread);
    if (r->flushing && asks_for_digest(entry))
        replica_end_flush(r);
    if (store_apply(r->store, index, entry, &r->result, &e) != 0)
        fail_msg("%s", e.text);
}

static void encode_batch(const struct model_command *c, struct buf *out)
{
    char identity[16], address[24];
    uint8_t keys[MODEL_PEERS_MAX][PUBLIC_KEY_SIZE];
    snprintf(identity, sizeof identity, "gw-%u", c->identity);
    snprintf(address, sizeof address, "192.0.2.%u", (unsigned)c->address);
    struct batch_head head = {.location = c->location,
                              .identity = bytes_of_string(identity),
                              .hostname = bytes_of_string(identity),
                              .name = bytes_of_string("name"),
                              .session = c->session,
                              .sequence = c->sequence,
                              .sampled_at_ms = c->sampled_ms,
                              .has_machine = c->has_machine,
                              .machine = c->machine,
                              .address = bytes_of_string(address)};
    struct batch_writer w;
    batch_begin(&w, out,
                c->kind == MODEL_NATIVE ? RECORD_NATIVE_BATCH
                                        : RECORD_LEGACY_BATCH,
                &head);
    for (size_t i = 0; i < c->peer_count; i++) {
        const struct model_peer *p = &c->peers[i];
        key_bytes(p->key, keys[i]);
        struct batch_peer peer = {.device = p->device,
                                  .key = keys[i],
                                  .upload = p->upload,
                                  .download = p->download,
                                  .handshake = p->handshake,
                                  .rec_ms = p->rec_ms,
                                  .from_zero = p->from_zero,
                                  .has_endpoint = p->has_endpoint,
                                  .endpoint = bytes_of_string(p->endpoint),
                                  .allowed_ips = bytes_of_string("10.6.0.2")};
        batch_put(&w, &peer);
    }
    batch_end(&w);
}

static void encode_location(const struct model_command *c, struct buf *out)
{
    struct location_spec spec = {.name = "place",
                                 .address = "10.6.0.1/16",
                                 .endpoint = "vpn.example.org",
                                 .port = 51820,
                                 .keepalive_interval_s = 25,
                                 .peer_disconnect_threshold_s = 300,
                                 .accept_unknown_peers = c->accept_unknown};
    record_put_location_create(out, &spec);
}

static void encode_command(const struct model_command *c, struct buf *out)
{
    struct settings_spec settings = {.cluster_id = {1, 2, 3},
                                     .gateway_secret = "secret",
                                     .retain_minute_s = c->retain_s[0],
                                     .retain_hour_s = c->retain_s[1],
                                     .retain_day_s = c->retain_s[2]};
    struct device_spec device = {.kind = DEVICE_USER, .name = "d", .user = "u"};
    switch (c->kind) {
    case MODEL_NATIVE:
    case MODEL_LEGACY:
        encode_batch(c, out);
        break;
    case MODEL_PRESENCE:
        record_put_presence(out, c->minute, c->gateways, c->gateway_count);
        break;
    case MODEL_TICK:
        record_put_tick(out);
        break;
    case MODEL_DIGEST:
        record_put_digest(out);
        break;
    case MODEL_SETTINGS:
        record_put_settings(out, &settings);
        break;
    case MODEL_LOCATION_CREATE:
        encode_location(c, out);
        break;
    case MODEL_LOCATION_DELETE:
        record_put_location_delete(out, c->location);
        break;
    case MODEL_DEVICE_CREATE:
        key_bytes(c->key, device.public_key);
        record_put_device_create(out, &device);
        break;
    case MODEL_DEVICE_DELETE:
        record_put_device_delete(out, c->device);
        break;
    }
}

void step_encode(const struct model_step *step, struct buf *out)
{
    struct entry_header header = {.term = 3,
                                  .log_time_ms = step->log_time_ms,
                                  .proposer = 1,
                                  .number = 7};
    entry_begin(out, &header);
    for (size_t i = 0; i < step->count; i++)
        encode_command(&step->commands[i], out);
    entry_finish(out);
    assert_false(buf_failed(out));
}
