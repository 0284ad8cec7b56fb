/* Every setting is one row of the table below: its flag, its variable
 * (HOLDFAST_ + capitals), its key in the file, its default and its line in
 * --help all come from there. The first source that names a setting wins. */
#include "node/config.h"

#include "node/config_check.h"
#include "node/config_file.h"
#include "node/config_value.h"

#include <ctype.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum value_type {
    TEXT,
    SECRET, /* text that may not be empty */
    BIND,   /* ip:port */
    DIAL,   /* host:port, port 7600 if left out */
    MILLISECONDS,
    SECONDS,
    SIZE,
    SWITCH,
    LEVEL,
    FORMAT,
    CONFIG_FILE, /* has no field: read before the rest */
};

enum { VARIABLE_LENGTH_MAX = 64 };

struct setting {
    const char *name, *argument;
    enum value_type type;
    size_t offset;
    const char *fallback; /* NULL: none */
    const char *help;
};

#define FIELD(member) offsetof(struct node_config, member)

/* A row without a name is a heading of --help. */
static const struct setting settings[] = {
    {NULL, NULL, TEXT, 0, NULL, "This node"},
    {"name", "TEXT", TEXT, FIELD(name), NULL,
     "a label for people (default: the host's name)"},
    {"data-dir", "DIR", TEXT, FIELD(data_dir), "/var/lib/holdfast",
     "everything that must survive: raft/ and store/"},
    {"config", "FILE", CONFIG_FILE, 0, NULL,
     "YAML, one \"name: value\" a line, names as here"},
    {"disk-reserve", "SIZE", SIZE, FIELD(disk_reserve), NULL,
     "with less free disk than this, nothing new is taken (default: the "
     "larger of 256MiB and 1 %, at most a quarter of the file system)"},
    {"zone", "TEXT", TEXT, FIELD(zone), NULL,
     "failure domain of this node (a data center, a rack)"},
    {"leader-zones", "A,B,...", TEXT, FIELD(leader_zones), NULL,
     "zones where the leader should be (default: any)"},

    {NULL, NULL, TEXT, 0, NULL, "Cluster (leave out for a single node)"},
    {"initial-peers", "LIST", TEXT, FIELD(initial_peers), NULL,
     "name=host:port,… of those who found the cluster, or of members to join"},
    {"peer-address", "HOST:PORT", DIAL, FIELD(peer_address), NULL,
     "how the other nodes reach this one; port 7600 if left out"},
    {"peer-bind", "IP:PORT", BIND, FIELD(peer_bind), "0.0.0.0:7600",
     "where to listen for them"},
    {"election-timeout", "TIME", MILLISECONDS, FIELD(election_timeout_ms),
     "500ms", "silence after which a new leader is sought"},
    {"heartbeat", "TIME", MILLISECONDS, FIELD(heartbeat_ms), "50ms",
     "how often the leader is heard; at most a third of that"},

    {NULL, NULL, TEXT, 0, NULL, "Listeners (port 0 picks a free one)"},
    {"grpc-bind", "IP:PORT", BIND, FIELD(grpc_bind), "0.0.0.0:50055",
     "for gateways"},
    {"http-bind", "IP:PORT", BIND, FIELD(http_bind), "0.0.0.0:8000",
     "overview, API, health, metrics"},

    {NULL, NULL, TEXT, 0, NULL, "Security"},
    {"insecure", NULL, SWITCH, FIELD(insecure), "false",
     "allow addresses beyond loopback without TLS"},
    {"tls-cert", "FILE", TEXT, FIELD(tls_cert), NULL,
     "certificate chain (PEM) for gateways and HTTPS; read again when it "
     "changes"},
    {"tls-key", "FILE", TEXT, FIELD(tls_key), NULL, "its private key (PEM)"},
    {"tls-ca", "FILE", TEXT, FIELD(tls_ca), NULL,
     "CA (PEM) that made the certificates of all nodes; gateways and browsers "
     "need no certificate"},
    {"peer-tls-ca", "FILE", TEXT, FIELD(peer_tls_ca), NULL,
     "CA (PEM) of the nodes' certificates among themselves (default: "
     "--tls-ca); with all three, nodes talk TLS"},
    {"peer-tls-cert", "FILE", TEXT, FIELD(peer_tls_cert), NULL,
     "this node's certificate, which must name the host of its "
     "--peer-address (default: --tls-cert)"},
    {"peer-tls-key", "FILE", TEXT, FIELD(peer_tls_key), NULL,
     "its private key (default: --tls-key)"},
    {"gateway-secret", "TEXT", SECRET, FIELD(gateway_secret), NULL,
     "signs gateway tokens; DEFGUARD_GATEWAY_SECRET is read too "
     "(default: random, made once for the cluster)"},
    {"admin-token", "TEXT", SECRET, FIELD(admin_token), NULL,
     "API token made with the cluster (default: random, written to "
     "DIR/admin-token)"},

    {NULL, NULL, TEXT, 0, NULL,
     "Retention (0 = for ever; the cluster keeps its first values)"},
    {"retain-minute", "TIME", SECONDS, FIELD(retain_minute_s), "168h",
     "buckets of a minute"},
    {"retain-hour", "TIME", SECONDS, FIELD(retain_hour_s), "9600h",
     "buckets of an hour"},
    {"retain-day", "TIME", SECONDS, FIELD(retain_day_s), "87600h",
     "buckets of a day"},
    {"retain-raw", "TIME", SECONDS, FIELD(retain_raw_s), "720h",
     "reports as they came, of this node; 0 = keep none"},
    {"retain-raw-bytes", "SIZE", SIZE, FIELD(retain_raw_bytes), "10GiB",
     "the same, whichever comes first; 0 = keep none"},

    {NULL, NULL, TEXT, 0, NULL, "Log and checks"},
    {"log-level", "LEVEL", LEVEL, FIELD(log_level), "info",
     "debug, info, warn or error"},
    {"log-format", "FORMAT", FORMAT, FIELD(log_format), NULL,
     "text or json (default: text on a terminal, else json)"},
    {"check-config", NULL, SWITCH, FIELD(check_only), "false",
     "validate all of this and exit"},
};

