/* The roster's rows: a model of the disk under random commands and flushes at
 * random times must always hold the state, and load to it. */
#include "store/roster.h"

#include <stdio.h>
#include <stdlib.h>

/* cmocka wants these four first */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* --- the model of a disk: a list of rows --------------------------------- */

struct row {
    uint8_t kind;
    uint32_t id;
    uint8_t *data; /* owned */
    size_t size;
};

struct disk {
    struct row *rows; /* owned, in (kind, id) order */
    size_t count;
};

static int compare(const struct row *row, uint8_t kind, uint32_t id)
{
    if (row->kind != kind)
        return row->kind < kind ? -1 : 1;
    return row->id < id ? -1 : row->id > id;
}

/* A roster_row_fn: as the store's flush does it. */
static int write_row(void *arg, uint8_t kind, uint32_t id, struct bytes row)
{
    struct disk *disk = arg;
    size_t i = 0;
    while (i < disk->count && compare(&disk->rows[i], kind, id) < 0)
        i++;
    bool there = i < disk->count && compare(&disk->rows[i], kind, id) == 0;
    if (there)
        free(disk->rows[i].data);
    if (there && row.size == 0) {
        disk->count--;
        memmove(&disk->rows[i], &disk->rows[i + 1],
                (disk->count - i) * sizeof *disk->rows);
    }
    if (row.size == 0)
        return 0;
    if (!there) {
        disk->rows =
            realloc(disk->rows, (disk->count + 1) * sizeof *disk->rows);
        assert_non_null(disk->rows);
        memmove(&disk->rows[i + 1], &disk->rows[i],
                (disk->count - i) * sizeof *disk->rows);
        disk->count++;
    }
    uint8_t *data = malloc(row.size);
    assert_non_null(data);
    memcpy(data, row.data, row.size);
    disk->rows[i] = (struct row){kind, id, data, row.size};
    return 0;
}

static void disk_deinit(struct disk *disk)
{
    for (size_t i = 0; i < disk->count; i++)
        free(disk->rows[i].data);
    free(disk->rows);
    *disk = (struct disk){0};
}

static void check_equal(const struct disk *a, const struct disk *b)
{
    assert_int_equal(a->count, b->count);
    for (size_t i = 0; i < a->count; i++) {
        assert_int_equal(compare(&a->rows[i], b->rows[i].kind, b->rows[i].id),
                         0);
        assert_int_equal(a->rows[i].size, b->rows[i].size);
        assert_memory_equal(a->rows[i].data, b->rows[i].data, a->rows[i].size);
    }
}

struct order {
    struct disk *disk;
    uint8_t kind;
    uint32_t id;
    size_t calls;
};

/* A roster_row_fn that wants its rows in order. */
static int write_in_order(void *arg, uint8_t kind, uint32_t id,
                          struct bytes row)
{
    struct order *o = arg;
    assert_true(o->calls == 0 || kind > o->kind ||
                (kind == o->kind && id > o->id));
    o->kind = kind;
    o->id = id;
    o->calls++;
    return write_row(o->disk, kind, id, row);
}

static size_t flush(struct roster *r, struct disk *disk)
{
    struct order o = {.disk = disk};
    thread_role_assert(&applier_thread);
    assert_int_equal(roster_each_dirty(r, write_in_order, &o), 0);
    roster_flushed(r);
    return o.calls;
}

static struct disk all_rows(const struct roster *r)
{
    struct disk disk = {0};
    struct order o = {.disk = &disk};
    assert_int_equal(roster_each_row(r, write_in_order, &o), 0);
    assert_int_equal(o.calls, disk.count); /* none was empty */
    return disk;
}

static struct roster *load(const struct disk *disk)
{
    struct roster *r;
    struct errmsg e;
    assert_int_equal(roster_create(&r), 0);
    for (size_t i = 0; i < disk->count; i++) {
        const struct row *row = &disk->rows[i];
        int rc = roster_load_row(r, row->kind, row->id,
                                 (struct bytes){row->data, row->size}, &e);
        if (rc != 0)
            print_error("%s\n", e.text);
        assert_int_equal(rc, 0);
    }
    return r;
}

/* --- random work --------------------------------------------------------- */

static uint32_t random_state;

static uint32_t pick(uint32_t below)
{
    random_state = random_state * 1664525 + 1013904223;
    return (random_state >> 8) % below;
}

