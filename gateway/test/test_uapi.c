#include "gateway/test/fake_uapi.h"
#include "gateway/uapi.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* cmocka wants these four first */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define KEY_A "e735510870787063d449a4143ec52c41890725b7d5ba117538f11e704d728462"
#define KEY_B "A8D18378CB80B65E0035FD14B38CD16AEB2D2A3E755E2E5CF66DEA00F509E656"
#define INTERFACE "private_key=" KEY_A "\nlisten_port=5555\n"
#define PEER_A                                                                 \
    "public_key=" KEY_A "\npreshared_key=" KEY_B "\nprotocol_version=1\n"      \
    "endpoint=127.0.0.1:7777\nlast_handshake_time_sec=1763815000\n"            \
    "last_handshake_time_nsec=999999999\ntx_bytes=18446744073709551615\n"      \
    "rx_bytes=42\npersistent_keepalive_interval=25\n"                          \
    "allowed_ip=10.0.0.2/32\nallowed_ip=fd00::2/128\n"
#define END "errno=0\n\n"

static struct wg_interface seen;
static struct errmsg error;
static char folder[] = "/tmp/holdfast-uapi-XXXXXX";
static char path[64];

static int parse(const char *answer)
{
    error.text[0] = '\0';
    return uapi_parse(bytes_of_string(answer), &seen, &error);
}

static void a_peer_is_read_with_every_field(void **state)
{
    (void)state;
    assert_int_equal(parse(INTERFACE PEER_A END), 0);
    assert_int_equal(seen.peer_count, 1);
    const struct wg_peer *p = &seen.peers[0];
    assert_int_equal(p->public_key[0], 0xe7);
    assert_int_equal(p->public_key[31], 0x62);
    assert_true(p->upload == UINT64_MAX);
    assert_true(p->download == 42);
    assert_true(p->handshake_s == 1763815000);
    assert_int_equal(p->handshake_ns, 999999999);
    assert_int_equal(p->keepalive_interval_s, 25);
    assert_string_equal(p->endpoint, "127.0.0.1:7777");
    assert_string_equal(p->allowed_ips, "10.0.0.2/32,fd00::2/128");
}

static void values_belong_to_the_peer_whose_key_came_last(void **state)
{
    (void)state;
    assert_int_equal(parse(INTERFACE "public_key=" KEY_A "\nrx_bytes=1\n"
                                     "public_key=" KEY_B "\nrx_bytes=2\n" END),
                     0);
    assert_int_equal(seen.peer_count, 2);
    assert_true(seen.peers[0].download == 1);
    assert_true(seen.peers[1].download == 2);
    assert_int_equal(seen.peers[1].public_key[0], 0xa8);
    assert_string_equal(seen.peers[1].endpoint, "");
}

static void an_interface_without_peers_is_an_answer(void **state)
{
    (void)state;
    assert_int_equal(parse(INTERFACE END), 0);
    assert_int_equal(seen.peer_count, 0);
    assert_int_equal(parse(END), 0);
}

static void fields_of_newer_implementations_are_skipped(void **state)
{
    (void)state;
    assert_int_equal(
        parse("fwmark=7\n" PEER_A "advanced_security=on=off\n" END), 0);
    assert_int_equal(seen.peer_count, 1);
}

static void an_errno_of_the_interface_is_told(void **state)
{
    (void)state;
    assert_int_equal(parse("errno=-22\n\n"), ERR_IO);
    assert_non_null(strstr(error.text, "-22"));
}

static void a_cut_answer_is_refused_at_every_byte(void **state)
{
    (void)state;
    const char whole[] = INTERFACE PEER_A "errno=0\n";
    for (size_t size = 0; size < sizeof whole - 1; size++) {
        struct bytes cut = {(const uint8_t *)whole, size};
        assert_int_equal(uapi_parse(cut, &seen, NULL), ERR_INVALID);
    }
    assert_int_equal(parse(whole), 0);
}

static void values_that_are_no_values_are_refused(void **state)
{
    (void)state;
    static const char *const wrong[] = {
        "public_key=e7\n",
        "public_key=z735510870787063d449a4143ec52c41890725b7d5ba117538f11e704d"
        "728462\n",
        PEER_A "tx_bytes=\n",
        PEER_A "tx_bytes=-1\n",
        PEER_A "tx_bytes= 1\n",
        PEER_A "tx_bytes=18446744073709551616\n",
        PEER_A "rx_bytes=1x\n",
        PEER_A "last_handshake_time_nsec=1000000000\n",
        PEER_A "persistent_keepalive_interval=65536\n",
        PEER_A "endpoint=\n",
        PEER_A "endpoint=a b\n",
        PEER_A "allowed_ip=10.0.0.2/32,10.0.0.3/32\n",
        PEER_A "allowed_ip=\x01\n",
        PEER_A "no equals sign\n",
        "\n",
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        char answer[1024];
        snprintf(answer, sizeof answer, "%s" END, wrong[i]);
        assert_int_equal(parse(answer), ERR_INVALID);
        assert_non_null(strstr(error.text, "line "));
    }
}

