#include "raft/test/fake_fetch.h"

#include "raft/fetch.h"
#include "raft/repl.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static struct repl_status founded; /* before anybody joins */

void fake_fetch_found(struct cluster *c)
{
    repl_status(c->nodes[cluster_leader(c)].repl, &founded);
    while (founded.node_count > 0 &&
           founded.nodes[founded.node_count - 1].role[0] != 'v')
        founded.node_count--;
}

int fetch_begin(struct repl *r, const uint8_t cluster_id[CLUSTER_ID_SIZE],
                const char *const members[], size_t count, struct errmsg *e)
{
    if (count == 0 || members[0] == NULL)
        return errmsg_set(e, ERR_INVALID, "nobody to fetch from");
    struct raft_configuration configuration;
    raft_configuration_init(&configuration);
    for (size_t i = 0; i < founded.node_count; i++) {
        char address[MEMBER_ADDRESS_LENGTH_MAX + 1];
        member_address_join(founded.nodes[i].name, founded.nodes[i].address,
                            address);
        assert_int_equal(raft_configuration_add(&configuration,
                                                founded.nodes[i].id, address,
                                                RAFT_VOTER),
                         0);
    }
    int rv = repl_raft_open(r, &configuration, cluster_id, e);
    raft_configuration_close(&configuration);
    return rv;
}
