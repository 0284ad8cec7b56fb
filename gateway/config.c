#include "gateway/config.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum setting_id {
    SETTING_TOKEN,
    SETTING_GRPC_URL,
    SETTING_GRPC_CA,
    SETTING_TLS_CERT,
    SETTING_TLS_KEY,
    SETTING_STATS_PERIOD,
    SETTING_IFNAME,
    SETTING_USERSPACE,
    SETTING_NAME,
    SETTING_GATEWAY_ID,
    SETTING_OBSERVE,
    SETTING_PRINT_BASELINE,
    SETTING_SPOOL_DIR,
    SETTING_SPOOL_BYTES,
    SETTING_LOG_LEVEL,
    SETTING_COUNT,
};

static const struct setting {
    const char *flag;
    const char *defguard; /* the variable of defguard's gateway, or NULL */
    const char *fallback; /* or NULL */
    const char *help;
    char letter;    /* or 0 */
    bool is_switch; /* takes no value; in the environment "true" or 1 */
} settings[SETTING_COUNT] = {
    [SETTING_TOKEN] = {"token", "DEFGUARD_TOKEN", NULL,
                       "the location's gateway token; ps shows it: better the "
                       "variable",
                       't', false},
    [SETTING_GRPC_URL] = {"grpc-url", "DEFGUARD_GRPC_URL", NULL,
                          "core nodes: https://host:port (or http:// without "
                          "TLS), comma-separated",
                          'g', false},
    [SETTING_GRPC_CA] = {"grpc-ca", "DEFGUARD_GRPC_CA", NULL,
                         "CA of the nodes' certificates, PEM (default: those "
                         "the system trusts)",
                         0, false},
    [SETTING_TLS_CERT] = {"tls-cert", NULL, NULL,
                          "own certificate, PEM, where nodes ask for one", 0,
                          false},
    [SETTING_TLS_KEY] = {"tls-key", NULL, NULL, "its private key, PEM", 0,
                         false},
    [SETTING_STATS_PERIOD] = {"stats-period", "DEFGUARD_STATS_PERIOD", "30",
                              "seconds between reports; fractions allowed", 'p',
                              false},
    [SETTING_IFNAME] = {"ifname", "DEFGUARD_IFNAME", "wg0",
                        "the WireGuard interface", 'i', false},
    [SETTING_USERSPACE] = {"userspace", "DEFGUARD_USERSPACE", NULL,
                           "a userspace WireGuard (wireguard-go)", 'u', true},
    [SETTING_NAME] = {"name", "DEFGUARD_GATEWAY_NAME", NULL,
                      "this gateway's name (default: the hostname)", 0, false},
    [SETTING_GATEWAY_ID] = {"gateway-id", NULL, NULL,
                            "persistent identity (default: <name>/<ifname>)", 0,
                            false},
    [SETTING_OBSERVE] = {"observe", NULL, NULL,
                         "only read an interface that others manage", 0, true},
    [SETTING_PRINT_BASELINE] = {"print-baseline", NULL, NULL,
                                "print the first counters as JSON lines", 0,
                                true},
    [SETTING_SPOOL_DIR] = {"spool-dir", NULL, NULL,
                           "keep unacknowledged reports in this directory "
                           "(default: in memory)",
                           0, false},
    [SETTING_SPOOL_BYTES] = {"spool-bytes", NULL, "64MiB",
                             "how much of them is kept, 1MiB to 4GiB", 0,
                             false},
    [SETTING_LOG_LEVEL] = {"log-level", "DEFGUARD_LOG_LEVEL", "info",
                           "debug, info, warn or error", 'l', false},
};

#define SPOOL_BYTES_LEAST ((uint64_t)1 << 20)
#define SPOOL_BYTES_LIMIT ((uint64_t)4 << 30)

enum { OPTION_HELP = 'h', OPTION_VERSION = 1000 };

