#define _GNU_SOURCE /* struct ucred */
#include "gateway/uapi.h"

#include "base/clock.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

void wg_interface_deinit(struct wg_interface *i)
{
    free(i->peers);
    *i = (struct wg_interface){0};
}

bool uapi_answer_complete(struct bytes answer)
{
    return answer.size >= 2 && answer.data[answer.size - 1] == '\n' &&
           answer.data[answer.size - 2] == '\n';
}

/* --- the answer, line by line --------------------------------------------- */

/* Digits only, no sign, no space, no overflow. */
static int parse_number(struct bytes text, uint64_t max, uint64_t *out)
{
    uint64_t value = 0;
    if (text.size == 0)
        return ERR_INVALID;
    for (size_t i = 0; i < text.size; i++) {
        unsigned digit = (unsigned)text.data[i] - '0';
        if (digit > 9 || value > (max - digit) / 10)
            return ERR_INVALID;
        value = value * 10 + digit;
    }
    *out = value;
    return 0;
}

static int parse_key(struct bytes text, uint8_t out[REPORT_KEY_SIZE])
{
    if (text.size != 2 * (size_t)REPORT_KEY_SIZE)
        return ERR_INVALID;
    for (size_t i = 0; i < REPORT_KEY_SIZE; i++) {
        int high = hex_digit(text.data[2 * i]);
        int low = hex_digit(text.data[2 * i + 1]);
        if (high < 0 || low < 0)
            return ERR_INVALID;
        out[i] = (uint8_t)(high << 4 | low);
    }
    return 0;
}

/* Printable ASCII without comma: what an address is made of. */
static bool is_address(struct bytes text)
{
    for (size_t i = 0; i < text.size; i++)
        if (text.data[i] <= ' ' || text.data[i] > '~' || text.data[i] == ',')
            return false;
    return text.size > 0;
}

static int take_endpoint(struct wg_peer *peer, struct bytes value)
{
    if (!is_address(value) || value.size > REPORT_ENDPOINT_LENGTH_MAX)
        return ERR_INVALID;
    memcpy(peer->endpoint, value.data, value.size);
    peer->endpoint[value.size] = '\0';
    return 0;
}

static int take_allowed_ip(struct wg_peer *peer, struct bytes value)
{
    size_t length = strlen(peer->allowed_ips);
    if (!is_address(value))
        return ERR_INVALID;
    if (length + 1 + value.size > REPORT_ALLOWED_IPS_LENGTH_MAX)
        return 0; /* the list is for people; it need not be complete */
    if (length > 0)
        peer->allowed_ips[length++] = ',';
    memcpy(peer->allowed_ips + length, value.data, value.size);
    peer->allowed_ips[length + value.size] = '\0';
    return 0;
}

static int add_peer(struct wg_interface *out, struct bytes key)
{
    if (out->peer_count == UAPI_PEERS_MAX)
        return ERR_LIMIT;
    if (out->peer_count == out->peer_capacity) {
        size_t capacity = out->peer_capacity == 0 ? 64 : out->peer_capacity * 2;
        struct wg_peer *grown =
            realloc(out->peers, capacity * sizeof *out->peers);
        if (grown == NULL)
            return ERR_NOMEM;
        out->peers = grown;
        out->peer_capacity = capacity;
    }
    struct wg_peer *peer = &out->peers[out->peer_count];
    *peer = (struct wg_peer){0};
    int rv = parse_key(key, peer->public_key);
    if (rv == 0)
        out->peer_count++;
    return rv;
}

static bool is(struct bytes name, const char *known)
{
    return bytes_equal(name, bytes_of_string(known));
}

/* A line of a peer's section. Names that we do not know are skipped: newer
 * implementations add some. */
static int take_peer_value(struct wg_peer *peer, struct bytes name,
                           struct bytes value)
{
    uint64_t number = 0;
    int rv = 0;
    if (is(name, "tx_bytes")) {
        rv = parse_number(value, UINT64_MAX, &peer->upload);
    } else if (is(name, "rx_bytes")) {
        rv = parse_number(value, UINT64_MAX, &peer->download);
    } else if (is(name, "last_handshake_time_sec")) {
        rv = parse_number(value, UINT64_MAX, &peer->handshake_s);
    } else if (is(name, "last_handshake_time_nsec")) {
        rv = parse_number(value, 999999999, &number);
        peer->handshake_ns = (uint32_t)number;
    } else if (is(name, "persistent_keepalive_interval")) {
        rv = parse_number(value, UINT16_MAX, &number);
        peer->keepalive_interval_s = (uint32_t)number;
    } else if (is(name, "endpoint")) {
        rv = take_endpoint(peer, value);
    } else if (is(name, "allowed_ip")) {
        rv = take_allowed_ip(peer, value);
    }
    return rv;
}

static int take_line(struct wg_interface *out, struct bytes line, bool *ended,
                     struct errmsg *e)
{
    const uint8_t *equals = memchr(line.data, '=', line.size);
    if (equals == NULL)
        return ERR_INVALID;
    struct bytes name = {line.data, (size_t)(equals - line.data)};
    struct bytes value = {equals + 1, line.size - name.size - 1};
    if (is(name, "public_key"))
        return add_peer(out, value);
    if (is(name, "errno")) {
        *ended = true;
        if (is(value, "0"))
            return 0;
        return errmsg_set(e, ERR_IO, "the interface answers errno %.*s",
                          value.size > 20 ? 20 : (int)value.size,
                          (const char *)value.data);
    }
    if (out->peer_count == 0)
        return 0; /* the interface's own section: nothing of it is needed */
    return take_peer_value(&out->peers[out->peer_count - 1], name, value);
}

