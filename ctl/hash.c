/* endpoint hash: one digest record goes through the log, every replica hashes
 * its state at that index, and all must say the same (DESIGN, rule 7). */
#include "ctl/hash.h"

#include "ctl/run.h"
#include "ctl/text.h"
#include "ctl/view.h"

#include <stdio.h>

/* POST on one endpoint after the other until one takes it. */
static int take(struct ctl *c, uint64_t *index, struct errmsg *e)
{
    json_t *answer = NULL;
    int rv =
        client_change(&c->client, "POST", "/api/v1/digest", NULL, &answer, e);
    if (rv == 0 && !view_uint(answer, "index", index))
        rv = errmsg_set(e, ERR_CORRUPT,
                        "POST /api/v1/digest answered without an index");
    json_decref(answer);
    return rv;
}

int digests_take(struct ctl *c, struct survey *s, struct digests *out,
                 struct errmsg *e)
{
    *out = (struct digests){0};
    int rv = take(c, &out->index, e);
    if (rv != 0)
        return rv;
    snprintf(out->path, sizeof out->path, "/api/v1/digest?index=%llu",
             (unsigned long long)out->index);
    survey_ask(c, s, "GET", out->path);
    out->agree = true;
    for (size_t i = 0; i < s->count; i++) {
        const struct question *q = &s->questions[i];
        const char *digest = view_text(q->json, "digest");
        if (!question_ok(q)) {
            out->failed++;
            continue;
        }
        if (out->answered++ == 0)
            snprintf(out->digest, sizeof out->digest, "%s", digest);
        else if (strcmp(out->digest, digest) != 0)
            out->agree = false;
    }
    out->failed += json_array_size(s->unasked);
    return 0;
}

static int print_table(const struct survey *s, const struct digests *d,
                       struct errmsg *e)
{
    static const struct column columns[] = {
        {"ENDPOINT", NULL, false},
        {"INDEX", NULL, true},
        {"DIGEST", NULL, false},
        {"ERROR", NULL, false},
    };
    struct grid t;
    json_t *name;
    size_t i;
    grid_init(&t, columns, sizeof columns / sizeof *columns);
    for (i = 0; i < s->count; i++) {
        grid_put(&t, s->questions[i].endpoint);
        grid_printf(&t, "%llu", (unsigned long long)d->index);
        grid_put_member(
            &t, question_ok(&s->questions[i]) ? s->questions[i].json : NULL,
            "digest");
        grid_put(&t, s->questions[i].error);
    }
    json_array_foreach(s->unasked, i, name)
    {
        grid_put(&t, json_string_value(name));
        grid_put(&t, "");
        grid_put(&t, "");
        grid_put(&t, "not asked: list its HTTP address in --endpoints");
    }
    int rv = grid_print(&t, stdout, e);
    grid_deinit(&t);
    return rv;
}

static void print_verdict(const struct digests *d)
{
    if (!d->agree)
        puts("\nTHE REPLICAS DIFFER: keep all data directories as they are, "
             "and report it.");
    else if (d->answered < 2)
        puts("\nOne replica proves nothing: give all nodes in --endpoints, or "
             "--cluster.");
    else
        printf("\n%zu replicas agree at log index %llu%s\n", d->answered,
               (unsigned long long)d->index,
               d->failed > 0 ? "; not all could be asked." : ".");
}

static int print_json(const struct survey *s, const struct digests *d,
                      struct errmsg *e)
{
    json_t *rows = json_array();
    for (size_t i = 0; i < s->count; i++) {
        const struct question *q = &s->questions[i];
        bool ok = question_ok(q);
        json_array_append_new(
            rows, json_pack("{s:s,s:s?,s:s?}", "endpoint", q->endpoint,
                            "digest", ok ? view_text(q->json, "digest") : NULL,
                            "error", ok ? NULL : q->error));
    }
    return ctl_print_json(json_pack("{s:I,s:b,s:O,s:o}", "index",
                                    (json_int_t)d->index, "agree",
                                    d->agree && d->failed == 0, "unasked",
                                    s->unasked, "endpoints", rows),
                          e);
}

int run_endpoint_hash(struct ctl *c, struct errmsg *e)
{
    struct survey s = {0};
    struct digests d;
    int rv = survey_find_members(c, &s, e);
    if (rv == 0)
        rv = digests_take(c, &s, &d, e);
    if (rv == 0 && c->output == OUTPUT_JSON) {
        rv = print_json(&s, &d, e);
    } else if (rv == 0) {
        rv = print_table(&s, &d, e);
        print_verdict(&d);
    }
    if (rv == 0 && (!d.agree || d.failed > 0))
        rv = CTL_FAILED;
    survey_deinit(&s);
    return rv;
}
