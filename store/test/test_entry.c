#include "store/entry.h"

#include <stdio.h>
#include <stdlib.h>

/* cmocka wants these four first */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static const struct entry_header stamp = {
    .term = 7, .log_time_ms = 1795350000123, .proposer = 3, .number = 42};

static const uint8_t some_key[PUBLIC_KEY_SIZE] = {0xaa, 1, 2, 3, [31] = 0xbb};

static struct bytes text(const char *s)
{
    return bytes_of_string(s);
}

static const struct batch_head native_head = {.location = 4,
                                              .gateway = 9,
                                              .session = 1795350000000,
                                              .sequence = 12,
                                              .sampled_at_ms = 1795350000100,
                                              .has_machine = true,
                                              .machine = 0xfedcba9876543210};

static struct batch_head legacy_head(void)
{
    return (struct batch_head){.location = 5,
                               .identity = text("vpn-1.example.org"),
                               .hostname = text("vpn-1.example.org"),
                               .name = text("Paris"),
                               .address = text("2001:db8::1")};
}

/* Rows that use every form: ids up and down, a key, never and late handshakes,
 * the largest numbers. */
static size_t sample_rows(struct batch_peer *rows)
{
    struct batch_peer all[] = {
        {.device = 17,
         .upload = 1,
         .download = 2,
         .handshake = 1795349990,
         .rec_ms = 1795350000500,
         .has_endpoint = true,
         .endpoint = text("192.0.2.7:51820"),
         .allowed_ips = text("10.6.0.2/32,fd00::2/128")},
        {.device = 18, .handshake = 0, .rec_ms = 1795350000400},
        {.device = 0,
         .key = some_key,
         .upload = UINT64_MAX,
         .download = UINT64_MAX,
         .handshake = UINT64_MAX,
         .rec_ms = UINT64_MAX,
         .has_endpoint = true},
        {.device = UINT32_MAX, .handshake = 1, .rec_ms = 0},
        {.device = 1, .upload = 1ULL << 40, .handshake = 1795350100},
    };
    memcpy(rows, all, sizeof all);
    return sizeof all / sizeof *all;
}

static void put_batch(struct buf *out, enum record_kind kind,
                      const struct batch_head *head,
                      const struct batch_peer *rows, size_t count)
{
    struct batch_writer w;
    batch_begin(&w, out, kind, head);
    for (size_t i = 0; i < count; i++)
        batch_put(&w, &rows[i]);
    batch_end(&w);
    assert_false(buf_failed(out));
}

static void check_rows(struct batch_reader *r, const struct batch_peer *rows,
                       size_t count)
{
    struct batch_peer p;
    for (size_t i = 0; i < count; i++) {
        const struct batch_peer *want = &rows[i];
        assert_int_equal(batch_next(r, &p), 1);
        assert_int_equal(p.device, want->device);
        if (want->device == 0)
            assert_memory_equal(p.key, want->key, PUBLIC_KEY_SIZE);
        assert_true(p.upload == want->upload);
        assert_true(p.download == want->download);
        assert_true(p.handshake == want->handshake);
        assert_true(p.rec_ms == want->rec_ms);
        assert_int_equal(p.from_zero, want->from_zero);
        assert_int_equal(p.has_endpoint, want->has_endpoint);
        assert_true(bytes_equal(p.endpoint, want->endpoint));
        assert_true(bytes_equal(p.allowed_ips, want->allowed_ips));
    }
    assert_int_equal(batch_next(r, &p), 0);
    assert_int_equal(batch_next(r, &p), 0);
}

static int open_entry(const struct buf *b, struct reader *records)
{
    struct entry_header header;
    struct errmsg e;
    return entry_open(buf_bytes(b), &header, records, &e);
}

/* The result of reading the batch in @body to its end. */
static int read_all(enum record_kind kind, struct bytes body)
{
    struct record record = {kind, body};
    struct batch_reader r;
    struct batch_head head;
    struct batch_peer p;
    int rc = batch_open(&r, &record, &head);
    if (rc != 0)
        return rc;
    do {
        rc = batch_next(&r, &p);
    } while (rc == 1);
    if (rc < 0)
        assert_int_equal(batch_next(&r, &p), ERR_CORRUPT); /* for good */
    return rc;
}

static struct bytes body_of(const struct buf *framed)
{
    struct reader r = reader_of(buf_bytes(framed));
    struct record record;
    assert_int_equal(record_next(&r, &record), 1);
    return record.body;
}

/* --- the frame ----------------------------------------------------------- */

