/* recover and snapshot restore: front ends of raft/recover.h, for the data
 * directory of a stopped node on this host. */
#include "ctl/peer_text.h"
#include "ctl/run.h"
#include "ctl/text.h"

#include "raft/member_address.h"
#include "raft/rebuild.h"
#include "raft/recover.h"
#include "tls/tls.h"

#include <time.h>

static const char *data_dir_of(const struct ctl *c)
{
    return ctl_has(c, FLAG_DATA_DIR) ? c->values[FLAG_DATA_DIR]
                                     : flags[FLAG_DATA_DIR].fallback;
}

static void put_id(char out[2 * CLUSTER_ID_SIZE + 1], const uint8_t *id)
{
    for (size_t i = 0; i < CLUSTER_ID_SIZE; i++)
        snprintf(out + 2 * i, 3, "%02x", id[i]);
}

/* --- looking -------------------------------------------------------------- */

/* libraft's numbers of roles. */
static const char *role_text(int role)
{
    static const char *const roles[] = {"standby", "voter", "spare"};
    return role >= 0 && role < 3 ? roles[role] : "unknown";
}

static json_t *members_json(const struct recover_report *r)
{
    json_t *members = json_array();
    for (size_t i = 0; i < r->member_count; i++) {
        struct repl_peer peer = {0};
        char id[24];
        snprintf(id, sizeof id, "%llu", (unsigned long long)r->members[i].id);
        if (member_address_split(r->members[i].address, &peer) != 0)
            continue;
        json_array_append_new(members,
                              json_pack("{s:s,s:s,s:s,s:s}", "id", id, "name",
                                        peer.name, "address", peer.address,
                                        "role", role_text(r->members[i].role)));
    }
    return members;
}

static json_t *report_json(const char *data_dir, const struct recover_report *r)
{
    char cluster[2 * CLUSTER_ID_SIZE + 1], id[24], vote[24];
    put_id(cluster, r->cluster_id);
    snprintf(id, sizeof id, "%llu", (unsigned long long)r->raft_id);
    snprintf(vote, sizeof vote, "%llu", (unsigned long long)r->voted_for);
    return json_pack(
        "{s:s,s:s,s:s?,s:I,s:s,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:o}",
        "data_dir", data_dir, "id", id, "cluster_id",
        r->bootstrapped ? cluster : NULL, "term", (json_int_t)r->term,
        "voted_for", vote, "last_index", (json_int_t)r->last_index, "last_term",
        (json_int_t)r->last_term, "snapshot_index",
        (json_int_t)r->snapshot_index, "applied", (json_int_t)r->applied_index,
        "log_time_ms", (json_int_t)r->log_time_ms, "db_bytes",
        (json_int_t)r->store_bytes, "locations", (json_int_t)r->locations,
        "devices", (json_int_t)r->devices, "gateways", (json_int_t)r->gateways,
        "members", members_json(r));
}

static void print_members(const struct recover_report *r)
{
    for (size_t i = 0; i < r->member_count; i++) {
        printf("%-17s", i == 0 ? "members" : "");
        text_put(stdout, r->members[i].address);
        printf(", %s%s\n", role_text(r->members[i].role),
               r->members[i].id == r->raft_id ? " (this one)" : "");
    }
}

static void print_report(const char *data_dir, const struct recover_report *r)
{
    char cluster[2 * CLUSTER_ID_SIZE + 1], size[UNIT_TEXT_SIZE], when[40] = "-";
    struct tm tm;
    time_t seconds = (time_t)(r->log_time_ms / 1000);
    put_id(cluster, r->cluster_id);
    bytes_format(r->store_bytes, size);
    if (r->log_time_ms != 0 && gmtime_r(&seconds, &tm) != NULL)
        strftime(when, sizeof when, "%Y-%m-%d %H:%M:%S UTC", &tm);
    printf("data directory   %s\ncluster          %s\n", data_dir,
           r->bootstrapped ? cluster : "none: it waits to found or join one");
    printf("last log entry   %llu, of term %llu\n"
           "term             %llu\n"
           "store            up to %llu, %s, log time %s\n"
           "                 locations %llu, devices %llu, gateways %llu\n",
           (unsigned long long)r->last_index, (unsigned long long)r->last_term,
           (unsigned long long)r->term, (unsigned long long)r->applied_index,
           size, when, (unsigned long long)r->locations,
           (unsigned long long)r->devices, (unsigned long long)r->gateways);
    print_members(r);
    puts("\nOf several survivors the one whose last log entry has the largest "
         "term, and\nthen the largest index, is the one to force a new cluster "
         "from.");
}

