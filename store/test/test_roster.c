/* What commands, batches and unknown keys do to the roster. Its rows are
 * test_roster_row.c. */
#include "store/roster.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

/* cmocka wants these four first */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* --- fixture ------------------------------------------------------------- */

static struct roster *r;
static uint64_t next_index, now_ms;
static struct buf command;

static int set_up(void **state)
{
    (void)state;
    next_index = 100;
    now_ms = 5000;
    return roster_create(&r);
}

static int tear_down(void **state)
{
    (void)state;
    roster_destroy(r);
    buf_deinit(&command);
    return 0;
}

/* Applies what record_put_* left in @command, at an index of its own. */
static struct outcome apply(void)
{
    struct reader reader = reader_of(buf_bytes(&command));
    struct record record;
    struct outcome o;
    thread_role_assert(&applier_thread);
    assert_int_equal(record_next(&reader, &record), 1);
    assert_int_equal(roster_apply(r, &record, next_index, now_ms, &o), 0);
    assert_int_equal(o.index, next_index);
    next_index++;
    buf_clear(&command);
    return o;
}

static void check(struct outcome o, enum outcome_code code, uint64_t value)
{
    assert_int_equal(o.code, code);
    assert_int_equal(o.value, value);
}

static void raise_level(unsigned level)
{
    record_put_level(&command, level);
    check(apply(), OUTCOME_TAKEN, 0);
}

static struct location_spec location_spec(const char *address)
{
    return (struct location_spec){.name = "Paris",
                                  .address = address,
                                  .endpoint = "vpn.example.org",
                                  .port = 51820,
                                  .keepalive_interval_s = 25,
                                  .private_key = {1},
                                  .public_key = {2}};
}

static struct outcome create_location(const char *address)
{
    struct location_spec spec = location_spec(address);
    record_put_location_create(&command, &spec);
    return apply();
}

static struct outcome change_location(uint32_t id, const char *address)
{
    struct location_spec spec = location_spec(address);
    record_put_location_change(&command, id, &spec);
    return apply();
}

static struct device_spec device_spec(uint8_t key, uint32_t location)
{
    return (struct device_spec){.kind = location == 0 ? DEVICE_USER
                                                      : DEVICE_NETWORK,
                                .name = "laptop",
                                .user = "ada",
                                .public_key = {key, [31] = 0xff},
                                .location = location};
}

static struct outcome create_device(uint8_t key, uint32_t location)
{
    struct device_spec spec = device_spec(key, location);
    record_put_device_create(&command, &spec);
    return apply();
}

static struct outcome change_device(uint32_t id, uint8_t key, uint32_t location)
{
    struct device_spec spec = device_spec(key, location);
    record_put_device_change(&command, id, &spec);
    return apply();
}

static struct outcome delete_device(uint32_t id)
{
    record_put_device_delete(&command, id);
    return apply();
}

static uint32_t by_key(uint8_t key)
{
    struct device_spec spec = device_spec(key, 0);
    return roster_device_by_key(r, spec.public_key);
}

/* NULL: the device has no place there. */
static void check_addresses(uint32_t device, uint32_t location,
                            const char *want)
{
    const struct attachment *a =
        device_attachment(roster_device(r, device), location);
    if (want == NULL)
        assert_null(a);
    else
        assert_string_equal(a->addresses, want);
}

/* The changes since @after as text, such as "+d3 -l1 ". */
static void check_changes(uint64_t after, const char *want)
{
    static const char *const names[] = {"+l", "*l", "-l", "+d", "*d", "-d"};
    struct change changes[32];
    struct buf b = {0};
    int count = roster_changes(r, after, changes, 32);
    assert_in_range(count, 0, 32);
    for (int i = 0; i < count; i++)
        buf_printf(&b, "%s%u ", names[changes[i].kind],
                   (unsigned)changes[i].id);
    buf_put_u8(&b, 0);
    assert_string_equal((const char *)b.data, want);
    buf_deinit(&b);
}

/* --- nodes ---------------------------------------------------------------- */

static void the_level_only_rises(void **state)
{
    (void)state;
    assert_int_equal(roster_level(r), LEVEL_OLDEST);
    record_put_level(&command, 2);
    check(apply(), OUTCOME_TAKEN, 0);
    record_put_level(&command, 1);
    check(apply(), OUTCOME_DUPLICATE, 0);
    assert_int_equal(roster_level(r), 2);
    record_put_level(&command, 0);
    check(apply(), OUTCOME_INVALID, 0);
}

static void a_wish_is_kept_by_name_until_it_is_taken_back(void **state)
{
    (void)state;
    assert_int_equal(roster_wish(r, "node-a"), WISH_AUTO);
    record_put_member(&command, "node-b", WISH_STANDBY);
    check(apply(), OUTCOME_TAKEN, 0);
    record_put_member(&command, "node-a", WISH_STANDBY);
    check(apply(), OUTCOME_TAKEN, 0);
    record_put_member(&command, "node-b", WISH_AUTO);
    check(apply(), OUTCOME_TAKEN, 0);
    record_put_member(&command, "node-b", WISH_AUTO);
    check(apply(), OUTCOME_DUPLICATE, 0);
    assert_int_equal(roster_wish(r, "node-a"), WISH_STANDBY);
    assert_int_equal(roster_wish(r, "node-b"), WISH_AUTO);
    record_put_member(&command, "", WISH_STANDBY);
    check(apply(), OUTCOME_INVALID, 0);
    record_put_member(&command, "node-a", (enum member_wish)2);
    check(apply(), OUTCOME_INVALID, 0);
}

