#include "store/address.h"

/* cmocka wants these four first */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static struct subnets parsed(const char *text)
{
    struct subnets s;
    assert_int_equal(subnets_parse(text, &s), 0);
    return s;
}

/* Takes the next addresses and compares; NULL: nothing may be left. */
static void check_next(const struct subnets *s, uint32_t *next,
                       const char *want)
{
    uint32_t host;
    bool allotted = subnets_allot(s, next, &host);
    assert_int_equal(allotted, want != NULL);
    if (!allotted)
        return;
    struct buf b = {0};
    subnets_put_addresses(s, host, &b);
    assert_true(bytes_equal(buf_bytes(&b), bytes_of_string(want)));
    buf_deinit(&b);
}

static void a_device_gets_one_address_in_every_subnet(void **state)
{
    (void)state;
    struct subnets s = parsed("10.6.0.1/24, fd00:6::1/64");
    uint32_t next = 1;
    assert_int_equal(s.count, 2);
    check_next(&s, &next, "10.6.0.2,fd00:6::2");
    check_next(&s, &next, "10.6.0.3,fd00:6::3");
    next = 254;
    check_next(&s, &next, "10.6.0.254,fd00:6::fe");
    check_next(&s, &next, NULL); /* 255 is the broadcast address */
}

static void network_broadcast_and_gateway_are_skipped(void **state)
{
    (void)state;
    struct subnets s = parsed("192.0.2.66/29"); /* .64 to .71 */
    uint32_t next = 0;
    assert_int_equal(subnets_room(&s, 0), 5);
    check_next(&s, &next, "192.0.2.65");
    check_next(&s, &next, "192.0.2.67");
    assert_int_equal(subnets_room(&s, next), 3);
    check_next(&s, &next, "192.0.2.68");
    check_next(&s, &next, "192.0.2.69");
    check_next(&s, &next, "192.0.2.70");
    assert_int_equal(subnets_room(&s, next), 0);
    check_next(&s, &next, NULL);
}

static void gateways_with_different_numbers_are_both_skipped(void **state)
{
    (void)state;
    struct subnets s = parsed("10.0.0.1/24,10.0.1.3/24,10.0.2.3/24");
    uint32_t next = 1;
    assert_int_equal(subnets_room(&s, 1), 252);
    check_next(&s, &next, "10.0.0.2,10.0.1.2,10.0.2.2");
    check_next(&s, &next, "10.0.0.4,10.0.1.4,10.0.2.4");
}

static void the_smallest_subnet_is_the_limit(void **state)
{
    (void)state;
    struct subnets s = parsed("10.0.0.1/8,10::1/126");
    uint32_t next = 1;
    assert_int_equal(subnets_room(&s, 1), 2);
    check_next(&s, &next, "10.0.0.2,10::2");
    check_next(&s, &next, "10.0.0.3,10::3"); /* IPv6 has no broadcast */
    check_next(&s, &next, NULL);
}

static void tiny_and_huge_subnets_have_the_room_they_have(void **state)
{
    (void)state;
    struct subnets s = parsed("10.0.0.0/31"); /* RFC 3021: two hosts */
    uint32_t next = 1, host;
    check_next(&s, &next, "10.0.0.1");
    check_next(&s, &next, NULL);
    s = parsed("10.0.0.7/32");
    assert_int_equal(subnets_room(&s, 1), 0);
    s = parsed("10.0.0.7");
    assert_int_equal(subnets_room(&s, 1), 0);
    s = parsed("::1/0");
    assert_true(subnets_room(&s, 1) == (uint64_t)UINT32_MAX - 2);
    next = UINT32_MAX - 1;
    assert_true(subnets_allot(&s, &next, &host));
    assert_int_equal(next, UINT32_MAX); /* and does not wrap */
    assert_false(subnets_allot(&s, &next, &host));
    s = parsed("fd00::ffff:ffff:ffff:1/64"); /* gateway beyond any number */
    assert_true(subnets_room(&s, 1) == (uint64_t)UINT32_MAX - 1);
}

static void host_numbers_reach_across_bytes(void **state)
{
    (void)state;
    struct subnets s = parsed("10.16.0.1/12");
    uint32_t next = 0x01ffff;
    check_next(&s, &next, "10.17.255.255");
    check_next(&s, &next, "10.18.0.0");
}

