/* The store's model in tests: the simple row design. One list of cells, each
 * counted into every tier at once, one of last samples, no open minutes, no
 * blocks, no file: a few plain loops that say what the rules mean, written
 * without a look at the store. Same commands in, same answers out. No thread.
 */
#pragma once

#include "store/query.h"

enum {
    MODEL_PEERS_MAX = 8,
    MODEL_COMMANDS_MAX = 4,
    MODEL_KEYS = 8, /* device keys are numbers 1..MODEL_KEYS */
};

enum model_kind {
    MODEL_NATIVE,
    MODEL_LEGACY,
    MODEL_PRESENCE,
    MODEL_TICK,
    MODEL_SETTINGS,
    MODEL_LOCATION_CREATE,
    MODEL_LOCATION_DELETE,
    MODEL_DEVICE_CREATE,
    MODEL_DEVICE_DELETE,
    MODEL_DIGEST,
};

struct model_peer {
    uint32_t device; /* 0: by key */
    unsigned key;
    uint64_t upload, download, handshake, rec_ms;
    bool from_zero, has_endpoint;
    char endpoint[32];
};

/* One record, as the test means it. */
struct model_command {
    enum model_kind kind;
    uint32_t location, device; /* also the id to delete */
    unsigned identity;         /* of the gateway, a number */
    uint64_t session, sequence, sampled_ms, machine, address;
    bool has_machine, accept_unknown;
    uint64_t retain_s[3]; /* of minutes, hours, days */
    unsigned key;
    uint32_t minute; /* that a presence speaks of */
    size_t gateway_count;
    uint32_t gateways[MODEL_PEERS_MAX]; /* rising */
    size_t peer_count;
    struct model_peer peers[MODEL_PEERS_MAX];
};

/* One log entry. */
struct model_step {
    uint64_t log_time_ms;
    size_t count;
    struct model_command commands[MODEL_COMMANDS_MAX];
};

struct model;

struct model *model_create(void);
void model_destroy(struct model *m);

/* What the step does, and the outcomes that the store must give (of a digest
 * only the code). */
void model_apply(struct model *m, const struct model_step *step,
                 struct outcome outcomes[MODEL_COMMANDS_MAX]);

/* The same answer as query_run's, applied index aside. */
void model_query(const struct model *m, const struct query *q,
                 struct answer *out);

/* The newest sample of a slot; false when there is none. */
bool model_slot(const struct model *m, uint32_t location, uint32_t device,
                uint32_t gateway, struct presence *out);
size_t model_slot_count(const struct model *m);
uint64_t model_log_time_ms(const struct model *m);
/* What all samples ever added, expired or not, wherever it fell; 0 = of all. */
void model_moved(const struct model *m, uint32_t location, uint32_t device,
                 uint32_t gateway, uint64_t *up, uint64_t *down);
uint32_t model_device_of(const struct model *m, unsigned key);