static int inspect(struct ctl *c, struct errmsg *e)
{
    struct recover_report r;
    const char *data_dir = data_dir_of(c);
    int rv = recover_inspect(data_dir, &r, e);
    if (rv == 0 && c->output == OUTPUT_JSON)
        return ctl_print_json(report_json(data_dir, &r), e);
    if (rv == 0)
        print_report(data_dir, &r);
    return rv;
}

/* --- making a new cluster ------------------------------------------------- */

static void tell(void *arg, const char *text)
{
    (void)arg;
    text_put(stderr, text);
    fputc('\n', stderr);
}

/* What both need from the flags. @tls is used where the three are given. */
static int take_options(const struct ctl *c, struct repl_peer *member,
                        struct tls_files *tls, struct recover_options *out,
                        struct errmsg *e)
{
    if (!ctl_has(c, FLAG_MEMBER))
        return errmsg_set(e, ERR_INVALID,
                          "--member NAME=HOST:PORT is wanted: the new "
                          "cluster's only member, and where others will "
                          "reach it");
    int rv = peer_parse(c->values[FLAG_MEMBER], "--member ", member, e);
    *tls = (struct tls_files){.ca = c->values[FLAG_PEER_TLS_CA],
                              .cert = c->values[FLAG_PEER_TLS_CERT],
                              .key = c->values[FLAG_PEER_TLS_KEY],
                              .mutual = true};
    bool any = tls->ca != NULL || tls->cert != NULL || tls->key != NULL;
    if (rv == 0 && any &&
        (tls->ca == NULL || tls->cert == NULL || tls->key == NULL))
        rv = errmsg_set(e, ERR_INVALID,
                        "--peer-tls-ca, --peer-tls-cert and --peer-tls-key go "
                        "together");
    *out = (struct recover_options){
        .data_dir = data_dir_of(c),
        .name = member->name,
        .address = member->address,
        .peer_tls = any ? tls : NULL,
        .progress = tell,
    };
    return rv;
}

static int print_founded(const struct ctl *c, const struct recover_options *o,
                         struct errmsg *e)
{
    if (c->output == OUTPUT_JSON)
        return ctl_print_json(json_pack("{s:s,s:s,s:s}", "data_dir",
                                        o->data_dir, "name", o->name, "address",
                                        o->address),
                              e);
    printf("\n%s is a cluster of its own now. Start it with\n\n"
           "  holdfast-node --name %s --peer-address %s --data-dir %s \\\n"
           "      --initial-peers %s=%s\n\n"
           "and its other flags as before. Then bring the others in one by "
           "one, each with\nan empty data directory: holdfastctl member add\n",
           o->data_dir, o->name, o->address, o->data_dir, o->name, o->address);
    return 0;
}

static int force_new_cluster(struct ctl *c, struct errmsg *e)
{
    struct repl_peer member;
    struct tls_files tls;
    struct recover_options o = {0};
    int rv = take_options(c, &member, &tls, &o, e);
    if (rv == 0)
        rv = ctl_confirm(c, e,
                         "Make a new cluster of %s alone? Only when the "
                         "majority is lost for good",
                         o.data_dir);
    if (rv == 0)
        rv = recover_force_new_cluster(&o, e);
    return rv == 0 ? print_founded(c, &o, e) : rv;
}

/* --- re-aggregation ------------------------------------------------------- */