static void put_random_location(struct buf *out)
{
    static const char *const addresses[] = {
        "",    "10.1.0.1/24", "10.1.0.20/24", "10.2.0.1/28,fd02::1/64",
        "bad", "10.1.0.3/28"};
    struct location_spec spec = {.name = "somewhere",
                                 .address = addresses[pick(6)],
                                 .port = (uint16_t)pick(65536),
                                 .accept_unknown_peers = pick(2) == 0,
                                 .private_key = {(uint8_t)pick(256)}};
    if (pick(2) == 0)
        record_put_location_create(out, &spec);
    else
        record_put_location_change(out, 1 + pick(8), &spec);
}

static void put_random_device(struct buf *out)
{
    char name[16];
    snprintf(name, sizeof name, "device-%u", (unsigned)pick(1000));
    struct device_spec spec = {.kind = (enum device_kind)pick(3),
                               .name = name,
                               .public_key = {(uint8_t)pick(60)},
                               .location = pick(3) == 0 ? 1 + pick(8) : 0};
    if (pick(2) == 0)
        record_put_device_create(out, &spec);
    else
        record_put_device_change(out, 1 + pick(40), &spec);
}

static void put_random_command(struct buf *out)
{
    uint8_t hash[API_TOKEN_HASH_SIZE] = {(uint8_t)pick(20)};
    struct settings_spec settings = {.gateway_secret = "secret",
                                     .cluster_id = {9},
                                     .retain_day_s = pick(1000)};
    struct settings_change change = {.has_minute = true,
                                     .retain_minute_s = pick(1000)};
    char name[2] = {(char)('a' + pick(6))};
    switch (pick(20)) {
    case 18:
        record_put_settings_change(out, &change);
        break;
    case 16:
        record_put_member(out, name, (enum member_wish)pick(2));
        break;
    case 17:
        record_put_level(out, 1 + pick(LEVEL_NEWEST));
        break;
    case 0:
        record_put_settings(out, &settings);
        break;
    case 1:
        record_put_location_delete(out, 1 + pick(8));
        break;
    case 2:
        record_put_device_delete(out, 1 + pick(40));
        break;
    case 3:
        record_put_token_create(out, "token", hash);
        break;
    case 4:
        record_put_token_revoke(out, 1 + pick(20));
        break;
    case 19:
        record_put_gateway_delete(out, 1 + pick(100));
        break;
    case 5:
    case 6:
        put_random_location(out);
        break;
    default:
        put_random_device(out);
        break;
    }
}

static void report_from_random_gateway(struct roster *r, uint64_t now_ms)
{
    char identity[8];
    snprintf(identity, sizeof identity, "gw-%u", (unsigned)pick(10));
    struct batch_head head = {.location = 1 + pick(8),
                              .identity = bytes_of_string(identity)};
    struct gateway *g;
    struct outcome o = {0};
    uint8_t key[PUBLIC_KEY_SIZE] = {(uint8_t)pick(60)};
    uint32_t device;
    enum gateway_kind kind = pick(2) == 0 ? GATEWAY_NATIVE : GATEWAY_LEGACY;
    thread_role_assert(&applier_thread);
    assert_int_equal(roster_resolve_gateway(r, &head, kind, now_ms, &g, &o), 0);
    if (g != NULL) {
        struct gateway state = *g;
        state.session = now_ms;
        state.sequence = pick(100);
        state.seen_ms = now_ms;
        state.machine = pick(5);
        state.hearing = hearing_at(g->hearing, (uint32_t)(now_ms / 1000) * 2);
        roster_update_gateway(r, g, &state);
    }
    assert_int_equal(
        roster_claim_key(r, head.location, key, now_ms, now_ms, &device), 0);
}

static void do_random_work(struct roster *r, uint64_t step)
{
    struct buf b = {0};
    struct record record;
    struct outcome o;
    thread_role_assert(&applier_thread);
    if (pick(4) == 0) {
        report_from_random_gateway(r, step * 1000);
        return;
    }
    put_random_command(&b);
    struct reader reader = reader_of(buf_bytes(&b));
    assert_int_equal(record_next(&reader, &record), 1);
    assert_int_equal(roster_apply(r, &record, step, step * 1000, &o), 0);
    buf_deinit(&b);
}