int uapi_parse(struct bytes answer, struct wg_interface *out, struct errmsg *e)
{
    size_t number = 0;
    bool ended = false;
    out->peer_count = 0;
    while (answer.size > 0 && !ended) {
        const uint8_t *newline = memchr(answer.data, '\n', answer.size);
        if (newline == NULL)
            break;
        struct bytes line = {answer.data, (size_t)(newline - answer.data)};
        answer.data += line.size + 1;
        answer.size -= line.size + 1;
        number++;
        int rv = take_line(out, line, &ended, e);
        if (rv == ERR_IO)
            return rv;
        if (rv != 0)
            return errmsg_set(e, rv, "line %zu of the interface's answer: %s",
                              number, err_text(rv));
    }
    if (!ended)
        return errmsg_set(e, ERR_INVALID,
                          "the interface's answer is cut after line %zu",
                          number);
    return 0;
}

/* --- the socket ----------------------------------------------------------- */

static int identify(const char *path, struct wg_identity *out)
{
    struct stat st;
    if (stat(path, &st) != 0)
        return errno == ENOENT ? ERR_NOTFOUND : ERR_IO;
    *out = (struct wg_identity){
        .device = (uint64_t)st.st_dev,
        .inode = (uint64_t)st.st_ino,
        .made_ns = (uint64_t)st.st_mtim.tv_sec * 1000000000u +
                   (uint64_t)st.st_mtim.tv_nsec,
    };
    return 0;
}

static int connect_socket(const char *path, int *out, struct errmsg *e)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path)
        return errmsg_set(e, ERR_INVALID, "%s is too long for a socket", path);
    memcpy(address.sun_path, path, strlen(path) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (fd < 0)
        return errmsg_set(e, ERR_IO, "socket: %s", strerror(errno));
    /* Without it connect waits for ever once a frozen listener's queue is full
     * of the connections that we gave up. */
    struct timeval most = {.tv_sec = UAPI_TIMEOUT_MS / 1000};
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &most, sizeof most);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) != 0) {
        int error = errno;
        close(fd);
        int code = error == ENOENT || error == ECONNREFUSED ? ERR_NOTFOUND
                   : error == EACCES || error == EPERM      ? ERR_DENIED
                   : error == EAGAIN                        ? ERR_TIMEOUT
                                                            : ERR_IO;
        return errmsg_set(e, code, "%s: %s", path, strerror(error));
    }
    *out = fd;
    return 0;
}

/* Waits until @fd is ready for @events. */
static int await(int fd, short events, uint64_t deadline_ms)
{
    uint64_t now_ms = clock_mono_ms();
    struct pollfd p = {.fd = fd, .events = events};
    int left = now_ms >= deadline_ms ? 0 : (int)(deadline_ms - now_ms);
    int n = poll(&p, 1, left);
    if (n < 0)
        return errno == EINTR ? 0 : ERR_IO;
    return n == 0 ? ERR_TIMEOUT : 0;
}

static int ask(int fd, uint64_t deadline_ms)
{
    const char question[] = "get=1\n\n";
    size_t sent = 0;
    while (sent < sizeof question - 1) {
        int rv = await(fd, POLLOUT, deadline_ms);
        if (rv != 0)
            return rv;
        ssize_t n = send(fd, question + sent, sizeof question - 1 - sent,
                         MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n > 0)
            sent += (size_t)n;
        else if (errno != EAGAIN && errno != EINTR)
            return ERR_IO;
    }
    return 0;
}

static int receive(int fd, uint64_t deadline_ms, struct buf *answer)
{
    while (!uapi_answer_complete(buf_bytes(answer))) {
        int rv = await(fd, POLLIN, deadline_ms);
        if (rv != 0)
            return rv;
        if (answer->size >= UAPI_ANSWER_SIZE_MAX)
            return ERR_LIMIT;
        uint8_t *room = buf_reserve(answer, 65536);
        if (room == NULL)
            return ERR_NOMEM;
        ssize_t n = recv(fd, room, 65536, MSG_DONTWAIT);
        if (n > 0)
            answer->size += (size_t)n;
        else if (n == 0 || (errno != EAGAIN && errno != EINTR))
            return ERR_IO;
    }
    return 0;
}

/* The answer holds the interface's private key and the preshared keys. */
static void wipe(struct buf *b)
{
    volatile uint8_t *byte = b->data;
    for (size_t i = 0; i < b->size; i++)
        byte[i] = 0;
    buf_deinit(b);
}

int uapi_read(const char *path, struct wg_interface *out, struct errmsg *e)
{
    uint64_t deadline_ms = clock_mono_ms() + UAPI_TIMEOUT_MS;
    struct buf answer = {0};
    struct wg_identity before, after;
    int fd = -1;
    int rv = identify(path, &before);
    if (rv != 0)
        return errmsg_set(e, rv, "%s: %s", path, strerror(errno));
    rv = connect_socket(path, &fd, e);
    if (rv != 0)
        return rv;
    struct ucred who = {0};
    socklen_t size = sizeof who;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &size) == 0)
        before.listener = who.pid;
    rv = ask(fd, deadline_ms);
    if (rv == 0)
        rv = receive(fd, deadline_ms, &answer);
    if (rv != 0) {
        errmsg_set(e, rv, "%s: %s", path, err_text(rv));
        goto out;
    }
    rv = uapi_parse(buf_bytes(&answer), out, e);
    if (rv != 0)
        goto out;
    /* Made anew between our look and our question: whose counters are these?
     * The next tick knows. */
    if (identify(path, &after) != 0 || after.inode != before.inode ||
        after.made_ns != before.made_ns)
        rv = errmsg_set(e, ERR_AGAIN, "%s changes hands just now", path);
    out->identity = before;
out:
    wipe(&answer);
    close(fd);
    return rv;
}