static void an_entry_gives_back_its_header_and_records(void **state)
{
    (void)state;
    struct buf b = {0};
    entry_begin(&b, &stamp);
    record_put(&b, RECORD_DEVICE_DELETE, text("abc"));
    record_put_tick(&b);
    record_put(&b, (enum record_kind)200, text("from a newer version"));
    entry_finish(&b);
    assert_false(buf_failed(&b));
    assert_int_equal(b.size % ENTRY_ALIGNMENT, 0);

    struct entry_header header;
    struct reader records;
    struct record record;
    assert_int_equal(entry_open(buf_bytes(&b), &header, &records, NULL), 0);
    assert_true(header.term == stamp.term);
    assert_true(header.log_time_ms == stamp.log_time_ms);
    assert_true(header.proposer == stamp.proposer);
    assert_true(header.number == stamp.number);
    assert_int_equal(record_next(&records, &record), 1);
    assert_int_equal(record.kind, RECORD_DEVICE_DELETE);
    assert_true(bytes_equal(record.body, text("abc")));
    assert_int_equal(record_next(&records, &record), 1);
    assert_int_equal(record.kind, RECORD_TICK);
    assert_int_equal(record.body.size, 0);
    assert_int_equal(record_next(&records, &record), 1);
    assert_int_equal(record.kind, 200);
    assert_int_equal(record_next(&records, &record), 0);
    buf_deinit(&b);
}

static void entries_of_every_length_are_padded_to_eight(void **state)
{
    (void)state;
    struct buf b = {0};
    for (size_t size = 0; size < 24; size++) {
        static const uint8_t body[24];
        entry_begin(&b, &stamp);
        record_put(&b, RECORD_TICK, (struct bytes){body, size});
        entry_finish(&b);
        assert_int_equal(b.size, (ENTRY_HEADER_SIZE + 2 + size + 7) / 8 * 8);
        struct reader records;
        struct record record;
        assert_int_equal(open_entry(&b, &records), 0);
        assert_int_equal(record_next(&records, &record), 1);
        assert_int_equal(record.body.size, size);
        assert_int_equal(record_next(&records, &record), 0);
    }
    buf_deinit(&b);
}

static void a_damaged_frame_is_refused(void **state)
{
    (void)state;
    struct buf b = {0};
    struct reader records;
    entry_begin(&b, &stamp);
    record_put_tick(&b);
    entry_finish(&b);
    assert_int_equal(open_entry(&b, &records), 0);

    static const size_t touched[] = {0, 1, 3, 4, 7, 42, 47};
    for (size_t i = 0; i < sizeof touched / sizeof *touched; i++) {
        b.data[touched[i]] ^= 0x10;
        assert_int_equal(open_entry(&b, &records), ERR_CORRUPT);
        b.data[touched[i]] ^= 0x10;
    }
    for (size_t size = 0; size < b.size; size++) {
        struct entry_header header;
        assert_int_equal(
            entry_open((struct bytes){b.data, size}, &header, &records, NULL),
            ERR_CORRUPT);
    }
    static const uint8_t zeros[8];
    buf_put(&b, zeros, 8); /* a whole word too many */
    assert_int_equal(open_entry(&b, &records), ERR_CORRUPT);
    buf_deinit(&b);
}

static void a_damaged_record_ends_the_run_for_good(void **state)
{
    (void)state;
    static const uint8_t raws[][4] = {
        {0, 0, 1, 0},          /* kind 0 is nobody's */
        {1, 5, 'x', 'x'},      /* longer than what is there */
        {1, 0xff, 0xff, 0xff}, /* a length that does not end */
    };
    for (size_t i = 0; i < 3; i++) {
        struct reader r = reader_of((struct bytes){raws[i], 4});
        struct record record;
        assert_int_equal(record_next(&r, &record), ERR_CORRUPT);
        assert_int_equal(record_next(&r, &record), ERR_CORRUPT);
    }
}

static void a_record_that_is_too_large_fails_the_buffer(void **state)
{
    (void)state;
    struct buf b = {0};
    uint8_t *body = calloc(1, RECORD_SIZE_MAX);
    assert_non_null(body);
    record_put(&b, RECORD_DEVICE_CREATE,
               (struct bytes){body, RECORD_SIZE_MAX - 4});
    assert_true(buf_failed(&b));
    buf_clear(&b);
    record_put(&b, RECORD_DEVICE_CREATE,
               (struct bytes){body, RECORD_SIZE_MAX - 5});
    assert_false(buf_failed(&b));
    assert_int_equal(b.size, RECORD_SIZE_MAX - 1); /* a three-byte length */
    free(body);
    buf_deinit(&b);
}

