/* The pure parts of HTTP: targets, times, routes, bodies, and JSON out, with
 * jansson as its oracle. */
#include "node/http_query.h"
#include "node/http_route.h"
#include "node/json_body.h"
#include "node/json_out.h"
#include "node/wg_text.h"

/* cmocka wants these four first */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <jansson.h>
#include <stdio.h>

static void refuse_param(const char *raw, int expected)
{
    struct query_params q;
    struct errmsg e = {0};
    assert_int_equal(query_parse(bytes_of_string(raw), &q, &e), expected);
    assert_true(e.text[0] != '\0');
}

/* --- query strings ---------------------------------------------------------
 */

static void a_query_is_split_and_decoded(void **state)
{
    struct query_params q;
    struct errmsg e = {0};
    (void)state;
    assert_int_equal(
        query_parse(bytes_of_string("a=1&&b=x%20%c3%a4=&verbose&c=1+2"), &q,
                    &e),
        0);
    assert_int_equal(q.count, 4);
    assert_string_equal(query_find(&q, "a"), "1");
    assert_string_equal(query_find(&q, "b"), "x \xc3\xa4=");
    assert_string_equal(query_find(&q, "verbose"), "");
    assert_string_equal(query_find(&q, "c"), "1+2");
    assert_null(query_find(&q, "d"));
    assert_int_equal(query_parse((struct bytes){NULL, 0}, &q, &e), 0);
    assert_int_equal(q.count, 0);
}

static void bad_queries_are_refused(void **state)
{
    (void)state;
    refuse_param("a=%", ERR_INVALID);
    refuse_param("a=%4", ERR_INVALID);
    refuse_param("a=%zz", ERR_INVALID);
    refuse_param("a=%00", ERR_INVALID);
    refuse_param("a=%ff", ERR_INVALID);
    refuse_param("a=1&%61=2", ERR_INVALID);
    refuse_param("1&2&3&4&5&6&7&8&9&10&11&12&13&14&15&16&17", ERR_LIMIT);
    char large[QUERY_SIZE_MAX + 2];
    memset(large, 'x', sizeof large - 1);
    large[sizeof large - 1] = '\0';
    refuse_param(large, ERR_LIMIT);
    large[QUERY_SIZE_MAX] = '\0';
    struct query_params q;
    assert_int_equal(query_parse(bytes_of_string(large), &q, NULL), 0);
}

static void numbers_have_digits_only_and_a_bound(void **state)
{
    uint64_t n;
    (void)state;
    assert_int_equal(uint_parse("0", 0, &n), 0);
    assert_int_equal(uint_parse("18446744073709551615", UINT64_MAX, &n), 0);
    assert_true(n == UINT64_MAX);
    const char *bad[] = {
        "", "-1", "+1", " 1", "1 ", "0x1", "18446744073709551616"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(uint_parse(bad[i], UINT64_MAX, &n), ERR_INVALID);
    assert_int_equal(uint_parse("256", 255, &n), ERR_INVALID);
    assert_int_equal(uint_parse("9", 5, &n), ERR_INVALID);
}

/* --- times ------------------------------------------------------------------
 */

static void times_are_read_as_rfc_3339_or_unix_seconds(void **state)
{
    static const struct {
        const char *text;
        uint64_t ms;
    } good[] = {
        {"1970-01-01T00:00:00Z", 0},
        {"2000-02-29T12:30:45.25Z", 951827445250},
        {"2026-11-22T12:00:00Z", 1795348800000},
        {"2026-11-22T13:00:00+01:00", 1795348800000},
        {"2026-11-22t06:30:00.000000-05:30", 1795348800000},
        {"2026-11-22 12:00:00z", 1795348800000},
        {"1795348800", 1795348800000},
        {"2016-12-31T23:59:60Z", 1483228800000},
        {"9999-12-31T23:59:59.999Z", 253402300799999},
    };
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        uint64_t ms;
        assert_int_equal(time_parse(good[i].text, &ms), 0);
        assert_true(ms == good[i].ms);
    }
}

