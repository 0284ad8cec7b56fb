/* The table of commands and flags: parsing, --help, completion and the man page
 * all come from it (arguments.c, help.c, completion.c, manpage.c), so that none
 * of them can say what is not there. Rows are in commands.c. */
#pragma once

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ctl;

/* Exit codes (CONTRACT: 0 done or healthy). */
enum { CTL_FAILED = 1, CTL_USAGE = 2 };

/* 0, CTL_FAILED when everything was said on stdout, or ERR_* with a message:
 * ERR_INVALID ends with CTL_USAGE, any other with CTL_FAILED. */
typedef int command_fn(struct ctl *c, struct errmsg *e);

enum flag_id {
    FLAG_ENDPOINTS,
    FLAG_TOKEN,
    FLAG_TOKEN_FILE,
    FLAG_CACERT,
    FLAG_TIMEOUT,
    FLAG_OUTPUT,
    FLAG_HELP,
    FLAG_VERSION,
    FLAG_GLOBAL_COUNT, /* those before it go with every command */
    FLAG_CLUSTER = FLAG_GLOBAL_COUNT,
    FLAG_UNDO,
    FLAG_YES,
    FLAG_WAIT,
    FLAG_ADDRESS,
    FLAG_VPN_HOST,
    FLAG_VPN_PORT,
    FLAG_ALLOWED_IPS,
    FLAG_DNS,
    FLAG_KEEPALIVE,
    FLAG_DISCONNECT_AFTER,
    FLAG_ACCEPT_UNKNOWN,
    FLAG_USER,
    FLAG_LOCATION,
    FLAG_DESCRIPTION,
    FLAG_BY,
    FLAG_FROM,
    FLAG_TO,
    FLAG_LIMIT,
    FLAG_EXPECT,
    FLAG_SECONDS,
    FLAG_DATA_DIR,
    FLAG_MEMBER,
    FLAG_INSPECT,
    FLAG_FORCE_NEW_CLUSTER,
    FLAG_FROM_RAW,
    FLAG_TO_DIR,
    FLAG_BASE,
    FLAG_FORMAT,
    FLAG_PEER_TLS_CA,
    FLAG_PEER_TLS_CERT,
    FLAG_PEER_TLS_KEY,
    FLAG_COUNT,
};

struct flag {
    const char *name;     /* without the dashes */
    const char *value;    /* placeholder, NULL: a switch */
    const char *fallback; /* or NULL */
    const char *variable; /* of the environment, or NULL */
    const char *help;
    char letter; /* or 0 */
};
extern const struct flag flags[FLAG_COUNT];

struct command {
    const char *noun, *verb; /* verb NULL: the noun alone */
    const char *arguments;   /* "NAME [FILE]", or "" */
    unsigned arguments_min, arguments_max;
    uint64_t flags;      /* bits 1 << enum flag_id, beside the global ones */
    const char *summary; /* one line, at most 50 characters */
    const char *about;   /* sentences for --help and the man page */
    const char *example; /* after "holdfastctl " */
    command_fn *run;
};
extern const struct command commands[];
extern const size_t command_count;

/* What a noun is about, for the top help; in the order of the table. */
struct noun {
    const char *name, *summary;
};
extern const struct noun nouns[];
extern const size_t noun_count;

static inline bool command_takes(const struct command *c, enum flag_id flag)
{
    return flag < FLAG_GLOBAL_COUNT || (c->flags >> flag & 1) != 0;
}