/* --- batches ------------------------------------------------------------- */

static void a_native_batch_survives_a_round_trip(void **state)
{
    (void)state;
    struct batch_peer rows[8];
    size_t count = sample_rows(rows);
    rows[1].from_zero = true;
    struct buf b = {0};
    record_put_tick(&b); /* a batch need not begin the buffer */
    put_batch(&b, RECORD_NATIVE_BATCH, &native_head, rows, count);
    record_put_tick(&b);

    struct reader records = reader_of(buf_bytes(&b));
    struct record record, after;
    struct batch_reader r;
    struct batch_head head;
    assert_int_equal(record_next(&records, &record), 1);
    assert_int_equal(record_next(&records, &record), 1);
    assert_int_equal(record_next(&records, &after), 1);
    assert_int_equal(after.kind, RECORD_TICK);
    assert_int_equal(batch_open(&r, &record, &head), 0);
    assert_int_equal(head.location, native_head.location);
    assert_int_equal(head.gateway, native_head.gateway);
    assert_int_equal(head.identity.size, 0);
    assert_true(head.session == native_head.session);
    assert_true(head.sequence == native_head.sequence);
    assert_true(head.sampled_at_ms == native_head.sampled_at_ms);
    assert_true(head.has_machine);
    assert_true(head.machine == native_head.machine);
    for (size_t i = 0; i < count; i++)
        rows[i].rec_ms = 0; /* does not travel */
    check_rows(&r, rows, count);
    buf_deinit(&b);
}

static void a_legacy_batch_survives_a_round_trip(void **state)
{
    (void)state;
    struct batch_peer rows[8];
    size_t count = sample_rows(rows);
    struct batch_head sent = legacy_head(), head;
    struct buf b = {0};
    put_batch(&b, RECORD_LEGACY_BATCH, &sent, rows, count);
    struct record record = {RECORD_LEGACY_BATCH, body_of(&b)};
    struct batch_reader r;
    assert_int_equal(batch_open(&r, &record, &head), 0);
    assert_int_equal(head.location, sent.location);
    assert_int_equal(head.gateway, 0);
    assert_true(bytes_equal(head.identity, sent.identity));
    assert_true(bytes_equal(head.hostname, sent.hostname));
    assert_true(bytes_equal(head.name, sent.name));
    assert_true(bytes_equal(head.address, sent.address));
    assert_false(head.has_machine);
    check_rows(&r, rows, count);
    buf_deinit(&b);
}

static void a_quiet_peer_costs_few_bytes(void **state)
{
    (void)state;
    struct batch_peer rows[100];
    struct buf b = {0};
    for (uint32_t i = 0; i < 100; i++)
        rows[i] = (struct batch_peer){.device = 1000 + i,
                                      .upload = 3 << 20,
                                      .download = 40 << 20,
                                      .handshake = 1795349900 + i};
    put_batch(&b, RECORD_NATIVE_BATCH, &native_head, rows, 100);
    assert_in_range(b.size, 1000, 1300);
    buf_deinit(&b);
}