static void what_is_no_time_is_refused(void **state)
{
    static const char *const bad[] = {
        "",
        "yesterday",
        "2026-11-22",
        "2026-11-22T12:00:00",
        "2026-13-01T00:00:00Z",
        "2026-02-29T00:00:00Z",
        "2100-02-29T00:00:00Z",
        "2026-00-10T00:00:00Z",
        "2026-01-00T00:00:00Z",
        "2026-01-01T24:00:00Z",
        "2026-01-01T00:60:00Z",
        "2026-01-01T00:00:61Z",
        "2026-01-01T00:00:00.Z",
        "2026-01-01T00:00:00.1234567890Z",
        "2026-01-01T00:00:00+1:00",
        "2026-01-01T00:00:00+01:60",
        "2026-01-01T00:00:00Zx",
        "1969-12-31T23:59:59Z",
        "1970-01-01T00:00:00+00:01",
        "99999999999999",
        "-5",
        "1e9",
    };
    uint64_t ms;
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(time_parse(bad[i], &ms), ERR_INVALID);
}

static void a_time_written_is_the_time_read(void **state)
{
    (void)state;
    for (uint64_t day = 0; day < 200000; day += 7) {
        uint64_t ms = day * 86400000 + day * 7919 % 86400000, back;
        char text[TIME_TEXT_SIZE + 1];
        time_format(ms, text);
        strcat(text, "Z");
        assert_int_equal(rfc3339_parse(text, &back), 0);
        assert_true(back == ms);
    }
}

/* --- routes -----------------------------------------------------------------
 */

static void handler(struct http_request *rq)
{
    (void)rq;
}

static const char *const params[] = {"from", NULL};
static const struct http_route routes[] = {
    {HTTP_GET, "/device/network", ROUTE_READ, handler, "", params, NULL},
    {HTTP_POST, "/device/{username}", 0, handler, "", NULL, NULL},
    {HTTP_GET, "/device/{id}", 0, handler, "", NULL, NULL},
    {HTTP_PUT, "/device/{id}", 0, handler, "", NULL, NULL},
};

static struct route_match find(enum http_method method, const char *path)
{
    struct route_match match;
    route_find(routes, sizeof routes / sizeof *routes, method,
               bytes_of_string(path), &match);
    return match;
}

static void a_path_finds_its_route_and_captures(void **state)
{
    (void)state;
    struct route_match m = find(HTTP_GET, "/device/4294967295");
    assert_ptr_equal(m.route, &routes[2]);
    assert_int_equal(m.id, UINT32_MAX);
    m = find(HTTP_GET, "/device/network");
    assert_ptr_equal(m.route, &routes[0]);
    m = find(HTTP_POST, "/device/j%C3%BCrgen%2Fx");
    assert_ptr_equal(m.route, &routes[1]);
    assert_string_equal(m.name, "j\xc3\xbcrgen/x");
}

static void paths_that_are_close_are_not_it(void **state)
{
    static const char *const paths[] = {
        "",
        "/",
        "/device",
        "/device/",
        "/device/0",
        "/device/1/2",
        "/device/1/",
        "//device/1",
        "device/1",
        "/Device/1",
        "/device/4294967296",
        "/device/-1",
        "/device/a%00b",
    };
    (void)state;
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++)
        assert_null(find(HTTP_GET, paths[i]).route);
}

static void a_path_knows_which_methods_it_takes(void **state)
{
    char allow[64];
    (void)state;
    struct route_match m = find(HTTP_DELETE, "/device/7");
    assert_null(m.route);
    assert_int_equal(m.allowed, HTTP_GET | HTTP_POST | HTTP_PUT);
    route_allow_text(m.allowed, allow);
    assert_string_equal(allow, "GET, HEAD, POST, PUT, OPTIONS");
    assert_int_equal(find(HTTP_GET, "/nothing").allowed, 0);
}

static void query_parameters_that_a_route_does_not_take_are_named(void **state)
{
    struct query_params q;
    struct errmsg e = {0};
    (void)state;
    assert_int_equal(
        query_parse(bytes_of_string("from=1&consistency=local"), &q, &e), 0);
    assert_int_equal(route_check_params(&routes[0], &q, &e), 0);
    assert_int_equal(route_check_params(&routes[2], &q, &e), ERR_INVALID);
    assert_non_null(strstr(e.text, "from"));
}