static void print_help(void)
{
    printf("usage: DEFGUARD_TOKEN=TOKEN holdfast-gateway --observe --userspace "
           "--grpc-url URL[,URL…]\n\n"
           "Reports what each peer of a WireGuard interface moved to a "
           "Holdfast cluster.\n\n");
    for (size_t i = 0; i < SETTING_COUNT; i++) {
        const struct setting *s = &settings[i];
        char name[64];
        snprintf(name, sizeof name, "%c%c%s --%s", s->letter != 0 ? '-' : ' ',
                 s->letter != 0 ? s->letter : ' ', s->letter != 0 ? "," : " ",
                 s->flag);
        printf("  %-22s %s", name, s->help);
        if (s->fallback != NULL)
            printf(" (%s)", s->fallback);
        printf(s->defguard != NULL ? " [%s]\n" : "\n", s->defguard);
    }
    printf("  -h, --help; --version\n\n"
           "Every flag is also read from HOLDFAST_<FLAG>, in capitals.\n");
}

/* --- collecting ----------------------------------------------------------- */

static void build_options(struct option *options, char *letters)
{
    size_t n = 0;
    for (size_t i = 0; i < SETTING_COUNT; i++) {
        const struct setting *s = &settings[i];
        options[i] = (struct option){
            s->flag, s->is_switch ? no_argument : required_argument, NULL,
            s->letter != 0 ? s->letter : (int)(2000 + i)};
        if (s->letter == 0)
            continue;
        letters[n++] = s->letter;
        if (!s->is_switch)
            letters[n++] = ':';
    }
    letters[n++] = OPTION_HELP;
    letters[n] = '\0';
    options[SETTING_COUNT] =
        (struct option){"help", no_argument, NULL, OPTION_HELP};
    options[SETTING_COUNT + 1] =
        (struct option){"version", no_argument, NULL, OPTION_VERSION};
    options[SETTING_COUNT + 2] = (struct option){NULL, 0, NULL, 0};
}

static int setting_of(int option)
{
    if (option >= 2000)
        return option - 2000;
    for (int i = 0; i < SETTING_COUNT; i++)
        if (settings[i].letter == option)
            return i;
    return -1;
}

static int read_flags(int argc, char **argv, const char **values,
                      struct errmsg *e)
{
    struct option options[SETTING_COUNT + 3];
    char letters[2 * SETTING_COUNT + 2];
    build_options(options, letters);
    opterr = 0;
    optind = 1;
    for (;;) {
        int at = optind;
        int option = getopt_long(argc, argv, letters, options, NULL);
        if (option == -1)
            break;
        if (option == OPTION_HELP) {
            print_help();
            return 1;
        }
        if (option == OPTION_VERSION) {
            printf("holdfast-gateway %s\n", HOLDFAST_VERSION);
            return 1;
        }
        int i = setting_of(option);
        if (i < 0)
            return errmsg_set(e, ERR_INVALID,
                              "%s: no such flag, or its value is missing; "
                              "see --help",
                              argv[at]);
        values[i] = settings[i].is_switch ? "true" : optarg;
    }
    if (optind < argc)
        return errmsg_set(e, ERR_INVALID, "%s: no argument is expected here",
                          argv[optind]);
    return 0;
}

static void read_environment(const char **values)
{
    for (size_t i = 0; i < SETTING_COUNT; i++) {
        char name[64];
        snprintf(name, sizeof name, "HOLDFAST_%s", settings[i].flag);
        for (char *c = name; *c != '\0'; c++) {
            if (*c == '-')
                *c = '_';
            else if (*c >= 'a' && *c <= 'z')
                *c = (char)(*c - 'a' + 'A');
        }
        const char *value = getenv(name);
        if ((value == NULL || *value == '\0') && settings[i].defguard != NULL)
            value = getenv(settings[i].defguard);
        values[i] =
            value == NULL || *value == '\0' ? settings[i].fallback : value;
    }
}

/* --- checking ------------------------------------------------------------- */

static bool is_set(const char *value)
{
    return value != NULL &&
           (strcmp(value, "true") == 0 || strcmp(value, "1") == 0);
}

static int take_period(struct gateway_config *c, const char *text,
                       struct errmsg *e)
{
    char *end = NULL;
    errno = 0;
    double seconds = strtod(text, &end);
    if (errno != 0 || end == text || *end != '\0' || !(seconds >= 0.1) ||
        !(seconds <= 3600))
        return errmsg_set(e, ERR_INVALID,
                          "--stats-period %s: seconds from 0.1 to 3600 are "
                          "wanted",
                          text);
    c->stats_period_ms = (uint64_t)(seconds * 1000 + 0.5);
    return 0;
}