enum { SETTINGS_COUNT = sizeof settings / sizeof *settings };

/* What the winning source said, before it is understood. */
struct raw {
    char *value;      /* owned; NULL: nobody named it */
    char origin[512]; /* "--name", "HOLDFAST_NAME" or "file:line" */
};

struct raws {
    struct raw of[SETTINGS_COUNT];
};

/* --- gathering ------------------------------------------------------------ */

/* "-" and "_" are the same in a name. */
static bool name_matches(const char *name, const char *given, size_t length)
{
    if (strlen(name) != length)
        return false;
    for (size_t i = 0; i < length; i++)
        if ((given[i] == '_' ? '-' : given[i]) != name[i])
            return false;
    return true;
}

static int setting_find(const char *name, size_t length)
{
    for (int i = 0; i < SETTINGS_COUNT; i++)
        if (settings[i].name != NULL &&
            name_matches(settings[i].name, name, length))
            return i;
    return -1;
}

/* Keeps @value unless a stronger source was there before. */
static int raw_set(struct raws *raws, int which, const char *value,
                   const char *origin, struct errmsg *e)
{
    struct raw *raw = &raws->of[which];
    if (raw->value != NULL)
        return 0;
    raw->value = strdup(value);
    if (raw->value == NULL)
        return errmsg_set(e, ERR_NOMEM, "out of memory");
    snprintf(raw->origin, sizeof raw->origin, "%s", origin);
    return 0;
}

static int read_flags(struct raws *raws, int argc, char **argv,
                      struct errmsg *e)
{
    for (int i = 1; i < argc; i++) {
        const char *flag = argv[i];
        if (strncmp(flag, "--", 2) != 0)
            return errmsg_set(e, ERR_INVALID,
                              "%.64s: no such argument; flags begin with --, "
                              "see --help",
                              flag);
        size_t length = strcspn(flag + 2, "=");
        int which = setting_find(flag + 2, length);
        if (which < 0)
            return errmsg_set(e, ERR_INVALID, "%.64s: no such flag, see --help",
                              flag);
        char origin[VARIABLE_LENGTH_MAX];
        snprintf(origin, sizeof origin, "--%s", settings[which].name);
        const char *value = flag[2 + length] == '=' ? flag + 3 + length : NULL;
        if (value == NULL && settings[which].type == SWITCH)
            value = "true";
        else if (value == NULL && i + 1 < argc)
            value = argv[++i];
        if (value == NULL)
            return errmsg_set(e, ERR_INVALID, "%s: a value is missing", origin);
        /* The last one counts, so that a script can end in "$@". */
        free(raws->of[which].value);
        raws->of[which].value = NULL;
        int rv = raw_set(raws, which, value, origin, e);
        if (rv != 0)
            return rv;
    }
    return 0;
}

static void variable_name(const char *name, char *out, size_t room)
{
    int n = snprintf(out, room, "HOLDFAST_%s", name);
    for (int i = 0; i < n && (size_t)i < room; i++)
        out[i] = out[i] == '-' ? '_' : (char)toupper((unsigned char)out[i]);
}

