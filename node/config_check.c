#include "node/config_check.h"

#include "node/config_value.h"
#include "node/retain.h"

#include <assert.h>
#include <ctype.h>
#include <stdio.h>
#include <string.h>

static_assert(ZONE_LENGTH_MAX == NODE_NAME_LENGTH_MAX,
              "name_is_fit serves both");

static bool name_is_fit(const char *name)
{
    size_t length = strlen(name);
    for (size_t i = 0; i < length; i++)
        if (!isalnum((unsigned char)name[i]) && strchr("-_.", name[i]) == NULL)
            return false;
    return length > 0 && length <= NODE_NAME_LENGTH_MAX;
}

/* One "name=host:port" of --initial-peers. */
static int peer_parse(const char *item, size_t length, struct repl_peer *peer,
                      struct errmsg *e)
{
    const char *equals = memchr(item, '=', length);
    size_t name_length = equals == NULL ? 0 : (size_t)(equals - item);
    char address[PEER_ADDRESS_LENGTH_MAX + 1];
    if (equals == NULL || name_length > NODE_NAME_LENGTH_MAX ||
        length - name_length - 1 >= sizeof address)
        return errmsg_set(e, ERR_INVALID,
                          "\"%.*s\" is not of the form name=host:port",
                          (int)(length > 80 ? 80 : length), item);
    memcpy(peer->name, item, name_length);
    peer->name[name_length] = '\0';
    memcpy(address, equals + 1, length - name_length - 1);
    address[length - name_length - 1] = '\0';
    struct address parsed;
    int rv = address_parse(address, PEER_PORT, false, &parsed, e);
    if (rv != 0)
        return rv;
    if (!name_is_fit(peer->name))
        return errmsg_set(e, ERR_INVALID,
                          "\"%s\": a node's name has letters, digits, - _ .",
                          peer->name);
    address_format(&parsed, peer->address, sizeof peer->address);
    return 0;
}

static int peers_parse(struct node_config *c, struct errmsg *e)
{
    const char *item = c->initial_peers;
    while (item != NULL && *item != '\0') {
        size_t length = strcspn(item, ",");
        if (c->peer_count == PEERS_MAX)
            return errmsg_set(e, ERR_LIMIT, "at most %d peers", PEERS_MAX);
        struct repl_peer *peer = &c->peers[c->peer_count];
        int rv = peer_parse(item, length, peer, e);
        if (rv != 0)
            return rv;
        for (size_t i = 0; i < c->peer_count; i++)
            if (strcmp(peer->name, c->peers[i].name) == 0 ||
                strcmp(peer->address, c->peers[i].address) == 0)
                return errmsg_set(e, ERR_INVALID, "%s=%s stands there twice",
                                  peer->name, peer->address);
        c->peer_count++;
        item += length + (item[length] == ',');
    }
    return 0;
}

/* Zones are compared as text on every node, so they have names' letters. */
static int check_zones(const struct node_config *c, struct errmsg *e)
{
    const char *item = c->leader_zones;
    if (c->zone != NULL && !name_is_fit(c->zone))
        return errmsg_set(e, ERR_INVALID,
                          "--zone: \"%.80s\": 1 to %d letters, digits, - _ .",
                          c->zone, ZONE_LENGTH_MAX);
    while (item != NULL) {
        char zone[ZONE_LENGTH_MAX + 2];
        size_t length = strcspn(item, ",");
        snprintf(zone, sizeof zone, "%.*s",
                 (int)(length < sizeof zone ? length : sizeof zone), item);
        if (!name_is_fit(zone))
            return errmsg_set(e, ERR_INVALID,
                              "--leader-zones: \"%.80s\": zones of 1 to %d "
                              "letters, digits, - _ . with commas between "
                              "them",
                              c->leader_zones, ZONE_LENGTH_MAX);
        item = item[length] == ',' ? item + length + 1 : NULL;
    }
    return 0;
}

static int check_cluster(struct node_config *c, struct errmsg *e)
{
    int rv = peers_parse(c, e);
    if (rv != 0)
        return errmsg_wrap(e, ERR_INVALID, "--initial-peers");
    if (c->peer_count == 0)
        return 0;
    if (c->peer_address == NULL)
        return errmsg_set(e, ERR_INVALID,
                          "--peer-address is required with --initial-peers: "
                          "the host:port at which the others reach this node");
    for (size_t i = 0; i < c->peer_count; i++)
        if (strcmp(c->peers[i].name, c->name) == 0 &&
            strcmp(c->peers[i].address, c->peer_address) != 0)
            return errmsg_set(e, ERR_INVALID,
                              "--initial-peers calls %s %.80s, --peer-address "
                              "says %.80s",
                              c->name, c->peers[i].address, c->peer_address);
    return 0;
}