static void there_are_at_most_so_many_wishes(void **state)
{
    (void)state;
    char name[16];
    for (int i = 0; i < WISHES_MAX; i++) {
        snprintf(name, sizeof name, "node-%d", i);
        record_put_member(&command, name, WISH_STANDBY);
        check(apply(), OUTCOME_TAKEN, 0);
    }
    record_put_member(&command, "one-more", WISH_STANDBY);
    check(apply(), OUTCOME_LIMIT, 0);
    record_put_member(&command, name, WISH_STANDBY);
    check(apply(), OUTCOME_TAKEN, 0);
}

/* --- settings and tokens ------------------------------------------------- */

static void the_first_settings_win_and_bring_the_admin_token(void **state)
{
    (void)state;
    struct settings_spec spec = {.cluster_id = {1, 2, 3},
                                 .gateway_secret = "first",
                                 .retain_minute_s = 604800,
                                 .admin_token_hash = {7}};
    assert_null(roster_settings(r));
    record_put_settings(&command, &spec);
    check(apply(), OUTCOME_TAKEN, 0);
    struct settings_spec second = {.gateway_secret = "second",
                                   .admin_token_hash = {8}};
    record_put_settings(&command, &second);
    check(apply(), OUTCOME_EXISTS, 0);
    assert_string_equal(roster_settings(r)->gateway_secret, "first");
    assert_int_equal(roster_settings(r)->retain_minute_s, 604800);
    assert_int_equal(roster_settings(r)->cluster_id[2], 3);
    assert_true(roster_api_token(r, spec.admin_token_hash));
    assert_false(roster_api_token(r, second.admin_token_hash));
    record_put_token_revoke(&command, 1);
    check(apply(), OUTCOME_TAKEN, 1);
    assert_false(roster_api_token(r, spec.admin_token_hash));
}

static enum outcome_code change_settings(const struct settings_change *change)
{
    record_put_settings_change(&command, change);
    return apply().code;
}

static void a_change_of_settings_touches_what_it_names(void **state)
{
    (void)state;
    struct settings_spec spec = {.cluster_id = {1, 2, 3},
                                 .gateway_secret = "secret",
                                 .retain_minute_s = 1,
                                 .retain_hour_s = 2,
                                 .retain_day_s = 3};
    struct settings_change minute = {.has_minute = true,
                                     .retain_minute_s = RETAIN_S_MAX};
    struct settings_change others = {
        .has_hour = true, .has_day = true, .retain_day_s = 30};
    assert_int_equal(change_settings(&minute), OUTCOME_NOTFOUND);
    record_put_settings(&command, &spec);
    check(apply(), OUTCOME_TAKEN, 0);
    assert_int_equal(change_settings(&minute), OUTCOME_TAKEN);
    assert_int_equal(change_settings(&others), OUTCOME_TAKEN);
    const struct settings *s = roster_settings(r);
    assert_int_equal(s->retain_minute_s, RETAIN_S_MAX);
    assert_int_equal(s->retain_hour_s, 0);
    assert_int_equal(s->retain_day_s, 30);
    assert_string_equal(s->gateway_secret, "secret");
    assert_int_equal(s->cluster_id[2], 3);
    /* Nothing, too much, and a flag that nobody knows. */
    struct settings_change nothing = {0};
    assert_int_equal(change_settings(&nothing), OUTCOME_INVALID);
    minute.retain_minute_s = RETAIN_S_MAX + 1;
    assert_int_equal(change_settings(&minute), OUTCOME_INVALID);
    static const uint8_t unknown[] = {1, 8};
    record_put(&command, RECORD_SETTINGS_CHANGE,
               (struct bytes){unknown, sizeof unknown});
    check(apply(), OUTCOME_INVALID, 0);
    assert_int_equal(s->retain_minute_s, RETAIN_S_MAX);
}

static void tokens_are_told_apart_by_hash_and_never_share_an_id(void **state)
{
    (void)state;
    static const uint8_t one[API_TOKEN_HASH_SIZE] = {1};
    static const uint8_t two[API_TOKEN_HASH_SIZE] = {2};
    record_put_token_create(&command, "ci", one);
    check(apply(), OUTCOME_TAKEN, 1);
    record_put_token_create(&command, "again", one);
    check(apply(), OUTCOME_EXISTS, 1);
    record_put_token_revoke(&command, 1);
    check(apply(), OUTCOME_TAKEN, 1);
    record_put_token_revoke(&command, 1);
    check(apply(), OUTCOME_NOTFOUND, 0);
    record_put_token_create(&command, "ci", two);
    check(apply(), OUTCOME_TAKEN, 2);
    assert_true(roster_api_token(r, two));
    assert_false(roster_api_token(r, one));
}

static void the_last_token_stays(void **state)
{
    (void)state;
    static const uint8_t one[API_TOKEN_HASH_SIZE] = {1};
    static const uint8_t two[API_TOKEN_HASH_SIZE] = {2};
    raise_level(4);
    record_put_token_create(&command, "one", one);
    check(apply(), OUTCOME_TAKEN, 1);
    record_put_token_create(&command, "two", two);
    check(apply(), OUTCOME_TAKEN, 2);
    record_put_token_revoke(&command, 1);
    check(apply(), OUTCOME_TAKEN, 1);
    record_put_token_revoke(&command, 1);
    check(apply(), OUTCOME_NOTFOUND, 0);
    record_put_token_revoke(&command, 2);
    check(apply(), OUTCOME_LIMIT, 0);
    assert_true(roster_api_token(r, two));
}

static void below_level_4_the_last_token_could_go(void **state)
{
    (void)state;
    static const uint8_t one[API_TOKEN_HASH_SIZE] = {1};
    raise_level(3);
    record_put_token_create(&command, "one", one);
    check(apply(), OUTCOME_TAKEN, 1);
    record_put_token_revoke(&command, 1);
    check(apply(), OUTCOME_TAKEN, 1);
    assert_false(roster_api_token(r, one));
}

/* --- locations and devices ----------------------------------------------- */

