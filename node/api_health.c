/* Probes. Liveness is that every loop ticks; readiness that this replica can
 * answer. Never the quorum: a cluster without one must not have its nodes
 * restarted nor its page taken away (reference: operations-and-ui.md, 1.2). */
#include "node/api.h"

#include "base/clock.h"

enum { TICK_MS_MAX = 15 * 1000, CHECKS_MAX = 3 };

struct check {
    const char *name;
    bool ok;
};

static bool ticked(uint64_t at_ms, uint64_t now_ms)
{
    return now_ms <= at_ms + TICK_MS_MAX;
}

static size_t live_checks(struct http_request *rq, struct check *out)
{
    struct repl_status status;
    uint64_t now = clock_mono_ms();
    repl_status(rq->node->repl, &status);
    out[0] = (struct check){"http", true};
    out[1] = (struct check){"raft-loop", ticked(status.loop_ticked_ms, now)};
    out[2] = (struct check){"applier", ticked(status.applier_ticked_ms, now)};
    return 3;
}

static size_t ready_checks(struct http_request *rq, struct check *out)
{
    out[0] = (struct check){"caught-up", node_is_ready(rq->node)};
    out[1] = (struct check){"not-draining", !atomic_load(&rq->node->draining)};
    out[2] = (struct check){"not-stopping", !atomic_load(&rq->node->stopping)};
    return 3;
}

static bool all_ok(const struct check *checks, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (!checks[i].ok)
            return false;
    return true;
}

/* As Kubernetes' own components answer: "ok", or a line for each check. */
static void answer_checks(struct http_request *rq, const struct check *checks,
                          size_t count)
{
    bool ok = all_ok(checks, count);
    if (http_param(rq, "verbose") != NULL || !ok)
        for (size_t i = 0; i < count; i++)
            buf_printf(&rq->answer, "[%c]%s %s\n", checks[i].ok ? '+' : '-',
                       checks[i].name, checks[i].ok ? "ok" : "failed");
    buf_printf(&rq->answer, ok ? "ok\n" : "failed\n");
    rq->content_type = "text/plain; charset=utf-8";
    rq->status = ok ? 200 : 503;
}

void api_livez(struct http_request *rq)
{
    struct check checks[CHECKS_MAX];
    size_t count = live_checks(rq, checks);
    answer_checks(rq, checks, count);
}

void api_readyz(struct http_request *rq)
{
    struct check checks[CHECKS_MAX];
    size_t count = ready_checks(rq, checks);
    answer_checks(rq, checks, count);
}

void api_health(struct http_request *rq)
{
    struct check live[CHECKS_MAX], ready[CHECKS_MAX];
    size_t live_count = live_checks(rq, live);
    size_t ready_count = ready_checks(rq, ready);
    bool is_live = all_ok(live, live_count);
    bool is_ready = all_ok(ready, ready_count);
    struct repl_status status;
    repl_status(rq->node->repl, &status);
    out_object(&rq->json);
    out_member(&rq->json, "status", is_live && is_ready ? "ok" : "not ready");
    out_member_bool(&rq->json, "live", is_live);
    out_member_bool(&rq->json, "ready", is_ready);
    out_member_bool(&rq->json, "has_leader", status.has_leader);
    out_member_uint(&rq->json, "age_ms", http_age_ms(rq->node, &status));
    out_member(&rq->json, "version", HOLDFAST_VERSION);
    out_object_end(&rq->json);
    http_answer(rq, is_live && is_ready ? 200 : 503);
}
