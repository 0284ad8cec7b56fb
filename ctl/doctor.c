/* doctor: runs all checks, prints one line for each and what to do. */
#include "ctl/doctor.h"

#include "ctl/run.h"
#include "ctl/text.h"
#include "ctl/view.h"

#include <stdio.h>

enum { TEXT_COLUMN = 20 };

static const char *const states[] = {
    [FINDING_OK] = "ok",
    [FINDING_WARN] = "warn",
    [FINDING_FAIL] = "fail",
};

void doctor_add(struct doctor *d, const char *check, enum finding state,
                const char *advice, const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    d->failed = d->failed || state == FINDING_FAIL;
    json_array_append_new(
        d->findings, json_pack("{s:s,s:s,s:s,s:s}", "check", check, "state",
                               states[state], "text", text, "advice", advice));
}

static void print_finding(const json_t *finding, const char *before)
{
    static const struct {
        const char *state, *tag;
        enum tone tone;
    } tags[] = {
        {"ok", "[ok]  ", TONE_GOOD},
        {"warn", "[warn]", TONE_DOUBT},
        {"fail", "[FAIL]", TONE_BAD},
    };
    const char *check = view_text(finding, "check");
    for (size_t i = 0; i < sizeof tags / sizeof *tags; i++)
        if (strcmp(view_text(finding, "state"), tags[i].state) == 0)
            tone_put(stdout, tags[i].tone, tags[i].tag);
    printf(" %-13s", strcmp(check, before) == 0 ? "" : check);
    text_wrap(stdout, view_text(finding, "text"), TEXT_COLUMN, TEXT_COLUMN);
    if (view_text(finding, "advice")[0] != '\0') {
        printf("%*s", TEXT_COLUMN, "");
        tone_put(stdout, TONE_QUIET, "-> ");
        text_wrap(stdout, view_text(finding, "advice"), TEXT_COLUMN + 3,
                  TEXT_COLUMN + 3);
    }
}

static void print_findings(const struct doctor *d)
{
    size_t i, warned = 0, failed = 0;
    const char *before = "";
    json_t *finding;
    json_array_foreach(d->findings, i, finding)
    {
        print_finding(finding, before);
        before = view_text(finding, "check");
        warned += strcmp(view_text(finding, "state"), "warn") == 0;
        failed += strcmp(view_text(finding, "state"), "fail") == 0;
    }
    if (failed > 0)
        printf("\n%zu to mend, %zu to look at.\n", failed, warned);
    else if (warned > 0)
        printf("\nNothing is broken, %zu to look at.\n", warned);
    else
        puts("\nAll is well.");
}

/* The leader knows most. */
static void choose_view(struct doctor *d)
{
    for (size_t i = 0; i < d->cluster.count; i++) {
        const struct question *q = &d->cluster.questions[i];
        if (!doctor_is_member(q))
            continue;
        if (d->view == NULL || view_bool(cluster_self(q->json), "leader"))
            d->view = q->json;
    }
}

static void examine(struct doctor *d)
{
    static void (*const checks[])(struct doctor *) = {
        doctor_check_cluster, doctor_check_leader,   doctor_check_quorum,
        doctor_check_states,  doctor_check_lag,      doctor_check_clocks,
        doctor_check_disks,   doctor_check_versions, doctor_check_certificates,
        doctor_check_names,   doctor_check_replicas, doctor_check_gateways,
    };
    progress_show("asking %zu endpoints ...", d->ctl->client.endpoint_count);
    survey_ask(d->ctl, &d->cluster, "GET", "/api/v1/cluster");
    survey_ask(d->ctl, &d->metrics, "GET", "/metrics");
    choose_view(d);
    doctor_check_removed(d);
    doctor_check_endpoints(d);
    if (d->view != NULL)
        for (size_t i = 0; i < sizeof checks / sizeof *checks; i++)
            checks[i](d);
    progress_clear();
}

int run_doctor(struct ctl *c, struct errmsg *e)
{
    struct doctor d = {.ctl = c, .findings = json_array()};
    /* Nobody there is a finding too: the first check tells of it. */
    int rv = survey_find_members(c, &d.cluster, e);
    if (rv == ERR_LIMIT || rv == ERR_NOMEM)
        goto out;
    examine(&d);
    rv = 0;
    if (c->output == OUTPUT_JSON)
        rv = ctl_print_json(
            json_pack("{s:b,s:O}", "ok", !d.failed, "findings", d.findings), e);
    else
        print_findings(&d);
    if (rv == 0 && d.failed)
        rv = CTL_FAILED;
out:
    json_decref(d.findings);
    survey_deinit(&d.cluster);
    survey_deinit(&d.metrics);
    return rv;
}