static void a_users_device_is_in_every_location(void **state)
{
    (void)state;
    check(create_location("10.1.0.1/24"), OUTCOME_TAKEN, 1);
    check(create_device(1, 0), OUTCOME_TAKEN, 1);
    check(create_device(2, 1), OUTCOME_TAKEN, 2);
    check(create_location("10.2.0.1/24,fd02::1/64"), OUTCOME_TAKEN, 2);
    check(create_device(3, 0), OUTCOME_TAKEN, 3);
    check_addresses(1, 1, "10.1.0.2");
    check_addresses(1, 2, "10.2.0.2,fd02::2");
    check_addresses(2, 1, "10.1.0.3");
    check_addresses(2, 2, NULL); /* a network device: its own only */
    check_addresses(3, 1, "10.1.0.4");
    check_addresses(3, 2, "10.2.0.3,fd02::3");
    assert_int_equal(roster_device(r, 1)->created_ms, 5000);
    assert_string_equal(roster_device(r, 1)->user, "ada");
    assert_string_equal(roster_device(r, 1)->description, "");
}

static void ids_are_never_used_twice_and_addresses_late(void **state)
{
    (void)state;
    check(create_location("10.1.0.1/24"), OUTCOME_TAKEN, 1);
    check(create_device(1, 0), OUTCOME_TAKEN, 1);
    check(delete_device(1), OUTCOME_TAKEN, 1);
    check(delete_device(1), OUTCOME_NOTFOUND, 0);
    assert_int_equal(by_key(1), 0);
    check(create_device(1, 0), OUTCOME_TAKEN, 2);
    check_addresses(2, 1, "10.1.0.3");
    record_put_location_delete(&command, 1);
    check(apply(), OUTCOME_TAKEN, 1);
    check_addresses(2, 1, NULL);
    assert_null(roster_location(r, 1));
    check(create_location("10.1.0.1/24"), OUTCOME_TAKEN, 2);
    check_addresses(2, 2, "10.1.0.2");
}

static void a_key_belongs_to_one_device(void **state)
{
    (void)state;
    check(create_device(1, 0), OUTCOME_TAKEN, 1);
    check(create_device(2, 0), OUTCOME_TAKEN, 2);
    check(create_device(1, 0), OUTCOME_EXISTS, 1);
    check(change_device(2, 1, 0), OUTCOME_EXISTS, 1);
    check(change_device(2, 3, 0), OUTCOME_TAKEN, 2);
    assert_int_equal(by_key(2), 0);
    assert_int_equal(by_key(3), 2);
}

static void what_does_not_fit_changes_nothing(void **state)
{
    (void)state;
    check(create_location("10.1.0.1/16"), OUTCOME_TAKEN, 1);
    check(create_location("10.2.0.1/30"), OUTCOME_TAKEN, 2); /* one host */
    check(create_device(1, 0), OUTCOME_TAKEN, 1);
    check(create_device(2, 0), OUTCOME_LIMIT, 0);
    assert_int_equal(by_key(2), 0);
    check(create_device(2, 1), OUTCOME_TAKEN, 2);
    check_addresses(2, 1, "10.1.0.3");
    check(change_device(2, 2, 0), OUTCOME_LIMIT, 0);
    check(create_location("10.3.0.1/32"), OUTCOME_LIMIT, 0);
    check(create_device(3, 77), OUTCOME_NOTFOUND, 0);
    check(create_location("10.3.0.1/24,"), OUTCOME_INVALID, 0);
    check(create_location("10.3.0.1/24"), OUTCOME_TAKEN, 3);
    check_addresses(2, 3, NULL);
}

static void a_location_needs_no_addresses(void **state)
{
    (void)state;
    check(create_location(""), OUTCOME_TAKEN, 1);
    check(create_device(1, 0), OUTCOME_TAKEN, 1);
    check_addresses(1, 1, "");
}

static void new_networks_give_new_addresses_and_the_same_keep_them(void **state)
{
    (void)state;
    check(create_location("10.1.0.1/24"), OUTCOME_TAKEN, 1);
    check(create_device(1, 0), OUTCOME_TAKEN, 1);
    check(create_device(2, 1), OUTCOME_TAKEN, 2);
    check(delete_device(1), OUTCOME_TAKEN, 1);
    check(change_location(1, "10.1.0.9/24"), OUTCOME_TAKEN, 1);
    check_addresses(2, 1, "10.1.0.3");
    check(change_location(1, "10.1.0.3/24"), OUTCOME_EXISTS, 2);
    check(change_location(1, "10.9.0.1/31"), OUTCOME_LIMIT, 0);
    check(change_location(1, "what"), OUTCOME_INVALID, 0);
    check(change_location(2, "10.9.0.1/24"), OUTCOME_NOTFOUND, 0);
    assert_string_equal(roster_location(r, 1)->address, "10.1.0.9/24");
    check(change_location(1, "10.9.0.1/24"), OUTCOME_TAKEN, 1);
    check_addresses(2, 1, "10.9.0.2");
    check(create_device(3, 0), OUTCOME_TAKEN, 3);
    check_addresses(3, 1, "10.9.0.3");
    assert_int_equal(roster_location(r, 1)->private_key[0], 1); /* kept */
}

static void addresses_come_back_when_all_were_used(void **state)
{
    (void)state;
    check(create_location("10.1.0.2/29"), OUTCOME_TAKEN, 1); /* .1, .3 to .6 */
    for (uint8_t i = 1; i <= 5; i++)
        check(create_device(i, 0), OUTCOME_TAKEN, i);
    check(create_device(6, 0), OUTCOME_LIMIT, 0);
    check(delete_device(4), OUTCOME_TAKEN, 4);
    check(delete_device(2), OUTCOME_TAKEN, 2);
    check(create_device(6, 0), OUTCOME_TAKEN, 6);
    check_addresses(6, 1, "10.1.0.3");
    check(create_device(7, 1), OUTCOME_TAKEN, 7);
    check_addresses(7, 1, "10.1.0.5");
    check(create_device(8, 0), OUTCOME_LIMIT, 0);
    check(change_location(1, "10.1.0.2/24"), OUTCOME_TAKEN, 1); /* grows */
    check_addresses(1, 1, "10.1.0.1");
    check(create_device(8, 0), OUTCOME_TAKEN, 8);
    check_addresses(8, 1, "10.1.0.7");
    check(change_location(1, "10.1.0.2/29"), OUTCOME_LIMIT, 0);
}

