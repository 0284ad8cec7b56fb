#define _XOPEN_SOURCE 700 /* nftw */
/* What gateways are told, from a real store: commands go through store_apply,
 * and the messages come back as lines of text. */
#include "node/gateway_config.h"
#include "node/registration.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* --- fixture ----------------------------------------------------------------
 */

struct world {
    char path[32];
    struct store *store;
    uint64_t index;
    struct change *scratch;
};

static int remove_one(const char *path, const struct stat *s, int type,
                      struct FTW *ftw)
{
    (void)s, (void)type, (void)ftw;
    return remove(path);
}

static int set_up(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    assert_non_null(w);
    strcpy(w->path, "/tmp/holdfast-config-XXXXXX");
    assert_non_null(mkdtemp(w->path));
    struct store_options options = {.path = w->path,
                                    .map_bytes = 64 * 1024 * 1024};
    struct errmsg e;
    assert_int_equal(store_open(&options, &w->store, &e), 0);
    w->scratch = calloc(JOURNAL_CHANGES_MAX, sizeof *w->scratch);
    assert_non_null(w->scratch);
    *state = w;
    return 0;
}

static int tear_down(void **state)
{
    struct world *w = *state;
    store_close(w->store);
    nftw(w->path, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    free(w->scratch);
    free(w);
    return 0;
}

/* Applies one framed record; the id that it made. */
static uint32_t apply(struct world *w, struct buf *record) NO_THREAD_SAFETY
{
    struct entry_header header = {.term = 1,
                                  .log_time_ms = 1800000000000 + w->index,
                                  .proposer = 1,
                                  .number = w->index};
    struct buf entry = {0};
    struct apply_result result;
    struct errmsg e;
    entry_begin(&entry, &header);
    buf_put(&entry, record->data, record->size);
    entry_finish(&entry);
    assert_int_equal(
        store_apply(w->store, ++w->index, buf_bytes(&entry), &result, &e), 0);
    assert_int_equal(result.count, 1);
    assert_int_equal(result.outcomes[0].code, OUTCOME_TAKEN);
    buf_deinit(&entry);
    buf_deinit(record);
    return (uint32_t)result.outcomes[0].value;
}

static struct location_spec site = {.name = "site",
                                    .address = "10.6.0.1/24, fd06::1/64",
                                    .endpoint = "vpn.example",
                                    .port = 51820,
                                    .keepalive_interval_s = 25,
                                    .peer_disconnect_threshold_s = 300};

static uint32_t make_location(struct world *w)
{
    struct buf record = {0};
    record_put_location_create(&record, &site);
    return apply(w, &record);
}

static uint32_t make_device(struct world *w, uint32_t location, uint8_t key)
{
    struct device_spec spec = {.kind = DEVICE_USER,
                               .name = "laptop",
                               .user = "ada",
                               .public_key = {key},
                               .location = location};
    struct buf record = {0};
    record_put_device_create(&record, &spec);
    return apply(w, &record);
}

/* --- messages as text
 * --------------------------------------------------------- */

/* The first field @number of @message: its bytes, or *value of a varint. */
static struct bytes field_of(struct bytes message, unsigned number,
                             uint64_t *value)
{
    struct reader r = reader_of(message);
    while (r.size > 0 && !r.failed) {
        uint64_t tag = reader_varint(&r), v = 0;
        struct bytes b = {(const uint8_t *)"", 0};
        if ((tag & 7) == 0)
            v = reader_varint(&r);
        else
            b = reader_bytes(&r);
        if (tag >> 3 == number) {
            if (value != NULL)
                *value = v;
            return b;
        }
    }
    assert_false(r.failed);
    return (struct bytes){NULL, 0};
}

/* "modify peer AQAA 10.6.0.2;" – the first four characters of the key. */
static void describe(struct bytes message, struct buf *out)
{
    static const char *const verbs[] = {"create", "modify", "delete"};
    uint64_t verb = 0;
    field_of(message, 1, &verb);
    assert_true(verb < 3);
    struct bytes peer = field_of(message, 2, NULL);
    struct bytes network = field_of(message, 3, NULL);
    if (peer.data != NULL) {
        struct bytes key = field_of(peer, 1, NULL);
        struct bytes address = field_of(peer, 2, NULL);
        assert_int_equal(key.size, 44);
        buf_printf(out, "%s peer %.4s %.*s;", verbs[verb],
                   (const char *)key.data, (int)address.size,
                   address.data == NULL ? "" : (const char *)address.data);
    } else {
        struct bytes name = field_of(network, 1, NULL);
        assert_non_null(network.data);
        buf_printf(out, "%s network %.*s%s;", verbs[verb], (int)name.size,
                   (const char *)name.data,
                   field_of(network, 5, NULL).data != NULL ? " with peers"
                                                           : "");
    }
}

static void assert_told(struct world *w, struct updates *u,
                        const char *expected)
{
    struct buf text = {0};
    struct bytes message;
    assert_int_equal(updates_collect(u, w->scratch), 0);
    while (updates_next(u, &message))
        describe(message, &text);
    buf_put_u8(&text, 0);
    assert_string_equal((const char *)text.data, expected);
    buf_deinit(&text);
}

/* --- cases ------------------------------------------------------------------
 */

static void a_configuration_has_addresses_and_peers(void **state)
{
    struct world *w = *state;
    struct buf out = {0};
    uint64_t index, port = 0;
    uint32_t location = make_location(w);
    make_device(w, location, 1);
    assert_int_equal(
        gateway_configuration_encode(w->store, location, &out, &index), 0);
    assert_int_equal(index, w->index);
    struct bytes all = buf_bytes(&out);
    assert_int_equal(field_of(all, 1, NULL).size, 4);
    assert_int_equal(field_of(all, 2, NULL).size, 44);
    field_of(all, 4, &port);
    assert_int_equal(port, 51820);
    struct bytes address = field_of(all, 6, NULL);
    assert_memory_equal(address.data, "10.6.0.1/24", address.size);
    struct bytes host = field_of(field_of(all, 5, NULL), 2, NULL);
    assert_memory_equal(host.data, "10.6.0.2", host.size);
    buf_deinit(&out);
    assert_int_equal(
        gateway_configuration_encode(w->store, location + 1, &out, &index),
        ERR_NOTFOUND);
}

static void changes_of_devices_are_told_in_order(void **state)
{
    struct world *w = *state;
    struct updates u;
    uint32_t location = make_location(w);
    assert_int_equal(updates_init(&u, w->store, location, w->index), 0);
    assert_told(w, &u, "");
    uint32_t device = make_device(w, location, 1);
    assert_told(w, &u, "create peer AQAA 10.6.0.2;");
    assert_told(w, &u, ""); /* once only */
    struct device_spec spec = {.kind = DEVICE_USER,
                               .name = "phone",
                               .user = "ada",
                               .public_key = {1},
                               .location = location};
    struct buf record = {0};
    record_put_device_change(&record, device, &spec);
    apply(w, &record);
    assert_told(w, &u, "modify peer AQAA 10.6.0.2;");
    spec.public_key[0] = 2;
    record_put_device_change(&record, device, &spec);
    apply(w, &record);
    /* A new key is a new peer, and the old one must not stay. */
    assert_told(w, &u, "delete peer AQAA ;create peer AgAA 10.6.0.2;");
    record_put_device_delete(&record, device);
    apply(w, &record);
    assert_told(w, &u, "delete peer AgAA ;");
    updates_deinit(&u);
}

static void a_device_that_came_and_went_meanwhile_is_only_removed(void **state)
{
    struct world *w = *state;
    struct updates u;
    struct buf record = {0};
    uint32_t location = make_location(w);
    assert_int_equal(updates_init(&u, w->store, location, w->index), 0);
    record_put_device_delete(&record, make_device(w, location, 1));
    apply(w, &record);
    assert_told(w, &u, "delete peer AQAA ;");
    updates_deinit(&u);
}

/* One command of an entry that holds more: the applier is not through. */
static void apply_half(struct world *w, struct buf *command) NO_THREAD_SAFETY
{
    struct reader rest = reader_of(buf_bytes(command));
    struct record record;
    struct outcome outcome;
    assert_int_equal(record_next(&rest, &record), 1);
    assert_int_equal(roster_apply(store_roster(w->store), &record, w->index + 1,
                                  1800000000000, &outcome),
                     0);
    assert_int_equal(outcome.code, OUTCOME_TAKEN);
    buf_deinit(command);
}

static void an_entry_that_is_half_applied_is_told_whole_later(void **state)
{
    struct world *w = *state;
    struct updates u;
    struct buf record = {0};
    uint32_t location = make_location(w);
    struct device_spec spec = {.kind = DEVICE_USER,
                               .name = "laptop",
                               .user = "ada",
                               .location = location};
    assert_int_equal(updates_init(&u, w->store, location, w->index), 0);
    spec.public_key[0] = 1;
    record_put_device_create(&record, &spec);
    apply_half(w, &record);
    assert_told(w, &u, "");
    spec.public_key[0] = 2;
    record_put_device_create(&record, &spec);
    apply_half(w, &record);
    record_put_tick(&record); /* the entry's end: its index is applied */
    apply(w, &record);
    assert_told(w, &u, "create peer AQAA 10.6.0.2;create peer AgAA 10.6.0.3;");
    updates_deinit(&u);
}

static void other_locations_are_not_told(void **state)
{
    struct world *w = *state;
    struct updates u;
    uint32_t here = make_location(w), there = make_location(w);
    assert_int_equal(updates_init(&u, w->store, here, w->index), 0);
    make_device(w, there, 1);
    struct buf record = {0};
    record_put_location_delete(&record, there);
    apply(w, &record);
    assert_told(w, &u, "");
    updates_deinit(&u);
}

static void a_location_is_told_whole_and_named_when_it_goes(void **state)
{
    struct world *w = *state;
    struct updates u;
    struct buf record = {0};
    uint32_t location = make_location(w);
    make_device(w, location, 1);
    assert_int_equal(updates_init(&u, w->store, location, w->index), 0);
    for (int i = 0; i < 2; i++) {
        struct location_spec other = site;
        other.port = (uint16_t)(1000 + i);
        record_put_location_change(&record, location, &other);
        apply(w, &record);
    }
    assert_told(w, &u, "modify network site with peers;");
    record_put_location_delete(&record, location);
    apply(w, &record);
    struct bytes message;
    struct buf text = {0};
    assert_int_equal(updates_collect(&u, w->scratch), 0);
    while (updates_next(&u, &message))
        describe(message, &text);
    buf_put_u8(&text, 0);
    assert_non_null(strstr((const char *)text.data, "delete network site;"));
    buf_deinit(&text);
    updates_deinit(&u);
}

static void a_stream_that_is_too_far_behind_is_told_so(void **state)
{
    struct world *w = *state;
    struct updates u;
    uint32_t location = make_location(w);
    assert_int_equal(updates_init(&u, w->store, location, w->index), 0);
    for (uint32_t i = 0; i <= JOURNAL_CHANGES_MAX; i++) {
        struct location_spec other = site;
        struct buf record = {0};
        other.port = (uint16_t)(1 + i);
        record_put_location_change(&record, location, &other);
        apply(w, &record);
    }
    assert_int_equal(updates_collect(&u, w->scratch), ERR_BEHIND);
    updates_deinit(&u);
}

static void
registrations_are_kept_per_connection_and_the_oldest_goes(void **state)
{
    (void)state;
    struct registrations r = {0};
    struct registration told = {.name = "main", .index = 5};
    assert_int_equal(registrations_note(&r, 1, "gw", "ipv4:192.0.2.1:1", &told),
                     0);
    assert_null(registrations_find(&r, 1, "gw", "ipv4:192.0.2.1:2"));
    assert_null(registrations_find(&r, 2, "gw", "ipv4:192.0.2.1:1"));
    told.index = 6;
    assert_int_equal(registrations_note(&r, 1, "gw", "ipv4:192.0.2.1:1", &told),
                     0);
    for (unsigned i = 1; i < REGISTRATIONS_MAX; i++) {
        char connection[32];
        snprintf(connection, sizeof connection, "ipv4:192.0.2.2:%u", i);
        assert_int_equal(registrations_note(&r, 1, "gw", connection, &told), 0);
    }
    /* Full; the first is still there, and by this no longer the oldest. */
    const struct registration *found =
        registrations_find(&r, 1, "gw", "ipv4:192.0.2.1:1");
    assert_non_null(found);
    assert_int_equal(found->index, 6);
    assert_int_equal(registrations_note(&r, 1, "gw", "ipv4:192.0.2.3:1", &told),
                     0);
    assert_null(registrations_find(&r, 1, "gw", "ipv4:192.0.2.2:1"));
    assert_non_null(registrations_find(&r, 1, "gw", "ipv4:192.0.2.1:1"));
    registrations_deinit(&r);
}

static void report_as(struct world *w, uint32_t location, const char *name)
{
    struct batch_head head = {.location = location,
                              .identity = bytes_of_string("gw"),
                              .hostname = bytes_of_string("gw"),
                              .name = bytes_of_string(name),
                              .address = bytes_of_string("192.0.2.1")};
    struct batch_writer writer;
    struct buf record = {0};
    batch_begin(&writer, &record, RECORD_LEGACY_BATCH, &head);
    batch_end(&writer);
    apply(w, &record);
}

static void a_name_is_taken_from_the_roster_only_if_there_is_one(void **state)
{
    struct world *w = *state;
    struct roster *roster = store_roster(w->store);
    char name[IDENTITY_LENGTH_MAX + 1];
    uint32_t location = make_location(w);
    assert_int_equal(gateway_name_known(roster, location, "gw", name), 0);
    assert_string_equal(name, "");
    report_as(w, location, "main");
    assert_int_equal(gateway_name_known(roster, location, "gw", name), 0);
    assert_string_equal(name, "main");
    assert_int_equal(gateway_name_known(roster, location, "other", name), 0);
    assert_string_equal(name, "");
    report_as(w, location, "spare");
    assert_int_equal(gateway_name_known(roster, location, "gw", name),
                     ERR_EXISTS);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_configuration_has_addresses_and_peers),
        CASE(changes_of_devices_are_told_in_order),
        CASE(a_device_that_came_and_went_meanwhile_is_only_removed),
        CASE(an_entry_that_is_half_applied_is_told_whole_later),
        CASE(other_locations_are_not_told),
        CASE(a_location_is_told_whole_and_named_when_it_goes),
        CASE(a_stream_that_is_too_far_behind_is_told_so),
        cmocka_unit_test(
            registrations_are_kept_per_connection_and_the_oldest_goes),
        CASE(a_name_is_taken_from_the_roster_only_if_there_is_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