static void a_long_list_of_allowed_ips_is_cut_at_an_entry(void **state)
{
    (void)state;
    char answer[8192];
    size_t n = (size_t)snprintf(answer, sizeof answer, "%s", PEER_A);
    for (int i = 0; i < 100; i++)
        n += (size_t)snprintf(answer + n, sizeof answer - n,
                              "allowed_ip=10.20.30.%d/32\n", 100 + i);
    snprintf(answer + n, sizeof answer - n, "%s", END);
    assert_int_equal(parse(answer), 0);
    const char *list = seen.peers[0].allowed_ips;
    assert_true(strlen(list) <= REPORT_ALLOWED_IPS_LENGTH_MAX);
    assert_true(strlen(list) > REPORT_ALLOWED_IPS_LENGTH_MAX - 16);
    assert_string_equal(list + strlen(list) - 3, "/32");
}

/* --- the socket ----------------------------------------------------------- */

static int make_folder(void **state)
{
    (void)state;
    if (mkdtemp(folder) == NULL)
        return -1;
    snprintf(path, sizeof path, "%s/wg0.sock", folder);
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    wg_interface_deinit(&seen);
    unlink(path);
    return rmdir(folder);
}

static void an_answer_in_pieces_is_put_together(void **state)
{
    (void)state;
    struct fake_uapi *f = fake_uapi_start(path, INTERFACE PEER_A END, 7, 0);
    assert_non_null(f);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(uapi_read(path, &seen, &error), 0);
        assert_int_equal(seen.peer_count, 1);
        assert_true(seen.identity.listener == getpid());
    }
    fake_uapi_stop(f, 1);
}

static void a_missing_or_dead_socket_means_no_interface(void **state)
{
    (void)state;
    assert_int_equal(uapi_read(path, &seen, &error), ERR_NOTFOUND);
    struct fake_uapi *f = fake_uapi_start(path, END, 0, 0);
    assert_int_equal(uapi_read(path, &seen, &error), 0);
    fake_uapi_stop(f, 0);
    assert_int_equal(uapi_read(path, &seen, &error), ERR_NOTFOUND);
}

static void a_socket_made_anew_has_another_identity(void **state)
{
    (void)state;
    struct fake_uapi *f = fake_uapi_start(path, END, 0, 0);
    assert_int_equal(uapi_read(path, &seen, &error), 0);
    struct wg_identity first = seen.identity;
    assert_int_equal(chmod(path, 0660), 0); /* an admin's doing: the same */
    assert_int_equal(uapi_read(path, &seen, &error), 0);
    assert_memory_equal(&first, &seen.identity, sizeof first);
    fake_uapi_stop(f, 1);
    f = fake_uapi_start(path, END, 0, 0);
    assert_int_equal(uapi_read(path, &seen, &error), 0);
    assert_memory_not_equal(&first, &seen.identity, sizeof first);
    fake_uapi_stop(f, 1);
}

static void an_interface_that_hangs_is_given_up(void **state)
{
    (void)state;
    struct fake_uapi *f = fake_uapi_start(path, END, 0, 1);
    assert_int_equal(uapi_read(path, &seen, &error), ERR_TIMEOUT);
    fake_uapi_stop(f, 1);
}

static void an_interface_that_is_frozen_for_long_is_given_up(void **state)
{
    (void)state;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memcpy(address.sun_path, path, sizeof path);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(fd, 0), 0);
    alarm(10); /* connect itself would wait */
    for (int i = 0; i < 3; i++)
        assert_int_equal(uapi_read(path, &seen, &error), ERR_TIMEOUT);
    alarm(0);
    close(fd);
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_peer_is_read_with_every_field),
        cmocka_unit_test(values_belong_to_the_peer_whose_key_came_last),
        cmocka_unit_test(an_interface_without_peers_is_an_answer),
        cmocka_unit_test(fields_of_newer_implementations_are_skipped),
        cmocka_unit_test(an_errno_of_the_interface_is_told),
        cmocka_unit_test(a_cut_answer_is_refused_at_every_byte),
        cmocka_unit_test(values_that_are_no_values_are_refused),
        cmocka_unit_test(a_long_list_of_allowed_ips_is_cut_at_an_entry),
        cmocka_unit_test(an_answer_in_pieces_is_put_together),
        cmocka_unit_test(a_missing_or_dead_socket_means_no_interface),
        cmocka_unit_test(a_socket_made_anew_has_another_identity),
        cmocka_unit_test(an_interface_that_hangs_is_given_up),
        cmocka_unit_test(an_interface_that_is_frozen_for_long_is_given_up),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