static void a_device_moves_between_locations(void **state)
{
    (void)state;
    for (unsigned i = 1; i <= 3; i++) {
        char address[32];
        snprintf(address, sizeof address, "10.%u.0.1/24", i);
        check(create_location(address), OUTCOME_TAKEN, i);
    }
    check(create_device(1, 2), OUTCOME_TAKEN, 1);
    check(change_device(1, 1, 0), OUTCOME_TAKEN, 1);
    check_addresses(1, 1, "10.1.0.2");
    check_addresses(1, 2, "10.2.0.2"); /* kept */
    check_addresses(1, 3, "10.3.0.2");
    check(change_device(1, 1, 3), OUTCOME_TAKEN, 1);
    check_addresses(1, 1, NULL);
    check_addresses(1, 2, NULL);
    check_addresses(1, 3, "10.3.0.2");
    check(change_device(1, 1, 9), OUTCOME_NOTFOUND, 0);
    check(change_device(9, 1, 3), OUTCOME_NOTFOUND, 0);
}

static void a_network_device_never_goes_to_all_locations(void **state)
{
    (void)state;
    check(create_location("10.1.0.1/24"), OUTCOME_TAKEN, 1);
    check(create_location("10.2.0.1/24"), OUTCOME_TAKEN, 2);
    check(create_device(1, 1), OUTCOME_TAKEN, 1);
    struct device_spec astray = device_spec(1, 0);
    astray.kind = DEVICE_NETWORK;
    raise_level(4);
    record_put_device_change(&command, 1, &astray);
    check(apply(), OUTCOME_INVALID, 0);
    check_addresses(1, 1, "10.1.0.2");
    check_addresses(1, 2, NULL);
    astray.public_key[0] = 2;
    record_put_device_create(&command, &astray);
    check(apply(), OUTCOME_INVALID, 0);
    check(change_device(1, 1, 0), OUTCOME_TAKEN, 1); /* a user's does */
    check_addresses(1, 2, "10.2.0.2");
}

/* What an older node applied so, its successor applies so. */
static void below_level_4_a_network_device_could_be_in_all(void **state)
{
    (void)state;
    check(create_location("10.1.0.1/24"), OUTCOME_TAKEN, 1);
    struct device_spec astray = device_spec(1, 0);
    astray.kind = DEVICE_NETWORK;
    raise_level(3);
    record_put_device_create(&command, &astray);
    check(apply(), OUTCOME_TAKEN, 1);
    record_put_device_change(&command, 1, &astray);
    check(apply(), OUTCOME_TAKEN, 1);
    check_addresses(1, 1, "10.1.0.2");
}

static void iteration_skips_what_is_gone(void **state)
{
    (void)state;
    for (uint8_t i = 1; i <= 5; i++)
        check(create_device(i, 0), OUTCOME_TAKEN, i);
    check(delete_device(1), OUTCOME_TAKEN, 1);
    check(delete_device(3), OUTCOME_TAKEN, 3);
    check(delete_device(5), OUTCOME_TAKEN, 5);
    const struct device *d = roster_next_device(r, 0);
    assert_int_equal(d->id, 2);
    d = roster_next_device(r, d->id);
    assert_int_equal(d->id, 4);
    assert_null(roster_next_device(r, d->id));
    assert_int_equal(roster_count(r).devices, 2);
    assert_true(roster_gave_device(r, 5));
    assert_false(roster_gave_device(r, 6));
    assert_null(roster_next_device(r, UINT32_MAX));
    assert_null(roster_device(r, UINT32_MAX));
    assert_null(roster_device(r, 0));
}

static void thousands_of_keys_come_change_and_go(void **state)
{
    (void)state;
    enum { COUNT = 5000 };
    struct device_spec spec = device_spec(0, 0);
    for (uint32_t i = 1; i <= COUNT; i++) {
        le32_put(spec.public_key, i * 64); /* alike but for a few bits */
        record_put_device_create(&command, &spec);
        check(apply(), OUTCOME_TAKEN, i);
    }
    for (uint32_t i = 3; i <= COUNT; i += 3)
        check(delete_device(i), OUTCOME_TAKEN, i);
    for (uint32_t round = 1; round <= 5; round++) {
        for (uint32_t i = 1; i <= COUNT; i++) {
            le32_put(spec.public_key, i * 64 + round);
            record_put_device_change(&command, i, &spec);
            assert_int_equal(apply().code,
                             i % 3 == 0 ? OUTCOME_NOTFOUND : OUTCOME_TAKEN);
        }
    }
    for (uint32_t i = 1; i <= COUNT; i++) {
        le32_put(spec.public_key, i * 64 + 4);
        assert_int_equal(roster_device_by_key(r, spec.public_key), 0);
        le32_put(spec.public_key, i * 64 + 5);
        assert_int_equal(roster_device_by_key(r, spec.public_key),
                         i % 3 == 0 ? 0 : i);
    }
}

