/* check net: the round trips that nodes measure between themselves, as a
 * matrix, and the timeouts that follow from the longest. */
#include "ctl/check_net.h"

#include "ctl/run.h"
#include "ctl/survey.h"
#include "ctl/text.h"
#include "ctl/view.h"

#include <stdio.h>

enum { HEARTBEAT_MS_MIN = 50, HEARTBEATS_PER_ELECTION = 10, NODES_MAX = 16 };

void timeouts_recommend(uint64_t rtt_us_max, unsigned *heartbeat_ms,
                        unsigned *election_ms)
{
    uint64_t ms = (rtt_us_max + 999) / 1000;
    /* Rounded up to 10 ms: nobody sets 83 ms. */
    ms = (ms + 9) / 10 * 10;
    *heartbeat_ms = ms > HEARTBEAT_MS_MIN ? (unsigned)ms : HEARTBEAT_MS_MIN;
    *election_ms = HEARTBEATS_PER_ELECTION * *heartbeat_ms;
}

struct matrix {
    json_t *links;                /* owned: {from,to,rtt_us,connected} */
    const char *names[NODES_MAX]; /* columns; borrowed from the answers */
    size_t name_count;
    uint64_t rtt_us_max;
    size_t broken; /* links without a connection, nodes without an answer */
};

static void add_name(struct matrix *m, const char *name)
{
    for (size_t i = 0; i < m->name_count; i++)
        if (strcmp(m->names[i], name) == 0)
            return;
    if (m->name_count < NODES_MAX)
        m->names[m->name_count++] = name;
}

static void add_links(struct matrix *m, const json_t *cluster)
{
    size_t i;
    json_t *node;
    json_array_foreach(json_object_get(cluster, "nodes"), i, node)
    {
        uint64_t rtt_us = 0;
        bool known = view_uint(node, "rtt_us", &rtt_us);
        add_name(m, view_text(node, "name"));
        if (view_bool(node, "self"))
            continue;
        bool connected = view_bool(node, "connected");
        m->broken += !connected;
        if (connected && rtt_us > m->rtt_us_max)
            m->rtt_us_max = rtt_us;
        json_array_append_new(
            m->links,
            json_pack("{s:s,s:s,s:b,s:o}", "from", view_text(cluster, "node"),
                      "to", view_text(node, "name"), "connected", connected,
                      "rtt_us",
                      known && connected ? json_integer((json_int_t)rtt_us)
                                         : json_null()));
    }
}

static void put_link(struct grid *t, const struct matrix *m, const char *from,
                     const char *to)
{
    size_t i;
    json_t *link;
    if (strcmp(from, to) == 0) {
        grid_put(t, "-");
        return;
    }
    json_array_foreach(m->links, i, link)
    {
        if (strcmp(view_text(link, "from"), from) != 0 ||
            strcmp(view_text(link, "to"), to) != 0)
            continue;
        if (view_bool(link, "connected"))
            grid_put_us(t, link, "rtt_us");
        else
            grid_put(t, "NO LINK");
        return;
    }
    grid_put(t, "?");
}

static int print_matrix(const struct survey *s, const struct matrix *m,
                        struct errmsg *e)
{
    struct column columns[NODES_MAX + 1] = {{"FROM \\ TO", "FROM", false}};
    struct grid t;
    for (size_t i = 0; i < m->name_count; i++)
        columns[i + 1] = (struct column){m->names[i], NULL, true};
    grid_init(&t, columns, m->name_count + 1);
    for (size_t row = 0; row < s->count; row++) {
        const char *from = view_text(s->questions[row].json, "node");
        if (!question_ok(&s->questions[row]))
            continue;
        grid_put(&t, from);
        for (size_t i = 0; i < m->name_count; i++)
            put_link(&t, m, from, m->names[i]);
    }
    int rv = grid_print(&t, stdout, e);
    grid_deinit(&t);
    return rv;
}

static void print_advice(const struct survey *s, const struct matrix *m)
{
    unsigned heartbeat_ms, election_ms;
    char rtt[UNIT_TEXT_SIZE];
    size_t i;
    json_t *name;
    putchar('\n');
    for (i = 0; i < s->count; i++)
        if (!question_ok(&s->questions[i]))
            printf("%s did not answer: %s\n", s->questions[i].endpoint,
                   s->questions[i].error);
    json_array_foreach(s->unasked, i, name)
    {
        printf("%s was not asked: list its HTTP address in --endpoints\n",
               json_string_value(name));
    }
    timeouts_recommend(m->rtt_us_max, &heartbeat_ms, &election_ms);
    duration_format((double)m->rtt_us_max / 1000, rtt);
    if (m->rtt_us_max > 0)
        printf("The longest round trip is %s. On all nodes, at least:\n\n"
               "  --heartbeat %ums --election-timeout %ums%s\n",
               rtt, heartbeat_ms, election_ms,
               heartbeat_ms == HEARTBEAT_MS_MIN ? "   (the defaults)" : "");
}

static int print_json(const struct survey *s, const struct matrix *m,
                      struct errmsg *e)
{
    unsigned heartbeat_ms, election_ms;
    json_t *silent = json_array();
    for (size_t i = 0; i < s->count; i++)
        if (!question_ok(&s->questions[i]))
            json_array_append_new(silent,
                                  json_string(s->questions[i].endpoint));
    timeouts_recommend(m->rtt_us_max, &heartbeat_ms, &election_ms);
    return ctl_print_json(
        json_pack("{s:O,s:I,s:i,s:i,s:o,s:O}", "links", m->links, "rtt_us_max",
                  (json_int_t)m->rtt_us_max, "heartbeat_ms", (int)heartbeat_ms,
                  "election_timeout_ms", (int)election_ms, "unreachable",
                  silent, "unasked", s->unasked),
        e);
}

int run_check_net(struct ctl *c, struct errmsg *e)
{
    struct survey s = {0};
    struct matrix m = {.links = json_array()};
    int rv = survey_find_members(c, &s, e);
    if (rv != 0)
        goto out;
    survey_ask(c, &s, "GET", "/api/v1/cluster");
    size_t answered = 0;
    for (size_t i = 0; i < s.count; i++) {
        if (question_ok(&s.questions[i])) {
            add_links(&m, s.questions[i].json);
            answered++;
        } else {
            m.broken++;
        }
    }
    if (answered == 0) {
        rv = question_fail(&s.questions[0], e);
        goto out;
    }
    if (c->output == OUTPUT_JSON) {
        rv = print_json(&s, &m, e);
    } else {
        rv = print_matrix(&s, &m, e);
        print_advice(&s, &m);
    }
    if (rv == 0 && m.broken > 0)
        rv = CTL_FAILED;
out:
    json_decref(m.links);
    survey_deinit(&s);
    return rv;
}