/* No two devices, and no device and gateway, have one address in a location. */
static void check_addresses(const struct roster *r)
{
    const struct device *d, *other;
    for (d = roster_next_device(r, 0); d != NULL;
         d = roster_next_device(r, d->id)) {
        for (size_t i = 0; i < d->attachment_count; i++) {
            const struct attachment *a = &d->attachments[i], *b;
            const struct location *l = roster_location(r, a->location);
            size_t length = strlen(a->addresses);
            assert_int_equal(length == 0, l->address[0] == '\0');
            if (length == 0)
                continue;
            assert_false(strncmp(l->address, a->addresses, length) == 0 &&
                         l->address[length] == '/');
            for (other = roster_next_device(r, d->id); other != NULL;
                 other = roster_next_device(r, other->id)) {
                b = device_attachment(other, a->location);
                assert_true(b == NULL ||
                            strcmp(a->addresses, b->addresses) != 0);
            }
        }
    }
}

/* --- cases --------------------------------------------------------------- */

static void rows_hold_the_state_whenever_they_were_flushed(void **state)
{
    (void)state;
    for (uint32_t seed = 1; seed <= 20; seed++) {
        struct roster *r;
        struct disk disk = {0};
        assert_int_equal(roster_create(&r), 0);
        print_message("seed %u\n", (unsigned)seed);
        random_state = seed;
        for (uint64_t step = 1; step <= 400; step++) {
            do_random_work(r, step);
            check_addresses(r);
            if (step * seed % 37 == 0)
                flush(r, &disk);
            if (step % 100 == 0) { /* a restart */
                flush(r, &disk);
                struct disk before = all_rows(r);
                check_equal(&disk, &before);
                roster_destroy(r);
                r = load(&disk);
                struct disk after = all_rows(r);
                check_equal(&before, &after);
                disk_deinit(&before);
                disk_deinit(&after);
            }
        }
        disk_deinit(&disk);
        roster_destroy(r);
    }
}

static void a_restart_changes_no_later_answer(void **state)
{
    (void)state;
    struct roster *whole, *cut;
    struct disk disk = {0};
    assert_int_equal(roster_create(&whole), 0);
    assert_int_equal(roster_create(&cut), 0);
    for (uint64_t step = 1; step <= 1000; step++) {
        random_state = (uint32_t)step * 7919;
        do_random_work(whole, step);
        random_state = (uint32_t)step * 7919;
        do_random_work(cut, step);
        if (step % 50 == 0) {
            flush(cut, &disk);
            roster_destroy(cut);
            cut = load(&disk);
        }
    }
    struct disk a = all_rows(whole), b = all_rows(cut);
    assert_true(a.count > 30);
    check_equal(&a, &b);
    disk_deinit(&a);
    disk_deinit(&b);
    disk_deinit(&disk);
    roster_destroy(whole);
    roster_destroy(cut);
}

static void only_what_changed_is_flushed(void **state)
{
    (void)state;
    struct roster *r;
    struct disk disk = {0};
    assert_int_equal(roster_create(&r), 0);
    assert_int_equal(flush(r, &disk), 0);
    random_state = 3;
    for (uint64_t step = 1; step <= 300; step++)
        do_random_work(r, step);
    assert_true(flush(r, &disk) > 20);
    assert_int_equal(flush(r, &disk), 0);
    const struct gateway *first = roster_next_gateway(r, 0);
    struct batch_head head = {.location = first->location,
                              .gateway = first->id};
    struct gateway *g;
    struct outcome o = {0};
    thread_role_assert(&applier_thread);
    assert_int_equal(roster_resolve_gateway(r, &head, first->kind, 0, &g, &o),
                     0);
    struct gateway next = *g;
    next.sequence++;
    roster_update_gateway(r, g, &next);
    roster_update_gateway(r, g, &next);
    assert_int_equal(flush(r, &disk), 1);
    struct roster *again = load(&disk);
    assert_int_equal(flush(again, &disk),
                     0); /* nothing to write after a load */
    roster_destroy(again);
    roster_destroy(r);
    disk_deinit(&disk);
}

static void a_row_cut_anywhere_is_refused(void **state)
{
    (void)state;
    struct roster *r;
    struct errmsg e;
    assert_int_equal(roster_create(&r), 0);
    random_state = 5;
    for (uint64_t step = 1; step <= 300; step++)
        do_random_work(r, step);
    struct disk disk = all_rows(r);
    roster_destroy(r);
    assert_int_equal(roster_create(&r), 0);
    for (size_t i = 0; i < disk.count; i++) {
        const struct row *row = &disk.rows[i];
        for (size_t size = 0; size < row->size; size++) {
            uint8_t *exact = malloc(size + 1);
            assert_non_null(exact);
            memcpy(exact, row->data, size);
            assert_int_equal(roster_load_row(r, row->kind, row->id,
                                             (struct bytes){exact, size}, &e),
                             ERR_CORRUPT);
            free(exact);
        }
        struct bytes whole = {row->data, row->size};
        assert_int_equal(roster_load_row(r, row->kind, row->id, whole, &e), 0);
        assert_int_equal(roster_load_row(r, row->kind, row->id, whole, &e),
                         row->kind == 1 && i == 0 ? 0 : ERR_CORRUPT);
    }
    roster_destroy(r);
    disk_deinit(&disk);
}