static void a_command_that_cannot_be_read_is_invalid(void **state)
{
    (void)state;
    struct device_spec spec = device_spec(1, 0);
    thread_role_assert(&applier_thread);
    record_put_device_create(&command, &spec);
    struct reader reader = reader_of(buf_bytes(&command));
    struct record record;
    struct outcome o;
    assert_int_equal(record_next(&reader, &record), 1);
    struct bytes whole = record.body;
    for (size_t size = 0; size < whole.size; size++) {
        record.body.size = size;
        assert_int_equal(roster_apply(r, &record, 1, 1, &o), 0);
        check(o, OUTCOME_INVALID, 0);
    }
    record.body = whole;
    record.kind = RECORD_TICK;
    assert_int_equal(roster_apply(r, &record, 1, 1, &o), 0);
    check(o, OUTCOME_INVALID, 0);
    record.kind = RECORD_DEVICE_CREATE;
    buf_put_u8(&command, 0); /* one byte behind the end */
    record.body = (struct bytes){command.data + command.size - whole.size - 1,
                                 whole.size + 1};
    assert_int_equal(roster_apply(r, &record, 1, 1, &o), 0);
    check(o, OUTCOME_INVALID, 0);
    buf_clear(&command);
    spec.name = "no text \xff";
    record_put_device_create(&command, &spec);
    check(apply(), OUTCOME_INVALID, 0);
    char *longest = calloc(1, ROSTER_TEXT_LENGTH_MAX + 2);
    assert_non_null(longest);
    memset(longest, 'x', ROSTER_TEXT_LENGTH_MAX + 1);
    spec.name = longest;
    record_put_device_create(&command, &spec);
    check(apply(), OUTCOME_INVALID, 0);
    assert_null(roster_next_device(r, 0));
    spec.name = longest + 1;
    record_put_device_create(&command, &spec);
    check(apply(), OUTCOME_TAKEN, 1);
    free(longest);
}

/* --- unclaimed devices --------------------------------------------------- */

static uint32_t claim(uint32_t location, uint32_t key)
{
    uint8_t raw[PUBLIC_KEY_SIZE] = {[31] = 0xff};
    uint32_t device;
    le32_put(raw, key);
    thread_role_assert(&applier_thread);
    assert_int_equal(roster_claim_key(r, location, raw, 1, 6000, &device), 0);
    return device;
}

static void allow_unknown_peers(uint32_t location)
{
    struct location_spec spec = location_spec("10.1.0.1/24");
    spec.accept_unknown_peers = true;
    record_put_location_change(&command, location, &spec);
    check(apply(), OUTCOME_TAKEN, location);
}

static void unknown_keys_become_devices_where_that_is_wanted(void **state)
{
    (void)state;
    check(create_location("10.1.0.1/24"), OUTCOME_TAKEN, 1);
    assert_int_equal(claim(1, 1), 0);
    assert_int_equal(claim(2, 1), 0);
    allow_unknown_peers(1);
    assert_int_equal(claim(1, 1), 1);
    assert_int_equal(claim(1, 1), 1); /* known by now */
    assert_int_equal(roster_location(r, 1)->unclaimed, 1);
    assert_int_equal(roster_device(r, 1)->kind, DEVICE_UNCLAIMED);
    assert_int_equal(roster_device(r, 1)->created_ms, 6000);
    assert_int_equal(roster_device(r, 1)->attachment_count, 0);
    check(create_device(1, 0), OUTCOME_EXISTS, 1);
    check(delete_device(1), OUTCOME_TAKEN, 1);
    assert_int_equal(roster_location(r, 1)->unclaimed, 0);
}

static void an_unclaimed_device_is_claimed_by_a_change(void **state)
{
    (void)state;
    check(create_location("10.1.0.1/24"), OUTCOME_TAKEN, 1);
    allow_unknown_peers(1);
    assert_int_equal(claim(1, 1), 1);
    uint64_t before = next_index;
    struct device_spec spec = device_spec(1, 0);
    spec.kind = DEVICE_UNCLAIMED;
    spec.name = "the one in the cellar";
    record_put_device_change(&command, 1, &spec);
    check(apply(), OUTCOME_TAKEN, 1); /* a better name, nothing else */
    assert_int_equal(roster_device(r, 1)->location, 1);
    check_addresses(1, 1, NULL);
    check_changes(before - 1, "");
    check(change_device(1, 1, 0), OUTCOME_TAKEN, 1);
    check_addresses(1, 1, "10.1.0.2");
    assert_int_equal(roster_location(r, 1)->unclaimed, 0);
    check_changes(before - 1, "+d1 ");
    record_put_device_change(&command, 1, &spec); /* there is no way back */
    check(apply(), OUTCOME_INVALID, 0);
    record_put_device_create(&command, &spec);
    check(apply(), OUTCOME_INVALID, 0);
}

static void unclaimed_devices_stay_when_their_location_goes(void **state)
{
    (void)state;
    check(create_location("10.1.0.1/24"), OUTCOME_TAKEN, 1);
    allow_unknown_peers(1);
    assert_int_equal(claim(1, 1), 1);
    record_put_location_delete(&command, 1);
    check(apply(), OUTCOME_TAKEN, 1);
    assert_non_null(roster_device(r, 1));
    check(delete_device(1), OUTCOME_TAKEN, 1);
}

static void a_location_takes_so_many_unknown_keys_and_no_more(void **state)
{
    (void)state;
    check(create_location("10.1.0.1/24"), OUTCOME_TAKEN, 1);
    allow_unknown_peers(1);
    for (uint32_t i = 1; i <= UNCLAIMED_PER_LOCATION_MAX; i++)
        assert_int_equal(claim(1, i), i);
    assert_int_equal(claim(1, UNCLAIMED_PER_LOCATION_MAX + 1), 0);
    check(delete_device(5), OUTCOME_TAKEN, 5);
    assert_int_equal(claim(1, UNCLAIMED_PER_LOCATION_MAX + 1),
                     UNCLAIMED_PER_LOCATION_MAX + 1);
}

/* --- gateways ------------------------------------------------------------ */