static void the_largest_batch_fits_a_record(void **state)
{
    (void)state;
    char longest[IDENTITY_LENGTH_MAX + 2];
    memset(longest, 'x', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    struct batch_head head = legacy_head();
    head.identity = head.hostname = head.name = head.address = text(longest);
    struct batch_peer row = {.key = some_key,
                             .upload = UINT64_MAX,
                             .download = UINT64_MAX,
                             .handshake = UINT64_MAX / 2,
                             .has_endpoint = true,
                             .endpoint = text(longest),
                             .allowed_ips = text(longest)};
    struct batch_writer w;
    struct buf b = {0};
    batch_begin(&w, &b, RECORD_LEGACY_BATCH, &head);
    for (int i = 0; i < BATCH_PEERS_MAX; i++) {
        row.rec_ms ^= UINT64_MAX / 3; /* far apart */
        batch_put(&w, &row);
    }
    batch_end(&w);
    assert_false(buf_failed(&b));
    assert_in_range(b.size, RECORD_SIZE_MAX * 9 / 10, RECORD_SIZE_MAX);

    struct record record = {RECORD_LEGACY_BATCH, body_of(&b)};
    struct batch_reader r;
    struct batch_peer p;
    assert_int_equal(batch_open(&r, &record, &head), 0);
    assert_int_equal(head.identity.size, IDENTITY_LENGTH_MAX);
    assert_int_equal(head.address.size, ENDPOINT_LENGTH_MAX);
    assert_int_equal(batch_next(&r, &p), 1);
    assert_int_equal(p.endpoint.size, ENDPOINT_LENGTH_MAX);
    assert_int_equal(p.allowed_ips.size, ALLOWED_IPS_LENGTH_MAX);
    assert_int_equal(read_all(record.kind, record.body), 0);

    /* one more peer, as only a stranger would send it */
    struct buf more = {0};
    buf_put(&more, record.body.data, record.body.size);
    static const uint8_t row_18[] = {8, 2, 0, 0, 0}; /* never, device + 1 */
    buf_put(&more, row_18, sizeof row_18);
    assert_int_equal(read_all(record.kind, buf_bytes(&more)), ERR_CORRUPT);
    buf_deinit(&more);
    buf_deinit(&b);
}

static void a_batch_cut_anywhere_is_refused_or_ends_at_a_row(void **state)
{
    (void)state;
    struct batch_peer rows[8];
    size_t count = sample_rows(rows);
    struct batch_head legacy = legacy_head();
    enum record_kind kinds[] = {RECORD_NATIVE_BATCH, RECORD_LEGACY_BATCH};
    for (int k = 0; k < 2; k++) {
        struct buf b = {0};
        put_batch(&b, kinds[k], k == 0 ? &native_head : &legacy, rows, count);
        struct bytes body = body_of(&b);
        size_t whole = 0;
        for (size_t size = 0; size < body.size; size++) {
            uint8_t *exact = malloc(size + 1); /* sanitizers see past it */
            assert_non_null(exact);
            memcpy(exact, body.data, size);
            int rc = read_all(kinds[k], (struct bytes){exact, size});
            assert_true(rc == 0 || rc == ERR_CORRUPT);
            whole += rc == 0;
            free(exact);
        }
        assert_int_equal(whole,
                         count); /* after the head and all rows but one */
        buf_deinit(&b);
    }
}

static void what_no_writer_writes_no_reader_takes(void **state)
{
    (void)state;
    static const struct {
        enum record_kind kind;
        uint8_t raw[16];
        size_t size;
    } bad[] = {
        /* native: unknown head flag; legacy: nobody reports */
        {RECORD_NATIVE_BATCH, {1, 1, 1, 1, 0, 2}, 6},
        {RECORD_LEGACY_BATCH, {1, 0, 0, 0, 0, 0}, 6},
        /* rows: unknown flag, device 0, device -1, from_zero in a legacy one,
         * a handshake that says never in two ways */
        {RECORD_LEGACY_BATCH, {1, 1, 0, 0x18, 2, 0, 0, 0}, 8},
        {RECORD_LEGACY_BATCH, {1, 1, 0, 0x08, 0, 0, 0, 0}, 8},
        {RECORD_LEGACY_BATCH, {1, 1, 0, 0x08, 1, 0, 0, 0}, 8},
        {RECORD_LEGACY_BATCH, {1, 1, 0, 0x0a, 2, 0, 0, 0}, 8},
        {RECORD_LEGACY_BATCH, {1, 1, 0, 0x00, 2, 0, 0, 0, 0}, 9},
        {RECORD_TICK, {1, 1, 0}, 3},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(
            read_all(bad[i].kind, (struct bytes){bad[i].raw, bad[i].size}),
            ERR_CORRUPT);
    /* and the same row well-formed, so that the above fail for their reason */
    static const uint8_t good[] = {1, 1, 0, 0x08, 2, 0, 0, 0};
    assert_int_equal(
        read_all(RECORD_LEGACY_BATCH, (struct bytes){good, sizeof good}), 0);
}

static int read_presence(const uint8_t *body, size_t size)
{
    struct record record = {RECORD_PRESENCE, {body, size}};
    struct presence_reader r;
    uint32_t gateway;
    int rc = presence_open(&r, &record);
    while (rc == 0 && (rc = presence_next(&r, &gateway)) > 0)
        rc = 0;
    return rc;
}

static void a_presence_names_a_minute_and_gateways_in_order(void **state)
{
    (void)state;
    const uint32_t gateways[] = {3, 4, 1000, UINT32_MAX};
    struct buf b = {0};
    record_put_presence(&b, 28333334, gateways, 4);
    struct reader records = reader_of(buf_bytes(&b));
    struct record record;
    struct presence_reader r;
    uint32_t gateway;
    assert_int_equal(record_next(&records, &record), 1);
    assert_int_equal(record.kind, RECORD_PRESENCE);
    assert_int_equal(presence_open(&r, &record), 0);
    assert_int_equal(r.minute, 28333334);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(presence_next(&r, &gateway), 1);
        assert_int_equal(gateway, gateways[i]);
    }
    assert_int_equal(presence_next(&r, &gateway), 0);
    buf_deinit(&b);
    assert_int_equal(read_presence((const uint8_t[]){1, 9}, 2), 0); /* none */
    assert_int_equal(read_presence((const uint8_t[]){1, 9, 5, 1}, 4), 0);
    /* cut, another version, twice the same, a step beyond the last id */
    assert_int_equal(read_presence((const uint8_t[]){1}, 1), ERR_CORRUPT);
    assert_int_equal(read_presence((const uint8_t[]){2, 9}, 2), ERR_CORRUPT);
    assert_int_equal(read_presence((const uint8_t[]){1, 9, 5, 0x80}, 4),
                     ERR_CORRUPT);
    assert_int_equal(read_presence((const uint8_t[]){1, 9, 5, 0}, 4),
                     ERR_CORRUPT);
    const uint8_t far[] = {1, 9, 5, 0xff, 0xff, 0xff, 0xff, 0x0f};
    assert_int_equal(read_presence(far, sizeof far), ERR_CORRUPT);
}

/* Ten thousand gateways, a minute: what each node sends. */
static void a_presence_of_ten_thousand_is_ten_kilobytes(void **state)
{
    (void)state;
    enum { COUNT = 10000 };
    static uint32_t gateways[COUNT];
    for (uint32_t i = 0; i < COUNT; i++)
        gateways[i] = 1 + 3 * i; /* one of three nodes' */
    struct buf b = {0};
    record_put_presence(&b, 28333334, gateways, COUNT);
    assert_false(buf_failed(&b));
    assert_true(b.size < COUNT + 16);
    buf_deinit(&b);
}

/* The fuzzer's seeds: `test_entry --seeds DIR` writes them. */
static int write_seed(const char *dir, const char *name, const struct buf *b)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "wb");
    if (f == NULL || fwrite(b->data, 1, b->size, f) != b->size) {
        perror(path);
        return 1;
    }
    return fclose(f) == 0 ? 0 : 1;
}

