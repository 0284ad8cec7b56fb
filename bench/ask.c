/* holdfast-ask: asks an HTTP server the same question again and again on one
 * connection, and prints how long it took from the first byte sent to the last
 * byte received. The same for our nodes and for VictoriaMetrics. */
#include "bench/http_client.h"
#include "bench/measure.h"

#include "base/clock.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

enum { WARM_UP = 5 };

static const char usage[] =
    "usage: holdfast-ask ADDRESS PATH [options]\n"
    "  --header LINE  \"Name: value\"\n"
    "  --times N      counted (200), after 5 that are not\n"
    "  --body FILE    the last answer goes there\n";

struct question {
    const char *address, *path, *file; /* borrowed from argv */
    char headers[1024];
    uint32_t times;
};

static int parse(int argc, char **argv, struct question *q)
{
    static const struct option flags[] = {
        {"header", required_argument, NULL, 'h'},
        {"times", required_argument, NULL, 't'},
        {"body", required_argument, NULL, 'b'},
        {NULL, 0, NULL, 0},
    };
    int flag;
    while ((flag = getopt_long(argc, argv, "", flags, NULL)) != -1) {
        if (flag == 'h')
            snprintf(q->headers, sizeof q->headers, "%s\r\n", optarg);
        else if (flag == 't')
            q->times = measure_number("times", optarg, 1000000);
        else if (flag == 'b')
            q->file = optarg;
        else
            return -1;
    }
    if (argc - optind != 2)
        return -1;
    q->address = argv[optind];
    q->path = argv[optind + 1];
    return 0;
}

static int keep(const struct question *q, struct bytes body)
{
    if (q->file == NULL)
        return 0;
    FILE *f = fopen(q->file, "w");
    if (f == NULL)
        return ERR_IO;
    bool whole = fwrite(body.data, 1, body.size, f) == body.size;
    return fclose(f) == 0 && whole ? 0 : ERR_IO;
}

static int ask(const struct question *q, struct http_client *c,
               struct measure *m, struct errmsg *e)
{
    struct http_answer answer = {0};
    for (uint32_t i = 0; i < WARM_UP + q->times; i++) {
        if (i == WARM_UP)
            measure_start(m);
        uint64_t sent_ns = clock_mono_ns();
        int rv = http_client_ask(c, "GET", q->path, q->headers,
                                 (struct bytes){NULL, 0}, &answer, e);
        if (rv != 0)
            return rv;
        if (answer.status != 200)
            return errmsg_set(e, ERR_IO, "status %d: %.*s", answer.status,
                              (int)answer.body.size, answer.body.data);
        measure_note(m, 1, sent_ns);
    }
    measure_stop(m, clock_mono_ns());
    printf("bytes %zu\n", answer.body.size);
    return keep(q, answer.body);
}

int main(int argc, char **argv)
{
    struct question q = {.times = 200};
    struct measure m = {.pid_count = 0};
    struct http_client c;
    struct errmsg e = {""};
    if (parse(argc, argv, &q) != 0) {
        fputs(usage, stderr);
        return 2;
    }
    int rv = http_client_open(&c, q.address, &e);
    if (rv == 0)
        rv = ask(&q, &c, &m, &e);
    if (rv == 0)
        measure_print(&m);
    else
        fprintf(stderr, "holdfast-ask: %s: %s\n", q.path, e.text);
    http_client_close(&c);
    measure_deinit(&m);
    return rv == 0 ? 0 : 1;
}