static struct batch_head head_of(const char *identity, const char *hostname,
                                 const char *name)
{
    return (struct batch_head){.location = 1,
                               .identity = bytes_of_string(identity),
                               .hostname = bytes_of_string(hostname),
                               .name = bytes_of_string(name)};
}

/* The gateway's id, or 0 and the outcome's code. */
static uint32_t resolve(const struct batch_head *head, enum gateway_kind kind,
                        enum outcome_code *code)
{
    struct outcome o = {0};
    struct gateway *g;
    thread_role_assert(&applier_thread);
    assert_int_equal(roster_resolve_gateway(r, head, kind, now_ms, &g, &o), 0);
    *code = o.code;
    return g == NULL ? 0 : g->id;
}

static void
an_agent_is_its_identity_and_a_defguard_gateway_its_names(void **state)
{
    (void)state;
    enum outcome_code code;
    check(create_location("10.1.0.1/24"), OUTCOME_TAKEN, 1);
    struct batch_head h = head_of("id-1", "host", "A");
    assert_int_equal(resolve(&h, GATEWAY_NATIVE, &code), 1);
    assert_string_equal(roster_gateway(r, 1)->hostname, "host");
    h = head_of("id-1", "moved", "B");
    assert_int_equal(resolve(&h, GATEWAY_NATIVE, &code), 1);
    h = head_of("host", "", "A");
    assert_int_equal(resolve(&h, GATEWAY_LEGACY, &code), 2);
    assert_string_equal(roster_gateway(r, 2)->hostname, "host"); /* fallback */
    h = head_of("host", "", "B");
    assert_int_equal(resolve(&h, GATEWAY_LEGACY, &code), 3);
    h = head_of("host", "", "A");
    assert_int_equal(resolve(&h, GATEWAY_LEGACY, &code), 2);
    h = head_of("host", "", "A");
    assert_int_equal(resolve(&h, GATEWAY_NATIVE, &code), 4);
    assert_int_equal(roster_location(r, 1)->gateways, 4);
    assert_int_equal(roster_gateway_by_identity(r, 1, GATEWAY_LEGACY,
                                                bytes_of_string("host"),
                                                bytes_of_string("B")),
                     3);
    assert_int_equal(roster_gateway_by_identity(r, 2, GATEWAY_LEGACY,
                                                bytes_of_string("host"),
                                                bytes_of_string("B")),
                     0);
}

static void a_gateway_id_is_good_where_it_belongs(void **state)
{
    (void)state;
    enum outcome_code code;
    check(create_location("10.1.0.1/24"), OUTCOME_TAKEN, 1);
    check(create_location("10.2.0.1/24"), OUTCOME_TAKEN, 2);
    struct batch_head h = head_of("id-1", "host", "");
    assert_int_equal(resolve(&h, GATEWAY_NATIVE, &code), 1);
    struct batch_head by_id = {.location = 1, .gateway = 1};
    assert_int_equal(resolve(&by_id, GATEWAY_NATIVE, &code), 1);
    assert_int_equal(resolve(&by_id, GATEWAY_LEGACY, &code), 0);
    assert_int_equal(code, OUTCOME_NOTFOUND);
    by_id.location = 2;
    assert_int_equal(resolve(&by_id, GATEWAY_NATIVE, &code), 0);
    assert_int_equal(code, OUTCOME_NOTFOUND);
    by_id.location = 1;
    record_put_location_delete(&command, 1);
    check(apply(), OUTCOME_TAKEN, 1);
    assert_int_equal(resolve(&by_id, GATEWAY_NATIVE, &code), 0);
    assert_int_equal(code, OUTCOME_NOTFOUND);
    assert_int_equal(resolve(&h, GATEWAY_NATIVE, &code), 0);
    assert_int_equal(code, OUTCOME_NOTFOUND);
    assert_non_null(roster_gateway(r, 1)); /* its history has a name */
    h = head_of("\xff", "host", "");
    h.location = 2;
    assert_int_equal(resolve(&h, GATEWAY_NATIVE, &code), 0);
    assert_int_equal(code, OUTCOME_INVALID);
}

static void a_deleted_gateway_comes_back_as_another(void **state)
{
    (void)state;
    enum outcome_code code;
    check(create_location("10.1.0.1/24"), OUTCOME_TAKEN, 1);
    struct batch_head h = head_of("id-1", "host", "");
    assert_int_equal(resolve(&h, GATEWAY_NATIVE, &code), 1);
    record_put_gateway_delete(&command, 1);
    check(apply(), OUTCOME_TAKEN, 1);
    record_put_gateway_delete(&command, 1);
    check(apply(), OUTCOME_NOTFOUND, 0);
    assert_null(roster_gateway(r, 1));
    assert_true(roster_gave_gateway(r, 1)); /* its bytes stay under it */
    assert_false(roster_gave_gateway(r, 0));
    assert_false(roster_gave_gateway(r, 2));
    assert_int_equal(roster_location(r, 1)->gateways, 0);
    struct batch_head by_id = {.location = 1, .gateway = 1};
    assert_int_equal(resolve(&by_id, GATEWAY_NATIVE, &code), 0);
    assert_int_equal(code, OUTCOME_NOTFOUND);
    assert_int_equal(resolve(&h, GATEWAY_NATIVE, &code), 2);
    /* One of a deleted location, too. */
    record_put_location_delete(&command, 1);
    check(apply(), OUTCOME_TAKEN, 1);
    record_put_gateway_delete(&command, 2);
    check(apply(), OUTCOME_TAKEN, 2);
}