static int read_environment(struct raws *raws, struct errmsg *e)
{
    int rv = 0;
    for (int i = 0; i < SETTINGS_COUNT && rv == 0; i++) {
        if (settings[i].name == NULL)
            continue;
        char variable[VARIABLE_LENGTH_MAX];
        variable_name(settings[i].name, variable, sizeof variable);
        const char *value = getenv(variable);
        if (value != NULL)
            rv = raw_set(raws, i, value, variable, e);
    }
    const char *secret = getenv("DEFGUARD_GATEWAY_SECRET");
    if (rv == 0 && secret != NULL)
        rv = raw_set(raws, setting_find("gateway-secret", 14), secret,
                     "DEFGUARD_GATEWAY_SECRET", e);
    return rv;
}

struct file_walk {
    struct raws *raws;
    const char *path;
    unsigned lines[SETTINGS_COUNT]; /* where a key stood, to find doubles */
};

static int file_setting(void *arg, const char *key, const char *value,
                        unsigned line, struct errmsg *e)
{
    struct file_walk *walk = arg;
    int which = setting_find(key, strlen(key));
    if (which < 0 || settings[which].type == CONFIG_FILE)
        return errmsg_set(e, ERR_INVALID, "%.64s: no such setting, see --help",
                          key);
    if (walk->lines[which] != 0)
        return errmsg_set(e, ERR_INVALID, "%s: stands in line %u already",
                          settings[which].name, walk->lines[which]);
    walk->lines[which] = line;
    char origin[512];
    snprintf(origin, sizeof origin, "%s:%u: %s", walk->path, line,
             settings[which].name);
    return raw_set(walk->raws, which, value, origin, e);
}

static int gather(struct raws *raws, int argc, char **argv, struct errmsg *e)
{
    int rv = read_flags(raws, argc, argv, e);
    if (rv == 0)
        rv = read_environment(raws, e);
    const char *path = raws->of[setting_find("config", 6)].value;
    if (rv != 0 || path == NULL)
        return rv;
    struct file_walk walk = {.raws = raws, .path = path};
    rv = config_file_read(path, file_setting, &walk, e);
    return rv == ERR_IO ? ERR_INVALID : rv;
}

/* --- understanding -------------------------------------------------------- */

static int text_take(char **field, const char *value, struct errmsg *e)
{
    *field = strdup(value);
    return *field == NULL ? errmsg_set(e, ERR_NOMEM, "out of memory") : 0;
}

static int address_take(char **field, const char *value, bool bind,
                        struct errmsg *e)
{
    struct address a;
    int rv = address_parse(value, bind ? -1 : PEER_PORT, bind, &a, e);
    if (rv != 0)
        return rv;
    char text[sizeof a.host + 16];
    address_format(&a, text, sizeof text);
    return text_take(field, text, e);
}

static int switch_take(bool *field, const char *value, struct errmsg *e)
{
    *field = strcmp(value, "true") == 0;
    if (!*field && strcmp(value, "false") != 0)
        return errmsg_set(e, ERR_INVALID, "\"%.32s\" is neither true nor false",
                          value);
    return 0;
}

static int seconds_take(uint64_t *field, const char *value, struct errmsg *e)
{
    int rv = duration_parse(value, field, e);
    if (rv == 0 && *field % 1000 != 0)
        rv = errmsg_set(e, ERR_INVALID, "\"%.32s\": whole seconds, please",
                        value);
    *field /= 1000;
    return rv;
}

static int level_take(enum log_level *field, const char *value,
                      struct errmsg *e)
{
    int level = log_level_parse(value);
    if (level < 0)
        return errmsg_set(e, ERR_INVALID,
                          "\"%.32s\" is none of debug, info, warn, error",
                          value);
    *field = (enum log_level)level;
    return 0;
}

static int format_take(enum log_format *field, const char *value,
                       struct errmsg *e)
{
    bool json = strcmp(value, "json") == 0;
    if (!json && strcmp(value, "text") != 0)
        return errmsg_set(e, ERR_INVALID, "\"%.32s\" is neither text nor json",
                          value);
    *field = json ? LOG_JSON : LOG_TEXT;
    return 0;
}

static int setting_take(struct node_config *c, const struct setting *s,
                        const char *value, struct errmsg *e)
{
    void *field = (char *)c + s->offset;
    switch (s->type) {
    case SECRET:
        if (value[0] == '\0')
            return errmsg_set(e, ERR_INVALID,
                              "an empty secret protects nothing; set one, or "
                              "leave it out and a random one is made");
        return text_take(field, value, e);
    case TEXT:
        return text_take(field, value, e);
    case BIND:
    case DIAL:
        return address_take(field, value, s->type == BIND, e);
    case MILLISECONDS:
        return duration_parse(value, field, e);
    case SECONDS:
        return seconds_take(field, value, e);
    case SIZE:
        return size_parse(value, field, e);
    case SWITCH:
        return switch_take(field, value, e);
    case LEVEL:
        return level_take(field, value, e);
    case FORMAT:
        return format_take(field, value, e);
    case CONFIG_FILE:
        break;
    }
    return 0;
}

