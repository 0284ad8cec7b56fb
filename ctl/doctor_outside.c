/* The checks that ask for more than the cluster's view: name service, digests,
 * certificates, gateways (doctor.h). */
#include "ctl/certificates.h"
#include "ctl/doctor.h"
#include "ctl/hash.h"
#include "ctl/text.h"
#include "ctl/view.h"

#include "base/clock.h"

#include <netdb.h>
#include <stdio.h>
#include <sys/socket.h>

enum { CERTIFICATE_DOUBT_DAYS = 14, DAY_S = 24 * 3600 };

/* --- names ---------------------------------------------------------------- */

/* "10.0.0.7, 10.0.0.8" for the host of "host:port"; 0 or an EAI_*. */
static int resolve(const char *address, char *host, size_t host_size, char *out,
                   size_t size)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list = NULL;
    const char *colon = strrchr(address, ':');
    size_t length = colon != NULL ? (size_t)(colon - address) : strlen(address);
    bool bracketed = length > 1 && address[0] == '[';
    snprintf(host, host_size, "%.*s", (int)(length - (bracketed ? 2 : 0)),
             address + (bracketed ? 1 : 0));
    int rv = getaddrinfo(host, NULL, &hints, &list);
    out[0] = '\0';
    for (const struct addrinfo *a = list; a != NULL; a = a->ai_next) {
        size_t used = strlen(out);
        char text[64];
        if (getnameinfo(a->ai_addr, a->ai_addrlen, text, sizeof text, NULL, 0,
                        NI_NUMERICHOST) == 0)
            snprintf(out + used, size - used, "%s%s", used > 0 ? ", " : "",
                     text);
    }
    if (list != NULL)
        freeaddrinfo(list);
    return rv;
}

void doctor_check_names(struct doctor *d)
{
    char host[280], addresses[300];
    size_t i;
    json_t *node;
    json_array_foreach(json_object_get(d->view, "nodes"), i, node)
    {
        const char *address = view_text(node, "address");
        if (address[0] == '\0')
            continue;
        progress_show("resolving %s ...", address);
        int rv =
            resolve(address, host, sizeof host, addresses, sizeof addresses);
        if (rv != 0)
            doctor_add(d, "names", FINDING_WARN,
                       "if it does not resolve on the nodes either, it can "
                       "never connect: look at DNS, or at the headless "
                       "service's selector",
                       "%s: %s: %s (asked from this host)",
                       view_text(node, "name"), host, gai_strerror(rv));
        else if (strcmp(host, addresses) == 0)
            doctor_add(d, "names", FINDING_OK, "",
                       "%s is at %s, a fixed "
                       "address",
                       view_text(node, "name"), address);
        else
            doctor_add(d, "names", FINDING_OK, "", "%s: %s is %s",
                       view_text(node, "name"), host, addresses);
    }
}

/* --- certificates --------------------------------------------------------- */

struct expiry {
    struct doctor *doctor;
    const char *endpoint;
    double now_s, least_s; /* least_s: until the first expiry */
    size_t count;
    bool fine;
};

static void look_at_certificate(void *arg, const char *name, double not_after_s)
{
    struct expiry *x = arg;
    double left_s = not_after_s - x->now_s;
    x->count++;
    if (x->count == 1 || left_s < x->least_s)
        x->least_s = left_s;
    if (left_s > CERTIFICATE_DOUBT_DAYS * (double)DAY_S)
        return;
    x->fine = false;
    doctor_add(x->doctor, "certificates",
               left_s > 0 ? FINDING_WARN : FINDING_FAIL,
               "put a new pair in its place: the node notices by itself",
               left_s > 0 ? "%s: %s expires in %.1f days"
                          : "%s: %s expired %.1f days ago",
               x->endpoint, name, (left_s > 0 ? left_s : -left_s) / DAY_S);
}

void doctor_check_certificates(struct doctor *d)
{
    struct expiry x = {
        .doctor = d, .now_s = (double)clock_wall_ms() / 1000, .fine = true};
    for (size_t i = 0; i < d->metrics.count; i++) {
        const struct question *q = &d->metrics.questions[i];
        x.endpoint = q->endpoint;
        if (question_ok(q) && q->text.size > 0)
            certificates_read((const char *)q->text.data, look_at_certificate,
                              &x);
    }
    if (x.count == 0)
        doctor_add(d, "certificates", FINDING_WARN,
                   "see --tls-* and --peer-tls-* of holdfast-node, or keep all "
                   "ports in a network that you trust",
                   "no node has any: everything travels in plain text");
    else if (x.fine)
        doctor_add(d, "certificates", FINDING_OK, "",
                   "the first of %zu expires in %.0f days", x.count,
                   x.least_s / DAY_S);
}

/* --- replicas ------------------------------------------------------------- */

void doctor_check_replicas(struct doctor *d)
{
    if (json_array_size(json_object_get(d->view, "nodes")) == 1)
        return;
    struct survey s = {.unasked = json_incref(d->cluster.unasked)};
    struct digests digests;
    struct errmsg e = {0};
    progress_show("comparing the replicas ...");
    if (digests_take(d->ctl, &s, &digests, &e) != 0)
        doctor_add(d, "replicas", FINDING_FAIL, "", "cannot be compared: %s",
                   e.text);
    else if (!digests.agree)
        doctor_add(d, "replicas", FINDING_FAIL,
                   "keep all data directories as they are, and report it; "
                   "holdfastctl endpoint hash shows who differs",
                   "THEY DIFFER at log index %llu",
                   (unsigned long long)digests.index);
    else if (digests.answered < 2)
        doctor_add(d, "replicas", FINDING_WARN,
                   "--cluster, or all nodes in --endpoints",
                   "one replica alone cannot be compared");
    else
        doctor_add(d, "replicas", FINDING_OK, "", "%zu agree at log index %llu",
                   digests.answered, (unsigned long long)digests.index);
    survey_deinit(&s);
}

/* --- gateways ------------------------------------------------------------- */

void doctor_check_gateways(struct doctor *d)
{
    json_t *locations = NULL, *rows, *row;
    struct errmsg e = {0};
    size_t heard = 0, known = 0, i;
    const char *id;
    if (client_get(&d->ctl->client, "/api/v1/network/gateways", &locations,
                   NULL, &e) != 0) {
        doctor_add(d, "gateways", FINDING_FAIL, "", "%s", e.text);
        return;
    }
    json_object_foreach(locations, id, rows)
    {
        json_array_foreach(rows, i, row)
        {
            known++;
            heard += view_bool(row, "connected");
        }
    }
    json_decref(locations);
    if (known == 0)
        doctor_add(d, "gateways", FINDING_WARN,
                   "holdfastctl location token says how to start one",
                   "none has reported yet");
    else
        doctor_add(d, "gateways", heard == known ? FINDING_OK : FINDING_WARN,
                   heard == known ? "" : "holdfastctl gateway list",
                   "%zu of %zu are heard", heard, known);
}
