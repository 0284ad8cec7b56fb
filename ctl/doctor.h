/* The doctor's findings, and the checks that make them: each looks at what the
 * nodes said (doctor_checks.c) and adds lines with what to do. */
#pragma once

#include "ctl/survey.h"

enum finding { FINDING_OK, FINDING_WARN, FINDING_FAIL };

struct doctor {
    struct ctl *ctl;       /* borrowed */
    struct survey cluster; /* GET /api/v1/cluster of each endpoint */
    struct survey metrics; /* GET /metrics, the same order */
    const json_t *view;    /* the leader's answer, or a member's; NULL when no
                              member answered; borrowed from cluster */
    json_t *findings;      /* owned: {check, state, text, advice} */
    bool failed;
};

/* @advice is what to do, "" for nothing. */
void doctor_add(struct doctor *d, const char *check, enum finding state,
                const char *advice, const char *format, ...)
    __attribute__((format(printf, 5, 6)));

/* An answer of a node that has not been removed: what a removed one says of the
 * cluster is no longer so. */
bool doctor_is_member(const struct question *q);

/* In the order in which they are shown; all but the first two need d->view. */
void doctor_check_removed(struct doctor *d);
void doctor_check_endpoints(struct doctor *d);
void doctor_check_cluster(struct doctor *d);
void doctor_check_leader(struct doctor *d);
void doctor_check_quorum(struct doctor *d);
void doctor_check_lag(struct doctor *d);
void doctor_check_clocks(struct doctor *d);
void doctor_check_disks(struct doctor *d);
void doctor_check_versions(struct doctor *d);
void doctor_check_states(struct doctor *d);
/* doctor_outside.c: what needs more than the cluster's own view. */
void doctor_check_names(struct doctor *d);
void doctor_check_certificates(struct doctor *d);
void doctor_check_replicas(struct doctor *d);
void doctor_check_gateways(struct doctor *d);