static void what_is_no_list_of_networks_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        " ",
        "10.0.0.1/33",
        "10.0.0.1/",
        "10.0.0.1/ 24",
        "10.0.0/24",
        "10.0.0.1/24,",
        ",10.0.0.1/24",
        "fd00::1/129",
        "host/24",
        "10.0.0.1/-1",
        "10.0.0.1/24;fd::",
        "10.0.0.1/0024",
        "10.0.0.1/+8",
        "fd00::1%eth0/64",
        "1:2:3:4:5:6:7:8:9:10:11:12:13:14:15:16:17:18:19/64",
        "10.0.0.1/24,10.0.0.2/24", /* the same network twice */
        "10.0.0.1/24,10.0.0.129/25",
        "1.0.0.1/24,2.0.0.1/24,3.0.0.1/24,4.0.0.1/24,5.0.0.1/24,6.0.0.1/24,"
        "7.0.0.1/24,8.0.0.1/24,9.0.0.1/24,10.0.0.1/24,11.0.0.1/24,"
        "12.0.0.1/24,13.0.0.1/24,14.0.0.1/24,15.0.0.1/24,16.0.0.1/24,"
        "17.0.0.1/24",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct subnets s;
        assert_int_equal(subnets_parse(bad[i], &s), ERR_INVALID);
    }
    assert_int_equal(parsed("").count, 0);
}

static void hosts_are_kept_where_networks_stay_or_grow(void **state)
{
    (void)state;
    struct subnets a = parsed("10.6.0.1/24,fd00::1/64");
    struct subnets b = parsed("10.6.0.254/24, fd00::2/64");
    struct subnets c = parsed("10.6.0.1/25,fd00::1/64");
    struct subnets d = parsed("10.6.0.1/24");
    struct subnets grown = parsed("10.6.0.1/16,fd00::1/64");
    struct subnets moved = parsed("10.6.1.1/24,fd00::1/64");
    assert_true(subnets_keep_hosts(&a, &b));
    assert_true(subnets_keep_hosts(&a, &grown));
    assert_false(subnets_keep_hosts(&grown, &a));
    assert_false(subnets_keep_hosts(&moved, &grown)); /* begins elsewhere */
    assert_false(subnets_keep_hosts(&a, &moved));
    assert_false(subnets_keep_hosts(&a, &c));
    assert_false(subnets_keep_hosts(&a, &d));
}

static void a_number_is_found_again_in_its_addresses(void **state)
{
    (void)state;
    struct subnets s = parsed("10.6.0.1/16,fd00::1/64");
    assert_int_equal(subnets_host_of(&s, "10.6.1.2,fd00::102"), 258);
    assert_int_equal(subnets_host_of(&s, "10.6.1.2"), 258);
    assert_int_equal(subnets_host_of(&s, "10.7.0.2"), 0);
    assert_int_equal(subnets_host_of(&s, "fd00::2"), 0);
    assert_int_equal(subnets_host_of(&s, ""), 0);
    s = parsed("fd00::1/64");
    assert_int_equal(subnets_host_of(&s, "fd00::a:b"), 0xa000b);
    assert_int_equal(subnets_host_of(&s, "fd00::1:0:0:2"), 0);
}

static void a_gateway_is_found_in_a_list_by_its_whole_address(void **state)
{
    (void)state;
    struct subnets s = parsed("10.6.0.2/24,fd00::2/64");
    assert_true(subnets_gateway_in(&s, "10.6.0.2,fd00::3"));
    assert_true(subnets_gateway_in(&s, "10.6.0.3,fd00::2"));
    assert_false(subnets_gateway_in(&s, "10.6.0.20,fd00::22"));
    assert_false(subnets_gateway_in(&s, "110.6.0.2"));
    assert_false(subnets_gateway_in(&s, ""));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_device_gets_one_address_in_every_subnet),
        cmocka_unit_test(network_broadcast_and_gateway_are_skipped),
        cmocka_unit_test(gateways_with_different_numbers_are_both_skipped),
        cmocka_unit_test(the_smallest_subnet_is_the_limit),
        cmocka_unit_test(tiny_and_huge_subnets_have_the_room_they_have),
        cmocka_unit_test(host_numbers_reach_across_bytes),
        cmocka_unit_test(what_is_no_list_of_networks_is_refused),
        cmocka_unit_test(hosts_are_kept_where_networks_stay_or_grow),
        cmocka_unit_test(a_number_is_found_again_in_its_addresses),
        cmocka_unit_test(a_gateway_is_found_in_a_list_by_its_whole_address),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