/* --- bodies -----------------------------------------------------------------
 */

struct example {
    const char *name;
    uint64_t port;
    bool open;
};

static const struct body_field fields[] = {
    {"name", BODY_TEXT, true, 1, 5, offsetof(struct example, name), NULL},
    {"port", BODY_UINT, false, 1, 65535, offsetof(struct example, port), NULL},
    {"open", BODY_BOOL, false, 0, 0, offsetof(struct example, open), NULL},
    {"mfa", BODY_UNSET, false, 0, 0, 0, NULL},
};
static const struct body_schema schema = {fields, 4};

static void a_body_fills_what_it_names(void **state)
{
    struct body b = {0};
    struct example x = {.port = 7};
    struct errmsg e = {0};
    (void)state;
    const char *text =
        "{\"name\": \"\\u00e4b\", \"open\": true, \"port\": null,"
        " \"mfa\": \"disabled\"}";
    assert_int_equal(body_read(&b, bytes_of_string(text), &schema, &x, &e), 0);
    assert_string_equal(x.name, "\xc3\xa4"
                                "b");
    assert_int_equal(x.port, 7);
    assert_true(x.open);
    body_close(&b);
}

static void a_bad_body_is_refused_and_the_field_named(void **state)
{
    static const struct {
        const char *text, *named;
    } bad[] = {
        {"", "body"},
        {"[1]", "body"},
        {"{\"name\":\"a\",}", "body"},
        {"{\"name\":\"a\"} x", "body"},
        {"{\"name\":\"a\",\"name\":\"b\"}", "body"},
        {"{\"name\":\"\\ud800\"}", "body"},
        {"{\"name\":\"\\u0000\"}", "body"},
        {"{\"name\":\"\xff\"}", "body"},
        {"{}", "name: is missing"},
        {"{\"name\":null}", "name"},
        {"{\"name\":5}", "name"},
        {"{\"name\":\"\"}", "name"},
        {"{\"name\":\"123456\"}", "name"},
        {"{\"name\":\"a\\nb\"}", "name"},
        {"{\"name\":\"a\",\"port\":0}", "port"},
        {"{\"name\":\"a\",\"port\":65536}", "port"},
        {"{\"name\":\"a\",\"port\":-1}", "port"},
        {"{\"name\":\"a\",\"port\":1.0}", "port"},
        {"{\"name\":\"a\",\"port\":\"1\"}", "port"},
        {"{\"name\":\"a\",\"open\":1}", "open"},
        {"{\"name\":\"a\",\"mfa\":true}", "mfa: is not supported"},
        {"{\"name\":\"a\",\"mfa\":[\"x\"]}", "mfa"},
        {"{\"name\":\"a\",\"colour\":1}", "colour: unknown field"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct body b = {0};
        struct example x = {0};
        struct errmsg e = {0};
        assert_int_equal(
            body_read(&b, bytes_of_string(bad[i].text), &schema, &x, &e),
            ERR_INVALID);
        assert_non_null(strstr(e.text, bad[i].named));
        body_close(&b);
    }
}

/* --- JSON out ---------------------------------------------------------------
 */

static void what_is_written_is_what_jansson_reads(void **state)
{
    (void)state;
    struct buf buf = {0};
    struct json_out o;
    char every[128];
    for (int i = 1; i < 128; i++)
        every[i - 1] = (char)i;
    every[127] = '\0';
    out_begin(&o, &buf);
    out_object(&o);
    out_key(&o, "empty");
    out_array(&o);
    out_array_end(&o);
    out_key(&o, "list");
    out_array(&o);
    out_uint(&o, 0);
    out_uint(&o, INT64_MAX);
    out_null(&o);
    out_bool(&o, true);
    out_object(&o);
    out_object_end(&o);
    out_array_end(&o);
    out_member(&o, "every", every);
    out_member(&o, "utf8", "\xc3\xa4\xf0\x9f\x92\xbe");
    out_member(&o, "broken", "a\xff\xc3");
    out_member(&o, "none", NULL);
    out_key(&o, "parts");
    out_comma_list(&o, " a, b,,c ");
    out_object_end(&o);
    assert_false(buf_failed(&buf));

    json_error_t error;
    json_t *root = json_loadb((char *)buf.data, buf.size, 0, &error);
    assert_non_null(root);
    json_t *expected =
        json_pack("{s:[],s:[i,I,n,b,{}],s:s,s:s,s:s,s:n,s:[s,s,s]}", "empty",
                  "list", 0, (json_int_t)INT64_MAX, 1, "every", every, "utf8",
                  "\xc3\xa4\xf0\x9f\x92\xbe", "broken",
                  "a\xef\xbf\xbd\xef\xbf\xbd", "none", "parts", "a", "b", "c");
    assert_non_null(expected);
    assert_true(json_equal(root, expected));
    json_decref(root);
    json_decref(expected);
    buf_deinit(&buf);
}

static void numbers_are_written_in_full(void **state)
{
    (void)state;
    uint64_t values[] = {0, 9, 10, 99, 100, UINT32_MAX, UINT64_MAX};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        struct buf buf = {0};
        struct json_out o;
        char text[32];
        out_begin(&o, &buf);
        out_uint(&o, values[i]);
        snprintf(text, sizeof text, "%llu", (unsigned long long)values[i]);
        assert_int_equal(buf.size, strlen(text));
        assert_memory_equal(buf.data, text, buf.size);
        buf_deinit(&buf);
    }
}