static int write_seeds(const char *dir)
{
    struct batch_peer rows[8];
    size_t count = sample_rows(rows);
    struct batch_head legacy = legacy_head(), native = native_head;
    struct buf b = {0};
    entry_begin(&b, &stamp);
    entry_finish(&b);
    int failed = write_seed(dir, "empty", &b);
    entry_begin(&b, &stamp);
    record_put_tick(&b);
    record_put_digest(&b);
    record_put(&b, RECORD_DEVICE_DELETE, text("\5"));
    entry_finish(&b);
    failed |= write_seed(dir, "commands", &b);
    entry_begin(&b, &stamp);
    put_batch(&b, RECORD_NATIVE_BATCH, &native, rows, count);
    native.gateway = 0;
    native.identity = text("agent-1");
    native.has_machine = false;
    put_batch(&b, RECORD_NATIVE_BATCH, &native, rows, 0);
    entry_finish(&b);
    failed |= write_seed(dir, "native", &b);
    entry_begin(&b, &stamp);
    put_batch(&b, RECORD_LEGACY_BATCH, &legacy, rows, count);
    entry_finish(&b);
    failed |= write_seed(dir, "legacy", &b);
    entry_begin(&b, &stamp);
    record_put_presence(&b, 28333334, (uint32_t[]){1, 2, 40, 41000}, 4);
    entry_finish(&b);
    failed |= write_seed(dir, "presence", &b);
    buf_deinit(&b);
    return failed;
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "--seeds") == 0)
        return write_seeds(argv[2]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_entry_gives_back_its_header_and_records),
        cmocka_unit_test(entries_of_every_length_are_padded_to_eight),
        cmocka_unit_test(a_damaged_frame_is_refused),
        cmocka_unit_test(a_damaged_record_ends_the_run_for_good),
        cmocka_unit_test(a_record_that_is_too_large_fails_the_buffer),
        cmocka_unit_test(a_native_batch_survives_a_round_trip),
        cmocka_unit_test(a_legacy_batch_survives_a_round_trip),
        cmocka_unit_test(a_quiet_peer_costs_few_bytes),
        cmocka_unit_test(the_largest_batch_fits_a_record),
        cmocka_unit_test(a_batch_cut_anywhere_is_refused_or_ends_at_a_row),
        cmocka_unit_test(what_no_writer_writes_no_reader_takes),
        cmocka_unit_test(a_presence_names_a_minute_and_gateways_in_order),
        cmocka_unit_test(a_presence_of_ten_thousand_is_ten_kilobytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