static void rows_of_a_newer_version_are_told_apart_from_damage(void **state)
{
    (void)state;
    struct roster *r;
    struct errmsg e;
    static const uint8_t newer[] = {2, 1, 1, 1, 1};
    static const uint8_t good[] = {1, 1, 1, 1, 1},
                         longer[] = {1, 1, 1, 1, 1, 0};
    static const uint8_t id_zero[] = {1, 0, 1, 1, 1};
    assert_int_equal(roster_create(&r), 0);
    assert_int_equal(roster_load_row(r, 1, 0, (struct bytes){newer, 5}, &e),
                     ERR_NEWER);
    assert_int_equal(roster_load_row(r, 1, 0, (struct bytes){longer, 6}, &e),
                     ERR_CORRUPT);
    assert_int_equal(roster_load_row(r, 1, 0, (struct bytes){id_zero, 5}, &e),
                     ERR_CORRUPT);
    assert_int_equal(roster_load_row(r, 1, 7, (struct bytes){good, 5}, &e),
                     ERR_CORRUPT);
    assert_int_equal(roster_load_row(r, 99, 0, (struct bytes){good, 5}, &e),
                     ERR_NEWER);
    assert_int_equal(roster_load_row(r, 0, 0, (struct bytes){good, 5}, &e),
                     ERR_CORRUPT);
    /* A cluster that has agreed on what this version does not know. */
    static const uint8_t level[] = {1, LEVEL_NEWEST + 1, 0};
    assert_int_equal(roster_load_row(r, 7, 0, (struct bytes){level, 3}, &e),
                     ERR_NEWER);
    assert_non_null(strstr(e.text, "newer version"));
    /* Wishes: of nobody, twice the same, out of order. */
    static const uint8_t nobody[] = {1, 2, 1, 1, 0};
    static const uint8_t twice[] = {1, 2, 2, 1, 1, 'a', 1, 1, 'a'};
    static const uint8_t order[] = {1, 2, 2, 1, 1, 'b', 1, 1, 'a'};
    const struct bytes bad[] = {
        {nobody, sizeof nobody}, {twice, sizeof twice}, {order, sizeof order}};
    for (size_t i = 0; i < 3; i++) {
        struct roster *other;
        assert_int_equal(roster_create(&other), 0);
        assert_int_equal(roster_load_row(other, 7, 0, bad[i], &e), ERR_CORRUPT);
        roster_destroy(other);
    }
    assert_int_equal(roster_load_row(r, 1, 0, (struct bytes){good, 5}, &e), 0);
    roster_destroy(r);
}

/* The fuzzer's seeds: `test_roster_row --seeds DIR` writes them: commands as
 * above, and a batch that makes a gateway and a device. */
static int write_seeds(const char *dir)
{
    for (uint32_t seed = 1; seed <= 6; seed++) {
        char path[512];
        struct buf b = {0};
        struct batch_writer w;
        static const uint8_t key[PUBLIC_KEY_SIZE] = {1};
        struct batch_head head = {
            .location = 1, .identity = bytes_of_string("gw"), .sequence = seed};
        struct batch_peer peer = {.key = key, .upload = seed};
        random_state = seed;
        for (uint32_t i = 0; i < 5 * seed; i++)
            put_random_command(&b);
        batch_begin(&w, &b,
                    seed % 2 ? RECORD_NATIVE_BATCH : RECORD_LEGACY_BATCH,
                    &head);
        batch_put(&w, &peer);
        batch_end(&w);
        snprintf(path, sizeof path, "%s/seed-%u", dir, (unsigned)seed);
        FILE *f = fopen(path, "wb");
        if (f == NULL || fwrite(b.data, 1, b.size, f) != b.size ||
            fclose(f) != 0) {
            perror(path);
            return 1;
        }
        buf_deinit(&b);
    }
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "--seeds") == 0)
        return write_seeds(argv[2]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_hold_the_state_whenever_they_were_flushed),
        cmocka_unit_test(a_restart_changes_no_later_answer),
        cmocka_unit_test(only_what_changed_is_flushed),
        cmocka_unit_test(a_row_cut_anywhere_is_refused),
        cmocka_unit_test(rows_of_a_newer_version_are_told_apart_from_damage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
