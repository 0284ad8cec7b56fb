/* Replicas in one process on loopback ports and temporary directories, for the
 * tests of replication. */
#pragma once

#include "raft/replica.h"
#include "raft/test/fake_store.h"

#include <stdatomic.h>
#include <stddef.h>

enum { NODES_MAX = 6 };

struct node {
    char name[16], dir[64];
    uint16_t port;
    struct repl *repl; /* NULL: stopped */
    struct store *store;
    atomic_int fatal_code;      /* of the first REPL_FATAL, 0 = none */
    atomic_bool restart_wanted; /* REPL_RESTART: stop and start it */
    const char *zone;           /* NULL: the cluster's */
    unsigned level;             /* 0: the newest */
    atomic_int warnings;
    atomic_bool leads;
    _Atomic uint64_t applied; /* as on_applied told */
    char last_warning[512];
};

struct cluster {
    struct node nodes[NODES_MAX];
    struct repl_peer peers[NODES_MAX];
    size_t count;
    size_t founders; /* the first so many; the others join. count at first */
    struct tls *peer_tls[NODES_MAX];        /* borrowed; NULL: plain text */
    unsigned log_entries_max, tail_entries; /* 0 = default */
    const char *zone;                       /* "zone-1" unless changed */
    const char *leader_zones;               /* NULL: any */
    unsigned election_timeout_ms;           /* 0 = 500 */
    repl_event_fn *on_event;                /* NULL: kept in the nodes */
};

/* Directories and ports; nothing runs. */
void cluster_init(struct cluster *c, size_t count);
/* Stops what runs and removes everything. */
void cluster_deinit(struct cluster *c);

void cluster_start(struct cluster *c, size_t i);
/* The same, but tells what repl_start returned. */
int cluster_try_start(struct cluster *c, size_t i, struct errmsg *e);
void cluster_stop(struct cluster *c, size_t i);

/* To a node that is stopped: flips a byte in the middle of its first closed
 * segment; empties its directory. */
void cluster_damage_log(struct cluster *c, size_t i);
void cluster_wipe(struct cluster *c, size_t i);

/* What an operator asks for, through node @i; the status as repl_change says,
 * -1000 after 80 s. @message (may be NULL) takes 256 characters. */
int cluster_change(struct cluster *c, size_t i, enum repl_change_kind kind,
                   const char *name, char *message);

/* The same as an operator would: again, for 30 s, when it is refused or its
 * outcome is unknown (the link to the leader is not there yet, another leads
 * by now). */
void cluster_change_soon(struct cluster *c, size_t i,
                         enum repl_change_kind kind, const char *name);

/* The record @record through node @i, as above. */
int cluster_submit_record(struct cluster *c, size_t i, struct bytes record,
                          unsigned timeout_ms, struct outcome *outcome);

/* Role of node @k as node @i sees it, "" if it does not; static text. */
const char *cluster_role(struct cluster *c, size_t i, size_t k);

/* Runs @fn on the loop of node @i and waits. */
void cluster_on_loop(struct cluster *c, size_t i, void (*fn)(struct repl *r));

/* Index of a node that leads and is ready; waits for it. */
size_t cluster_leader(struct cluster *c);

/* One record with @size bytes that begin with @number, through node @i. Returns
 * the status, -1000 after @timeout_ms (then the submission is leaked on
 * purpose: it may still be completed). */
int cluster_submit(struct cluster *c, size_t i, uint64_t number, size_t size,
                   unsigned timeout_ms, struct outcome *outcome);

/* The same, again and again while nobody took it, as after an election. */
int cluster_submit_soon(struct cluster *c, size_t i, uint64_t number,
                        size_t size, struct outcome *outcome);

bool cluster_agrees(struct cluster *c, uint64_t records);

/* Waits until all running nodes have applied @records and agree. */
void cluster_converge(struct cluster *c, uint64_t records);

/* Polls for at most @timeout_ms. */
#define WAIT_FOR(condition, timeout_ms)                                        \
    do {                                                                       \
        unsigned waited_ms = 0;                                                \
        bool met_ = (condition);                                               \
        for (; !met_ && waited_ms < (timeout_ms); met_ = (condition)) {        \
            sleep_ms(5);                                                       \
            waited_ms += 5;                                                    \
        }                                                                      \
        assert_true(met_);                                                     \
    } while (0)

void sleep_ms(unsigned ms);

/* How many TCP sockets of this process bear a silence of @ms, and no longer. */
size_t sockets_bearing(unsigned ms);