/* --- WireGuard's texts ------------------------------------------------------
 */

static void keys_are_exactly_32_bytes_of_base64(void **state)
{
    uint8_t key[32], back[32], private_key[32];
    char text[KEY_TEXT_SIZE];
    (void)state;
    key_pair_make(private_key, key);
    key_format(key, text);
    assert_int_equal(key_parse(text, back), 0);
    assert_memory_equal(key, back, sizeof key);
    assert_int_equal(private_key[0] & 7, 0);
    assert_int_equal(private_key[31] & 0xc0, 0x40);
    text[43] = 'A';
    assert_int_equal(key_parse(text, back), ERR_INVALID);
    assert_int_equal(key_parse("", back), ERR_INVALID);
    assert_int_equal(
        key_parse("!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!=", back),
        ERR_INVALID);
}

static void lists_of_addresses_are_checked_part_by_part(void **state)
{
    (void)state;
    assert_true(cidr_list_is_valid("10.1.1.1/24", false));
    assert_true(cidr_list_is_valid("10.1.1.1/24 , fd00::1/64", false));
    assert_false(cidr_list_is_valid("10.1.1.1", false));
    assert_true(cidr_list_is_valid("10.1.1.1, 0.0.0.0/0", true));
    const char *bad[] = {"",           ",",         "10.1.1.1/33",  "10.1.1/24",
                         "fd00::/129", "10.1.1.1/", "10.1.1.1/24,", "a.b.c.d/8",
                         "10.1.1.1/-1"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(cidr_list_is_valid(bad[i], true));
    assert_true(host_text_is_valid("vpn.example.net"));
    assert_false(host_text_is_valid("a\nb"));
    assert_false(host_text_is_valid("a'b"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_query_is_split_and_decoded),
        cmocka_unit_test(bad_queries_are_refused),
        cmocka_unit_test(numbers_have_digits_only_and_a_bound),
        cmocka_unit_test(times_are_read_as_rfc_3339_or_unix_seconds),
        cmocka_unit_test(what_is_no_time_is_refused),
        cmocka_unit_test(a_time_written_is_the_time_read),
        cmocka_unit_test(a_path_finds_its_route_and_captures),
        cmocka_unit_test(paths_that_are_close_are_not_it),
        cmocka_unit_test(a_path_knows_which_methods_it_takes),
        cmocka_unit_test(query_parameters_that_a_route_does_not_take_are_named),
        cmocka_unit_test(a_body_fills_what_it_names),
        cmocka_unit_test(a_bad_body_is_refused_and_the_field_named),
        cmocka_unit_test(what_is_written_is_what_jansson_reads),
        cmocka_unit_test(numbers_are_written_in_full),
        cmocka_unit_test(keys_are_exactly_32_bytes_of_base64),
        cmocka_unit_test(lists_of_addresses_are_checked_part_by_part),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
