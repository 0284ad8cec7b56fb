#define _XOPEN_SOURCE 700 /* nftw */
/* GET /api/v1/network/{id}/stats/users of a real store with more active devices
 * than one query has series. */
#include "node/api.h"

#include "base/clock.h"
#include "store/query.h"

/* cmocka wants these four first */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <ftw.h>
#include <jansson.h>
#include <stdlib.h>
#include <unistd.h>

/* --- fixture ----------------------------------------------------------------
 */

enum { DEVICES = QUERY_SERIES_MAX + 500, LOCATION = 1 };

static char path[] = "/tmp/holdfast-users-XXXXXX";
static struct node node;
static uint64_t now_ms, last_index;

static int remove_one(const char *name, const struct stat *s, int type,
                      struct FTW *ftw)
{
    (void)s, (void)type, (void)ftw;
    return remove(name);
}

static void apply(struct buf *record) NO_THREAD_SAFETY
{
    struct buf entry = {0};
    struct apply_result result;
    struct errmsg e;
    entry_begin(&entry,
                &(struct entry_header){.term = 1, .log_time_ms = now_ms});
    buf_put(&entry, record->data, record->size);
    entry_finish(&entry);
    assert_int_equal(
        store_apply(node.store, ++last_index, buf_bytes(&entry), &result, &e),
        0);
    assert_int_equal(result.outcomes[0].code, OUTCOME_TAKEN);
    buf_deinit(&entry);
    buf_deinit(record);
}

/* Devices from @first on; the bytes of each are its number. */
static void report(uint64_t sequence, uint32_t first, uint32_t end)
{
    struct buf record = {0};
    struct batch_writer w;
    struct batch_head head = {.location = LOCATION,
                              .identity = bytes_of_string("gw"),
                              .session = 1,
                              .sequence = sequence,
                              .sampled_at_ms = now_ms};
    batch_begin(&w, &record, RECORD_NATIVE_BATCH, &head);
    for (uint32_t i = first; i < end; i++) {
        uint8_t key[PUBLIC_KEY_SIZE] = {1, (uint8_t)(i >> 8), (uint8_t)i};
        batch_put(&w, &(struct batch_peer){.key = key,
                                           .upload = i,
                                           .handshake = now_ms / 1000,
                                           .from_zero = true});
    }
    batch_end(&w);
    apply(&record);
}

static int set_up(void **state)
{
    (void)state;
    struct errmsg e;
    assert_non_null(mkdtemp(path));
    assert_int_equal(
        store_open(&(struct store_options){.path = path}, &node.store, &e), 0);
    now_ms = clock_wall_ms();
    struct location_spec site = {.name = "site",
                                 .address = "10.6.0.1/16",
                                 .endpoint = "vpn.example",
                                 .port = 51820,
                                 .keepalive_interval_s = 25,
                                 .peer_disconnect_threshold_s = 300,
                                 .accept_unknown_peers = true};
    struct buf record = {0};
    record_put_location_create(&record, &site);
    apply(&record);
    uint64_t sequence = 0;
    for (uint32_t i = 1; i <= DEVICES; i += BATCH_PEERS_MAX)
        report(++sequence, i,
               i + BATCH_PEERS_MAX <= DEVICES ? i + BATCH_PEERS_MAX
                                              : DEVICES + 1);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    store_close(node.store);
    nftw(path, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    return 0;
}

/* --- cases ------------------------------------------------------------------
 */

static void every_active_device_has_its_series(void **state)
{
    (void)state;
    struct http_request rq = {.node = &node, .id = LOCATION};
    out_begin(&rq.json, &rq.answer);
    api_stats_users(&rq);
    assert_int_equal(rq.status, 200);
    json_t *root = json_loadb((const char *)rq.answer.data, rq.answer.size,
                              JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(root);
    const json_t *devices = json_object_get(root, "network_devices");
    assert_int_equal(json_array_size(devices), DEVICES);
    for (unsigned i = 0; i < DEVICES; i++) {
        const json_t *device = json_array_get(devices, i);
        const json_t *stats = json_object_get(device, "stats");
        assert_int_equal(json_integer_value(json_object_get(device, "id")),
                         i + 1);
        assert_int_equal(json_array_size(stats), 1);
        assert_int_equal(json_integer_value(json_object_get(
                             json_array_get(stats, 0), "upload")),
                         i + 1);
    }
    json_decref(root);
    buf_deinit(&rq.answer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_active_device_has_its_series),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
