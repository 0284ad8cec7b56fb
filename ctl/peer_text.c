#include "ctl/peer_text.h"

#include "ctl/text.h"

int peer_parse(const char *text, const char *what, struct repl_peer *out,
               struct errmsg *e)
{
    const char *equals = strchr(text, '=');
    const char *colon = strrchr(text, ':');
    size_t length = equals != NULL ? (size_t)(equals - text) : 0;
    uint64_t port;
    if (length == 0 || length > NODE_NAME_LENGTH_MAX || colon == NULL ||
        colon <= equals + 1 || strlen(equals + 1) > PEER_ADDRESS_LENGTH_MAX ||
        !number_parse(colon + 1, 65535, &port) || port == 0)
        return errmsg_set(e, ERR_INVALID,
                          "%s%s: NAME=HOST:PORT is wanted, such as "
                          "d=d.example:7600",
                          what, text);
    snprintf(out->name, sizeof out->name, "%.*s", (int)length, text);
    snprintf(out->address, sizeof out->address, "%s", equals + 1);
    return 0;
}