static int take_spool(struct gateway_config *c, const char *const *values,
                      struct errmsg *e)
{
    static const struct {
        const char *suffix;
        uint64_t factor;
    } units[] = {{"", 1}, {"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}};
    const char *text = values[SETTING_SPOOL_BYTES];
    char *suffix = NULL;
    errno = 0;
    unsigned long long number = strtoull(text, &suffix, 10);
    c->spool_dir = values[SETTING_SPOOL_DIR];
    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        if (errno == 0 && *text >= '0' && *text <= '9' &&
            strcmp(suffix, units[i].suffix) == 0 &&
            number <= SPOOL_BYTES_LIMIT / units[i].factor)
            c->spool_bytes = number * units[i].factor;
    if (c->spool_bytes < SPOOL_BYTES_LEAST)
        return errmsg_set(e, ERR_INVALID,
                          "--spool-bytes %s: 1MiB to 4GiB is wanted", text);
    return 0;
}

/* "https://host:port" to "host:port", in place. */
static int take_node(struct gateway_config *c, char *url, struct errmsg *e)
{
    static const char plain[] = "http://", secure[] = "https://";
    bool tls = strncmp(url, secure, sizeof secure - 1) == 0;
    if (tls)
        url += sizeof secure - 1;
    else if (strncmp(url, plain, sizeof plain - 1) == 0)
        url += sizeof plain - 1;
    size_t length = strlen(url);
    if (length > 0 && url[length - 1] == '/')
        url[--length] = '\0';
    const char *colon = strrchr(url, ':');
    if (colon == NULL || colon == url || colon[1] == '\0' ||
        strspn(colon + 1, "0123456789") != strlen(colon + 1) ||
        strtoul(colon + 1, NULL, 10) > 65535 || strchr(url, '/') != NULL)
        return errmsg_set(
            e, ERR_INVALID,
            "--grpc-url %s: https://host:port or http://host:port "
            "is wanted",
            url);
    if (c->node_count == REPORTER_NODES_MAX)
        return errmsg_set(e, ERR_INVALID, "--grpc-url: more than %d nodes",
                          REPORTER_NODES_MAX);
    c->nodes[c->node_count++] = (struct reporter_node){url, tls};
    return 0;
}

/* Certificates that nothing would use are a mistake: somebody believes to be
 * protected. */
static int take_tls(struct gateway_config *c, const char *const *values,
                    struct errmsg *e)
{
    bool any = false;
    c->tls = (struct reporter_tls){.ca = values[SETTING_GRPC_CA],
                                   .cert = values[SETTING_TLS_CERT],
                                   .key = values[SETTING_TLS_KEY]};
    for (size_t i = 0; i < c->node_count; i++)
        any = any || c->nodes[i].tls;
    if ((c->tls.cert == NULL) != (c->tls.key == NULL))
        return errmsg_set(e, ERR_INVALID,
                          "--tls-cert and --tls-key go together");
    if (!any && (c->tls.ca != NULL || c->tls.cert != NULL))
        return errmsg_set(e, ERR_INVALID,
                          "--%s: no node of --grpc-url is reached over TLS: "
                          "write https://",
                          c->tls.ca != NULL ? "grpc-ca" : "tls-cert");
    return 0;
}

static int take_nodes(struct gateway_config *c, const char *list,
                      struct errmsg *e)
{
    c->node_list = strdup(list);
    if (c->node_list == NULL)
        return errmsg_set(e, ERR_NOMEM, "out of memory");
    char *rest = c->node_list, *url;
    int rv = 0;
    while (rv == 0 && (url = strtok_r(rest, ", ", &rest)) != NULL)
        rv = take_node(c, url, e);
    if (rv == 0 && c->node_count == 0)
        rv = errmsg_set(e, ERR_INVALID, "--grpc-url is empty");
    return rv;
}

/* What travels as gRPC metadata must be visible ASCII. */
static int check_header(const char *flag, const char *value, size_t length_max,
                        struct errmsg *e)
{
    size_t length = strlen(value);
    if (length == 0 || length > length_max)
        return errmsg_set(e, ERR_INVALID, "%s: 1 to %zu characters are wanted",
                          flag, length_max);
    for (size_t i = 0; i < length; i++)
        if (value[i] <= ' ' || value[i] > '~')
            return errmsg_set(e, ERR_INVALID,
                              "%s: visible ASCII characters are wanted", flag);
    return 0;
}

/* The identity holds the interface's name, so that two agents on one host are
 * two gateways. */
static int take_identity(struct gateway_config *c, const char *const *values,
                         struct errmsg *e)
{
    const char *name = values[SETTING_NAME], *id = values[SETTING_GATEWAY_ID];
    if (gethostname(c->hostname, sizeof c->hostname - 1) != 0 ||
        c->hostname[0] == '\0')
        return errmsg_set(e, ERR_INVALID, "this host has no name");
    int n = id != NULL ? snprintf(c->gateway_id, sizeof c->gateway_id, "%s", id)
                       : snprintf(c->gateway_id, sizeof c->gateway_id, "%s/%s",
                                  name != NULL ? name : c->hostname, c->ifname);
    if (n < 0 || (size_t)n >= sizeof c->gateway_id)
        return errmsg_set(e, ERR_INVALID,
                          "--gateway-id: at most %d characters are wanted",
                          GATEWAY_ID_LENGTH_MAX);
    int rv =
        check_header("the hostname", c->hostname, GATEWAY_ID_LENGTH_MAX, e);
    if (rv == 0)
        rv = check_header("--gateway-id (or --name)", c->gateway_id,
                          GATEWAY_ID_LENGTH_MAX, e);
    return rv;
}

static int check_mode(const char *const *values, struct errmsg *e)
{
    if (!is_set(values[SETTING_OBSERVE]))
        return errmsg_set(e, ERR_INVALID,
                          "--observe is required: applying the core's "
                          "configuration to an interface is not there yet");
    if (!is_set(values[SETTING_USERSPACE]))
        return errmsg_set(e, ERR_INVALID,
                          "--userspace is required: the kernel's interfaces "
                          "cannot be read yet");
    return 0;
}

int gateway_config_read(struct gateway_config *c, int argc, char **argv,
                        struct errmsg *e)
{
    const char *values[SETTING_COUNT];
    *c = (struct gateway_config){0};
    read_environment(values);
    int rv = read_flags(argc, argv, values, e);
    if (rv != 0)
        return rv;
    rv = check_mode(values, e);
    if (rv != 0)
        return rv;
    if (values[SETTING_TOKEN] == NULL || values[SETTING_GRPC_URL] == NULL)
        return errmsg_set(e, ERR_INVALID, "--token and --grpc-url are needed");
    c->token = values[SETTING_TOKEN];
    c->ifname = values[SETTING_IFNAME];
    c->print_baseline = is_set(values[SETTING_PRINT_BASELINE]);
    int level = log_level_parse(values[SETTING_LOG_LEVEL]);
    if (level < 0)
        return errmsg_set(e, ERR_INVALID,
                          "--log-level %s: debug, info, warn or error is "
                          "wanted",
                          values[SETTING_LOG_LEVEL]);
    c->log_level = (enum log_level)level;
    if (c->ifname[0] == '\0' || strlen(c->ifname) > IFNAME_LENGTH_MAX ||
        strchr(c->ifname, '/') != NULL)
        return errmsg_set(e, ERR_INVALID,
                          "--ifname %s: an interface name is wanted",
                          c->ifname);
    rv = check_header("--token", c->token, 8192, e);
    if (rv == 0)
        rv = take_period(c, values[SETTING_STATS_PERIOD], e);
    if (rv == 0)
        rv = take_spool(c, values, e);
    if (rv == 0)
        rv = take_identity(c, values, e);
    if (rv == 0)
        rv = take_nodes(c, values[SETTING_GRPC_URL], e);
    if (rv == 0)
        rv = take_tls(c, values, e);
    return rv;
}

void gateway_config_deinit(struct gateway_config *c)
{
    free(c->node_list);
    c->node_list = NULL;
    c->node_count = 0;
}