static void a_location_has_room_for_so_many_gateways(void **state)
{
    (void)state;
    enum outcome_code code;
    check(create_location("10.1.0.1/24"), OUTCOME_TAKEN, 1);
    for (uint32_t i = 1; i <= GATEWAYS_PER_LOCATION_MAX + 1; i++) {
        char identity[16];
        snprintf(identity, sizeof identity, "gw-%u", (unsigned)i);
        struct batch_head h = head_of(identity, "", "");
        uint32_t id = resolve(&h, GATEWAY_NATIVE, &code);
        assert_int_equal(id, i <= GATEWAYS_PER_LOCATION_MAX ? i : 0);
    }
    assert_int_equal(code, OUTCOME_LIMIT);
    struct batch_head h = head_of("gw-1", "", "");
    assert_int_equal(resolve(&h, GATEWAY_NATIVE, &code), 1);
}

#define DAYS_30 ((uint64_t)30 * 86400000)

/* Gateway @id was last heard at @ms. */
static void hear(uint32_t id, uint64_t ms)
{
    thread_role_assert(&applier_thread);
    struct gateway *g = roster_reporting_gateway(r, id, GATEWAY_LEGACY);
    struct gateway state = *g;
    state.seen_ms = ms;
    roster_update_gateway(r, g, &state);
}

/* gw-1 and on, each heard once in the order 2, 1, 3, 4, ...; the last never. */
static void fill_with_gateways(void)
{
    enum outcome_code code;
    check(create_location("10.1.0.1/24"), OUTCOME_TAKEN, 1);
    for (uint32_t i = 1; i <= GATEWAYS_PER_LOCATION_MAX; i++) {
        char identity[16];
        snprintf(identity, sizeof identity, "gw-%u", (unsigned)i);
        struct batch_head h = head_of(identity, "", "");
        assert_int_equal(resolve(&h, GATEWAY_LEGACY, &code), i);
        if (i != GATEWAYS_PER_LOCATION_MAX)
            hear(i, 1000 + (i <= 2 ? 3 - i : i));
    }
}

static void a_full_location_forgets_who_was_not_heard_for_longest(void **state)
{
    (void)state;
    enum outcome_code code;
    raise_level(4);
    fill_with_gateways();
    struct batch_head one = head_of("gw-1", "", "");
    struct batch_head new = head_of("new", "", "");
    now_ms = 1001 + DAYS_30;
    assert_int_equal(resolve(&new, GATEWAY_LEGACY, &code), 0);
    assert_int_equal(code, OUTCOME_LIMIT);
    now_ms += 2; /* 2 and 1 were not heard for so long, 3 was */
    assert_int_equal(resolve(&new, GATEWAY_LEGACY, &code),
                     GATEWAYS_PER_LOCATION_MAX + 1);
    assert_null(roster_gateway(r, 2));
    assert_int_equal(resolve(&one, GATEWAY_LEGACY, &code), 1);
    assert_int_equal(roster_location(r, 1)->gateways,
                     GATEWAYS_PER_LOCATION_MAX);
    struct batch_head two = head_of("gw-2", "", ""); /* comes back as another */
    assert_int_equal(resolve(&two, GATEWAY_LEGACY, &code),
                     GATEWAYS_PER_LOCATION_MAX + 2);
    assert_null(roster_gateway(r, 1));
    assert_int_equal(resolve(&one, GATEWAY_LEGACY, &code), 0);
    assert_int_equal(code, OUTCOME_LIMIT);
    struct batch_head by_id = {.location = 1, .gateway = 2};
    assert_int_equal(resolve(&by_id, GATEWAY_LEGACY, &code), 0);
    assert_int_equal(code, OUTCOME_NOTFOUND);
}

static void below_level_4_a_full_location_forgets_nobody(void **state)
{
    (void)state;
    enum outcome_code code;
    raise_level(3);
    fill_with_gateways();
    struct batch_head new = head_of("new", "", "");
    now_ms = 2 * DAYS_30;
    assert_int_equal(resolve(&new, GATEWAY_LEGACY, &code), 0);
    assert_int_equal(code, OUTCOME_LIMIT);
}

/* --- the journal --------------------------------------------------------- */

static void changes_are_told_in_order_from_any_index(void **state)
{
    (void)state;
    check(create_location("10.1.0.1/24"), OUTCOME_TAKEN, 1); /* 100 */
    check(create_device(1, 0), OUTCOME_TAKEN, 1);            /* 101 */
    check(change_device(1, 1, 0), OUTCOME_TAKEN, 1);         /* 102 */
    check(change_device(1, 2, 0), OUTCOME_TAKEN, 1);         /* 103: key */
    check(change_location(1, "10.1.0.1/24"), OUTCOME_TAKEN, 1);
    check(delete_device(1), OUTCOME_TAKEN, 1);
    record_put_location_delete(&command, 1);
    check(apply(), OUTCOME_TAKEN, 1); /* 106 */
    check_changes(0, "+l1 +d1 *d1 -d1 +d1 *l1 -d1 -l1 ");
    check_changes(102, "-d1 +d1 *l1 -d1 -l1 ");
    check_changes(106, "");
    struct change c[8];
    assert_int_equal(roster_changes(r, 102, c, 8), 5);
    assert_int_equal(c[0].index, 103);
    assert_int_equal(c[0].public_key[0], 1); /* the key to remove */
    assert_int_equal(c[1].public_key[0], 2);
    assert_int_equal(roster_changes(r, 101, c, 2), 1); /* 103 is not split */
    assert_int_equal(roster_changes(r, 102, c, 1), ERR_BEHIND);
}

static void leaving_a_location_removes_the_peer_there(void **state)
{
    (void)state;
    check(create_location("10.1.0.1/24"), OUTCOME_TAKEN, 1);
    check(create_location("10.2.0.1/24"), OUTCOME_TAKEN, 2);
    check(create_device(1, 0), OUTCOME_TAKEN, 1);
    uint64_t before = next_index - 1;
    check(change_device(1, 1, 2), OUTCOME_TAKEN, 1);
    check_changes(before, "-d1 +d1 ");
    check(change_device(1, 1, 0), OUTCOME_TAKEN, 1);
    check_changes(before + 1, "*d1 ");
}