static void put_time(uint64_t unix_ms, char out[40])
{
    time_t seconds = (time_t)(unix_ms / 1000);
    struct tm tm;
    snprintf(out, 40, "-");
    if (unix_ms != 0 && gmtime_r(&seconds, &tm) != NULL)
        strftime(out, 40, "%Y-%m-%d %H:%M:%S UTC", &tm);
}

static int print_rebuilt(const struct ctl *c, const struct rebuild_options *o,
                         const struct rebuild_report *r, struct errmsg *e)
{
    char digest[20], first[40], last[40], when[40];
    snprintf(digest, sizeof digest, "%016llx", (unsigned long long)r->digest);
    if (c->output == OUTPUT_JSON)
        return ctl_print_json(
            json_pack("{s:s,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:s?}", "into", o->to,
                      "raw_first_index", (json_int_t)r->raw_first_index,
                      "raw_last_index", (json_int_t)r->raw_last_index,
                      "base_index", (json_int_t)r->base_index, "entries",
                      (json_int_t)r->entries, "index",
                      (json_int_t)r->applied_index, "log_time_ms",
                      (json_int_t)r->log_time_ms, "digest_index",
                      (json_int_t)r->digest_index, "digest",
                      r->digest_index != 0 ? digest : NULL),
            e);
    put_time(r->raw_first_ms, first);
    put_time(r->raw_last_ms, last);
    put_time(r->log_time_ms, when);
    printf("raw reports  log index %llu to %llu\n"
           "             %s to %s\n"
           "begun from   %s\n"
           "applied      %llu entries\n"
           "result       %s/data.mdb, the state at log index %llu, %s\n",
           (unsigned long long)r->raw_first_index,
           (unsigned long long)r->raw_last_index, first, last,
           o->base != NULL ? o->base : "nothing: everything is in them",
           (unsigned long long)r->entries, o->to,
           (unsigned long long)r->applied_index, when);
    if (r->digest_index != 0)
        printf("digest       %s at log index %llu\n", digest,
               (unsigned long long)r->digest_index);
    return 0;
}

static int from_raw(struct ctl *c, struct errmsg *e)
{
    struct rebuild_report report;
    struct rebuild_options o = {.data_dir = data_dir_of(c),
                                .to = c->values[FLAG_TO_DIR],
                                .base = c->values[FLAG_BASE],
                                .progress = tell};
    if (o.to == NULL)
        return errmsg_set(e, ERR_INVALID,
                          "--into DIR is wanted: an empty directory for the "
                          "store that is made");
    int rv = rebuild_from_raw(&o, &report, e);
    return rv == 0 ? print_rebuilt(c, &o, &report, e) : rv;
}

int run_recover(struct ctl *c, struct errmsg *e)
{
    if (ctl_has(c, FLAG_INSPECT) + ctl_has(c, FLAG_FORCE_NEW_CLUSTER) +
            ctl_has(c, FLAG_FROM_RAW) !=
        1)
        return errmsg_set(e, ERR_INVALID,
                          "--inspect, --force-new-cluster or --from-raw is "
                          "wanted, one of them; see holdfastctl recover "
                          "--help");
    return ctl_has(c, FLAG_INSPECT)    ? inspect(c, e)
           : ctl_has(c, FLAG_FROM_RAW) ? from_raw(c, e)
                                       : force_new_cluster(c, e);
}

int run_snapshot_restore(struct ctl *c, struct errmsg *e)
{
    struct repl_peer member;
    struct tls_files tls;
    struct recover_options o = {0};
    char sum[SHA256_TEXT_SIZE], kept[SHA256_TEXT_SIZE];
    int rv = take_options(c, &member, &tls, &o, e);
    if (rv == 0)
        rv = snapshot_check_sum(c->arguments[0], sum, kept, e);
    if (rv == 0)
        rv = recover_restore(&o, c->arguments[0], e);
    return rv == 0 ? print_founded(c, &o, e) : rv;
}