static int check_exposed(const struct node_config *c, const char *flag,
                         const char *value, bool tls, struct errmsg *e)
{
    struct address a;
    if (c->insecure || tls || value == NULL)
        return 0;
    int rv = address_parse(value, -1, false, &a, e);
    if (rv != 0 || address_is_loopback(&a))
        return rv;
    return errmsg_set(e, ERR_INVALID,
                      "--%s: %.80s is reachable from outside and there is no "
                      "TLS; give certificates (--help, Security), bind to "
                      "127.0.0.1, or say --insecure on a network that you "
                      "trust",
                      flag, value);
}

bool node_peer_tls(const struct node_config *c, struct tls_files *out)
{
    *out = (struct tls_files){
        .ca = c->peer_tls_ca != NULL ? c->peer_tls_ca : c->tls_ca,
        .cert = c->peer_tls_cert != NULL ? c->peer_tls_cert : c->tls_cert,
        .key = c->peer_tls_key != NULL ? c->peer_tls_key : c->tls_key,
        .mutual = true};
    return out->ca != NULL && out->cert != NULL && out->key != NULL;
}

/* Whether the files are good is seen when they are loaded. */
static int check_tls(const struct node_config *c, struct errmsg *e)
{
    struct tls_files files;
    (void)node_peer_tls(c, &files);
    const char *peer[] = {c->peer_tls_ca, c->peer_tls_cert, c->peer_tls_key};
    if ((c->tls_cert == NULL) != (c->tls_key == NULL))
        return errmsg_set(e, ERR_INVALID,
                          "--tls-cert and --tls-key go together: %s is missing",
                          c->tls_cert == NULL ? "--tls-cert" : "--tls-key");
    static const char *const kinds[] = {"ca", "cert", "key"};
    const char *used[] = {files.ca, files.cert, files.key};
    bool any = peer[0] != NULL || peer[1] != NULL || peer[2] != NULL;
    for (size_t i = 0; any && i < sizeof used / sizeof *used; i++)
        if (used[i] == NULL)
            return errmsg_set(e, ERR_INVALID,
                              "TLS between nodes needs a CA, a certificate "
                              "and its key: give --peer-tls-%s, or --tls-%s "
                              "for both",
                              kinds[i], kinds[i]);
    if ((c->peer_tls_cert == NULL) != (c->peer_tls_key == NULL))
        return errmsg_set(e, ERR_INVALID,
                          "--peer-tls-cert and --peer-tls-key go together");
    return 0;
}

/* As of a change of the settings that a founding makes of them. */
static int check_retention(const struct node_config *c, struct errmsg *e)
{
    static const char *const flags[RETAIN_TIERS] = {
        "--retain-minute", "--retain-hour", "--retain-day"};
    const uint64_t wish_s[RETAIN_TIERS] = {c->retain_minute_s, c->retain_hour_s,
                                           c->retain_day_s};
    for (size_t i = 0; i < RETAIN_TIERS; i++) {
        int rv = retain_check(wish_s, NULL, i, e);
        if (rv != 0)
            return errmsg_wrap(e, rv, "%s", flags[i]);
    }
    return 0;
}

int node_config_check(struct node_config *c, struct errmsg *e)
{
    if (!name_is_fit(c->name))
        return errmsg_set(e, ERR_INVALID,
                          "--name: \"%.80s\": 1 to %d letters, digits, - _ .",
                          c->name, NODE_NAME_LENGTH_MAX);
    if (c->data_dir[0] == '\0')
        return errmsg_set(e, ERR_INVALID, "--data-dir: empty");
    if (c->heartbeat_ms == 0 || c->election_timeout_ms > 60 * 1000 ||
        c->election_timeout_ms < 3 * c->heartbeat_ms)
        return errmsg_set(e, ERR_INVALID,
                          "--election-timeout must be at least three times "
                          "--heartbeat, and at most 60s");
    struct tls_files files;
    bool tls = c->tls_cert != NULL, peer_tls = node_peer_tls(c, &files);
    int rv = check_retention(c, e);
    if (rv == 0)
        rv = check_zones(c, e);
    if (rv == 0)
        rv = check_cluster(c, e);
    if (rv == 0)
        rv = check_tls(c, e);
    if (rv == 0)
        rv = check_exposed(c, "grpc-bind", c->grpc_bind, tls, e);
    if (rv == 0)
        rv = check_exposed(c, "http-bind", c->http_bind, tls, e);
    /* A single node has no peer port. */
    if (rv == 0 && c->peer_count > 0)
        rv = check_exposed(c, "peer-bind", c->peer_bind, peer_tls, e);
    if (rv == 0 && c->peer_count > 0)
        rv = check_exposed(c, "peer-address", c->peer_address, peer_tls, e);
    return rv;
}