static void a_reader_that_the_ring_overtook_is_told_so(void **state)
{
    (void)state;
    struct change *c = calloc(JOURNAL_CHANGES_MAX, sizeof *c);
    assert_non_null(c);
    check(create_device(1, 0), OUTCOME_TAKEN, 1); /* index 100 */
    for (int i = 1; i < JOURNAL_CHANGES_MAX; i++)
        check(change_device(1, 1, 0), OUTCOME_TAKEN, 1);
    assert_int_equal(roster_changes(r, 0, c, JOURNAL_CHANGES_MAX),
                     JOURNAL_CHANGES_MAX);
    check(change_device(1, 1, 0), OUTCOME_TAKEN, 1); /* 100 falls out */
    assert_int_equal(roster_changes(r, 99, c, JOURNAL_CHANGES_MAX), ERR_BEHIND);
    assert_int_equal(roster_changes(r, 100, c, JOURNAL_CHANGES_MAX),
                     JOURNAL_CHANGES_MAX);
    assert_int_equal(c[0].index, 101);
    assert_int_equal(c[JOURNAL_CHANGES_MAX - 1].index, next_index - 1);
    free(c);
}

/* --- threads ------------------------------------------------------------- */

static atomic_bool stop;

/* What a Config answer and an ingest look-up do, over and over. */
static void *read_for_ever(void *arg)
{
    size_t *seen = arg;
    uint8_t key[PUBLIC_KEY_SIZE] = {7, [31] = 0xff};
    do {
        roster_read_lock(r);
        const struct device *d;
        for (d = roster_next_device(r, 0); d != NULL;
             d = roster_next_device(r, d->id))
            *seen += strlen(d->name) + d->attachment_count;
        *seen += roster_device_by_key(r, key);
        const struct gateway *g = roster_next_gateway(r, 0);
        if (g == NULL || g->session != g->sequence) /* torn */
            abort();
        roster_read_unlock(r);
        ++*seen;
    } while (!atomic_load(&stop));
    return NULL;
}

static void readers_see_whole_changes_while_the_applier_works(void **state)
{
    (void)state;
    enum { READERS = 2, ROUNDS = 300 };
    pthread_t readers[READERS];
    size_t seen[READERS] = {0};
    enum outcome_code code;
    check(create_location("10.1.0.1/16"), OUTCOME_TAKEN, 1);
    struct batch_head h = head_of("gw", "", "");
    assert_int_equal(resolve(&h, GATEWAY_NATIVE, &code), 1);
    struct gateway *g;
    struct outcome o = {0};
    thread_role_assert(&applier_thread);
    assert_int_equal(
        roster_resolve_gateway(r, &h, GATEWAY_NATIVE, now_ms, &g, &o), 0);
    struct gateway next = *g;
    for (int i = 0; i < READERS; i++)
        assert_int_equal(
            pthread_create(&readers[i], NULL, read_for_ever, &seen[i]), 0);
    for (uint32_t i = 1; i <= ROUNDS; i++) {
        check(create_device((uint8_t)i, 0), OUTCOME_TAKEN, i);
        next.session = next.sequence = i;
        roster_update_gateway(r, g, &next);
        check(change_location(1, i % 2 ? "10.2.0.1/16" : "10.1.0.1/16"),
              OUTCOME_TAKEN, 1);
        check(delete_device(i), OUTCOME_TAKEN, i);
    }
    atomic_store(&stop, true);
    for (int i = 0; i < READERS; i++) {
        assert_int_equal(pthread_join(readers[i], NULL), 0);
        assert_true(seen[i] > 0);
    }
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(the_level_only_rises),
        CASE(a_wish_is_kept_by_name_until_it_is_taken_back),
        CASE(there_are_at_most_so_many_wishes),
        CASE(the_first_settings_win_and_bring_the_admin_token),
        CASE(a_change_of_settings_touches_what_it_names),
        CASE(tokens_are_told_apart_by_hash_and_never_share_an_id),
        CASE(the_last_token_stays),
        CASE(below_level_4_the_last_token_could_go),
        CASE(a_users_device_is_in_every_location),
        CASE(ids_are_never_used_twice_and_addresses_late),
        CASE(a_key_belongs_to_one_device),
        CASE(what_does_not_fit_changes_nothing),
        CASE(a_location_needs_no_addresses),
        CASE(new_networks_give_new_addresses_and_the_same_keep_them),
        CASE(addresses_come_back_when_all_were_used),
        CASE(a_device_moves_between_locations),
        CASE(a_network_device_never_goes_to_all_locations),
        CASE(below_level_4_a_network_device_could_be_in_all),
        CASE(iteration_skips_what_is_gone),
        CASE(thousands_of_keys_come_change_and_go),
        CASE(a_command_that_cannot_be_read_is_invalid),
        CASE(unknown_keys_become_devices_where_that_is_wanted),
        CASE(an_unclaimed_device_is_claimed_by_a_change),
        CASE(unclaimed_devices_stay_when_their_location_goes),
        CASE(a_location_takes_so_many_unknown_keys_and_no_more),
        CASE(an_agent_is_its_identity_and_a_defguard_gateway_its_names),
        CASE(a_gateway_id_is_good_where_it_belongs),
        CASE(a_deleted_gateway_comes_back_as_another),
        CASE(a_location_has_room_for_so_many_gateways),
        CASE(a_full_location_forgets_who_was_not_heard_for_longest),
        CASE(below_level_4_a_full_location_forgets_nobody),
        CASE(changes_are_told_in_order_from_any_index),
        CASE(leaving_a_location_removes_the_peer_there),
        CASE(a_reader_that_the_ring_overtook_is_told_so),
        CASE(readers_see_whole_changes_while_the_applier_works),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
