/* Who calls: the connection's address, the token and with it the location, the
 * names in the metadata. The refusals are defguard's where its gateways know
 * them: reference sections 1.3 to 1.5. */
#include "node/rpc_call.h"

#include "base/log.h"
#include "node/token.h"

#include <grpc/slice.h>
#include <grpc/support/alloc.h>

#include <stdio.h>
#include <stdlib.h>

static struct bytes metadata_get(const grpc_metadata_array *metadata,
                                 const char *key)
{
    for (size_t i = 0; i < metadata->count; i++)
        if (grpc_slice_str_cmp(metadata->metadata[i].key, key) == 0)
            return slice_bytes(&metadata->metadata[i].value);
    return (struct bytes){NULL, 0};
}

/* "ipv6:%5B::1%5D:80" and "ipv6:[::1]:80" → "::1"; "ipv4:1.2.3.4:80" →
 * "1.2.3.4". */
static void address_of(const char *connection, char *out, size_t room)
{
    const char *from = strchr(connection, ':');
    const char *end = strrchr(connection, ':');
    from = from == NULL ? connection : from + 1;
    if (end == NULL || end < from)
        end = from + strlen(from);
    size_t n = 0;
    for (; from < end && n + 1 < room; from++) {
        if (strncmp(from, "%5B", 3) == 0 || strncmp(from, "%5D", 3) == 0)
            from += 2;
        else if (strncmp(from, "%25", 3) == 0)
            out[n++] = '%', from += 2;
        else if (*from != '[' && *from != ']')
            out[n++] = *from;
    }
    out[n] = '\0';
}

static void read_connection(struct call *c)
{
    char *peer = grpc_call_get_peer(c->rpc);
    snprintf(c->connection, sizeof c->connection, "%s", peer);
    gpr_free(peer);
    address_of(c->connection, c->address, sizeof c->address);
}

/* A copy of the cluster's gateway secret, malloc'ed; NULL when there is none
 * yet. */
static char *secret_copy(struct rpc_server *g)
{
    char *secret = NULL;
    roster_read_lock(g->ingest.roster);
    const struct settings *settings = roster_settings(g->ingest.roster);
    if (settings != NULL && settings->present)
        secret = strdup(settings->gateway_secret);
    roster_read_unlock(g->ingest.roster);
    return secret;
}

static void refuse_token(struct call *c, enum refusal kind, const char *text)
{
    uint64_t count;
    atomic_fetch_add(&c->server->node->ingest.rejected_token, 1);
    if (refusal_is_news(c->server, kind, &count))
        log_warn("token",
                 "refused a gateway at %s: %s (%llu since the last line)",
                 c->address, text, (unsigned long long)count);
    call_finish(c, GRPC_STATUS_UNAUTHENTICATED, "%s", text);
}

static bool check_token(struct call *c, struct bytes token)
{
    static const char bearer[] = "Bearer ";
    if (token.data == NULL) {
        refuse_token(c, NO_TOKEN, "Missing authorization header");
        return false;
    }
    char *secret = secret_copy(c->server);
    if (secret == NULL) {
        call_finish(c, GRPC_STATUS_UNAVAILABLE,
                    "the cluster is not founded yet: try again");
        return false;
    }
    if (token.size > sizeof bearer - 1 &&
        memcmp(token.data, bearer, sizeof bearer - 1) == 0) {
        token.data += sizeof bearer - 1;
        token.size -= sizeof bearer - 1;
    }
    int rv = gateway_token_check(
        secret, token, node_now_ms(c->server->node) / 1000, &c->location);
    free(secret);
    if (rv != 0)
        refuse_token(c, BAD_TOKEN, "Invalid token");
    return rv == 0;
}

/* True when @value is fit to be kept as @out. */
static bool take_identity(struct bytes value, char out[IDENTITY_LENGTH_MAX + 1])
{
    if (value.data == NULL || value.size == 0 ||
        value.size > IDENTITY_LENGTH_MAX || !bytes_are_text(value))
        return false;
    memcpy(out, value.data, value.size);
    out[value.size] = '\0';
    return true;
}

static bool check_names(struct call *c, const grpc_metadata_array *metadata)
{
    struct bytes hostname = metadata_get(metadata, "hostname");
    struct bytes id = metadata_get(metadata, "holdfast-gateway-id");
    if (hostname.data == NULL && c->method->who == FOR_DEFGUARD) {
        call_finish(c, GRPC_STATUS_INTERNAL, "Missing hostname header");
        return false;
    }
    if (!take_identity(hostname, c->hostname)) {
        call_finish(c, GRPC_STATUS_INVALID_ARGUMENT,
                    "hostname: 1 to %d bytes of text are required",
                    IDENTITY_LENGTH_MAX);
        return false;
    }
    if (c->method->who != FOR_AGENT || id.data == NULL) {
        memcpy(c->identity, c->hostname, sizeof c->identity);
    } else if (!take_identity(id, c->identity)) {
        call_finish(c, GRPC_STATUS_INVALID_ARGUMENT,
                    "holdfast-gateway-id: 1 to %d bytes of text",
                    IDENTITY_LENGTH_MAX);
        return false;
    }
    return true;
}

static bool check_location(struct call *c)
{
    struct roster *roster = c->server->ingest.roster;
    roster_read_lock(roster);
    bool known = roster_location(roster, c->location) != NULL;
    roster_read_unlock(roster);
    if (known)
        return true;
    if (!node_is_ready(c->server->node)) {
        call_finish(c, GRPC_STATUS_UNAVAILABLE,
                    "this node has not caught up yet: try again");
        return false;
    }
    /* defguard's core says INTERNAL to Config and Updates. */
    bool as_defguard =
        c->method == &method_config || c->method == &method_updates;
    call_finish(c, as_defguard ? GRPC_STATUS_INTERNAL : GRPC_STATUS_NOT_FOUND,
                "Network %u not found: it was deleted, or this node does not "
                "know it yet",
                c->location);
    return false;
}

struct reporter call_reporter(const struct call *c, const char *name)
{
    return (struct reporter){
        .location = c->location,
        .identity = bytes_of_string(c->identity),
        .hostname = bytes_of_string(c->hostname),
        .name = bytes_of_string(name),
        .address = bytes_of_string(c->address),
    };
}

bool caller_is_welcome(struct call *c, const grpc_metadata_array *metadata)
{
    read_connection(c);
    return c->method->who == FOR_ANYBODY ||
           (check_token(c, metadata_get(metadata, "authorization")) &&
            check_names(c, metadata) && check_location(c));
}