static int take_all(struct node_config *c, const struct raws *raws,
                    struct errmsg *e)
{
    for (int i = 0; i < SETTINGS_COUNT; i++) {
        const struct raw *raw = &raws->of[i];
        const char *value =
            raw->value != NULL ? raw->value : settings[i].fallback;
        if (settings[i].name == NULL || value == NULL)
            continue;
        int rv = setting_take(c, &settings[i], value, e);
        if (rv != 0)
            return errmsg_wrap(e, rv, "%s", raw->origin);
    }
    return 0;
}

/* --- help and the whole --------------------------------------------------- */

enum { HELP_COLUMN = 28, HELP_WIDTH = 80 };

/* "  <left>  <text>", the text broken at spaces and kept in its column. */
static void help_line(const char *left, const char *text)
{
    printf("  %-*s", HELP_COLUMN - 2, left);
    while (*text != '\0') {
        size_t length = strlen(text), room = HELP_WIDTH - HELP_COLUMN;
        if (length > room) {
            length = room;
            while (length > 0 && text[length] != ' ')
                length--;
        }
        printf("%.*s\n", (int)length, text);
        text += length;
        text += strspn(text, " ");
        if (*text != '\0')
            printf("%*s", HELP_COLUMN, "");
    }
}

static void help_print(void)
{
    printf("holdfast-node: one node of the core for fleets of WireGuard "
           "gateways\n\nUsage: holdfast-node [--name value]...\n\n"
           "A flag wins over its variable (HOLDFAST_ and the name in capitals, "
           "with _),\nwhich wins over the file. Times: 500ms 30s 5m 24h. "
           "Sizes: 64KiB 10GiB.\n\n"
           "Try one node:  holdfast-node --data-dir /tmp/hf --grpc-bind "
           "127.0.0.1:50055 \\\n                   --http-bind "
           "127.0.0.1:8000\n");
    for (int i = 0; i < SETTINGS_COUNT; i++) {
        const struct setting *s = &settings[i];
        char left[64], text[256];
        if (s->name == NULL) {
            printf("\n%s\n", s->help);
            continue;
        }
        bool with_default = s->fallback != NULL && s->type != SWITCH;
        snprintf(left, sizeof left, "--%s %s", s->name,
                 s->argument != NULL ? s->argument : "");
        snprintf(text, sizeof text, "%s%s%s%s", s->help,
                 with_default ? " (default: " : "",
                 with_default ? s->fallback : "", with_default ? ")" : "");
        help_line(left, text);
    }
    help_line("--version", "print the version and exit");
    help_line("-h, --help", "print this and exit");
    printf("\nExit codes: 0 ok, 1 failure, 2 usage or configuration, 75 start "
           "me again.\n");
}

static bool asked_for(int argc, char **argv, const char *flag)
{
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], flag) == 0)
            return true;
    return false;
}

static int name_default(struct node_config *c, struct errmsg *e)
{
    if (c->name != NULL)
        return 0;
    char host[256];
    if (gethostname(host, sizeof host) != 0)
        return errmsg_set(e, ERR_IO, "--name: the host has no name; give one");
    host[sizeof host - 1] = '\0';
    return text_take(&c->name, host, e);
}

int node_config_read(struct node_config *c, int argc, char **argv,
                     struct errmsg *e)
{
    *c = (struct node_config){.log_format =
                                  isatty(STDERR_FILENO) ? LOG_TEXT : LOG_JSON};
    if (asked_for(argc, argv, "--help") || asked_for(argc, argv, "-h")) {
        help_print();
        return 1;
    }
    if (asked_for(argc, argv, "--version")) {
        printf("holdfast-node %s\n", HOLDFAST_VERSION);
        return 1;
    }
    struct raws *raws = calloc(1, sizeof *raws);
    if (raws == NULL)
        return errmsg_set(e, ERR_NOMEM, "out of memory");
    int rv = gather(raws, argc, argv, e);
    if (rv == 0)
        rv = take_all(c, raws, e);
    if (rv == 0)
        rv = name_default(c, e);
    if (rv == 0)
        rv = node_config_check(c, e);
    for (int i = 0; i < SETTINGS_COUNT; i++)
        free(raws->of[i].value);
    free(raws);
    if (rv != 0)
        node_config_deinit(c);
    return rv;
}

void node_config_deinit(struct node_config *c)
{
    for (int i = 0; i < SETTINGS_COUNT; i++) {
        const struct setting *s = &settings[i];
        if (s->name != NULL && (s->type == TEXT || s->type == SECRET ||
                                s->type == BIND || s->type == DIAL))
            free(*(char **)(void *)((char *)c + s->offset));
    }
    *c = (struct node_config){0};
}
