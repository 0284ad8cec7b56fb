/* The gateways, as apply sees them: who a batch is from, and rule 1's state of
 * each. Applier thread. */
#include "store/counting.h"
#include "store/roster_state.h"

#include "base/assert.h"

#include <stdlib.h>

static int refuse(struct outcome *outcome, enum outcome_code code)
{
    outcome->code = code;
    outcome->value = 0;
    return 0;
}

static int create(struct roster *r, const struct batch_head *head,
                  enum gateway_kind kind, struct gateway **out)
{
    struct gateway *g = calloc(1, sizeof *g);
    if (g == NULL)
        return ERR_NOMEM;
    g->id = r->gateways.next_id;
    g->location = head->location;
    g->kind = kind;
    g->identity = text_copy(head->identity);
    g->hostname =
        text_copy(head->hostname.size > 0 ? head->hostname : head->identity);
    g->name = text_copy(head->name);
    int rc = ERR_NOMEM;
    if (g->identity != NULL && g->hostname != NULL && g->name != NULL) {
        roster_write_lock(r);
        rc = roster_insert_gateway(r, g);
        roster_write_unlock(r);
    }
    if (rc != 0) {
        gateway_free(g);
        return rc;
    }
    id_table_mark(&r->gateways, g->id);
    *out = g;
    return 0;
}

struct gateway *roster_reporting_gateway(struct roster *r, uint32_t id,
                                         enum gateway_kind kind)
{
    struct gateway *g = id_table_get(&r->gateways, id);
    return g != NULL && g->kind == kind &&
                   roster_location(r, g->location) != NULL
               ? g
               : NULL;
}

/* The one that has not been heard for longest, so long that its slots count as
 * absent; NULL: there is none. One that was never heard stays: who makes up
 * names would use up the ids. */
static struct gateway *longest_silent(const struct roster *r, uint32_t location,
                                      uint64_t log_time_ms)
{
    struct gateway *found = NULL;
    for (struct gateway *g = id_table_next(&r->gateways, 0); g != NULL;
         g = id_table_next(&r->gateways, g->id)) {
        if (g->location == location && g->seen_ms != 0 &&
            g->seen_ms + SLOT_LIFE_MS < log_time_ms &&
            (found == NULL || g->seen_ms < found->seen_ms))
            found = g;
    }
    return found;
}

static bool make_room(struct roster *r, const struct location *l,
                      uint64_t log_time_ms)
{
    if (l->gateways < GATEWAYS_PER_LOCATION_MAX)
        return true;
    struct gateway *g =
        roster_level(r) < 4 ? NULL : longest_silent(r, l->id, log_time_ms);
    if (g == NULL)
        return false;
    roster_write_lock(r);
    roster_remove_gateway(r, g);
    roster_write_unlock(r);
    return true;
}

int roster_resolve_gateway(struct roster *r, const struct batch_head *head,
                           enum gateway_kind kind, uint64_t log_time_ms,
                           struct gateway **out, struct outcome *outcome)
{
    *out = NULL;
    const struct location *l = roster_location(r, head->location);
    if (l == NULL)
        return refuse(outcome, OUTCOME_NOTFOUND);
    if (head->gateway != 0) {
        struct gateway *g = roster_reporting_gateway(r, head->gateway, kind);
        if (g == NULL || g->location != head->location)
            return refuse(outcome, OUTCOME_NOTFOUND);
        *out = g;
        return 0;
    }
    if (head->identity.size == 0 || !bytes_are_text(head->identity) ||
        !bytes_are_text(head->hostname) || !bytes_are_text(head->name))
        return refuse(outcome, OUTCOME_INVALID);
    uint32_t id = roster_gateway_by_identity(r, head->location, kind,
                                             head->identity, head->name);
    if (id != 0) {
        *out = id_table_get(&r->gateways, id);
        return 0;
    }
    if (r->gateways.next_id == UINT32_MAX || !make_room(r, l, log_time_ms))
        return refuse(outcome, OUTCOME_LIMIT);
    return create(r, head, kind, out);
}

/* One turn is a gateway that moved; the second, soon after, is two hosts that
 * report by turns. */
void roster_note_host(struct roster *r, struct gateway *g, struct bytes address,
                      uint64_t log_time_ms)
{
    struct gateway_hosts *hosts = &g->hosts;
    if (address.size == 0 || address.size > HOST_ADDRESS_LENGTH_MAX ||
        !bytes_are_text(address) ||
        bytes_equal(bytes_of_string(hosts->address), address))
        return;
    roster_write_lock(r);
    memcpy(hosts->before, hosts->address, sizeof hosts->before);
    memcpy(hosts->address, address.data, address.size);
    hosts->address[address.size] = '\0';
    if (hosts->before[0] != '\0') {
        if (hosts->turned_ms != 0 &&
            log_time_ms - hosts->turned_ms <= HOSTS_TURN_MS_MAX)
            hosts->torn_ms = log_time_ms;
        hosts->turned_ms = log_time_ms;
    }
    roster_write_unlock(r);
}

void roster_update_gateway(struct roster *r, struct gateway *g,
                           const struct gateway *state)
{
    roster_write_lock(r);
    g->session = state->session;
    g->sequence = state->sequence;
    g->sampled_ms = state->sampled_ms;
    g->machine = state->machine;
    g->seen_ms = state->seen_ms;
    g->hearing = state->hearing;
    roster_write_unlock(r);
    id_table_mark(&r->gateways, g->id);
}
