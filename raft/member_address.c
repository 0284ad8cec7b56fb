#include "raft/member_address.h"

#include <stdio.h>
#include <string.h>

void member_address_join(const char *name, const char *address, char *out)
{
    snprintf(out, MEMBER_ADDRESS_LENGTH_MAX + 1, "%.*s=%.*s",
             NODE_NAME_LENGTH_MAX, name, PEER_ADDRESS_LENGTH_MAX, address);
}

const char *member_address_dial(const char *text)
{
    const char *equals = strchr(text, '=');
    return equals != NULL ? equals + 1 : text;
}

int member_address_split(const char *text, struct repl_peer *out)
{
    *out = (struct repl_peer){0};
    const char *address = member_address_dial(text);
    size_t name = address == text ? 0 : (size_t)(address - text) - 1;
    size_t length = strlen(address);
    if (name >= sizeof out->name || length >= sizeof out->address)
        return ERR_INVALID;
    memcpy(out->name, text, name);
    memcpy(out->address, address, length + 1);
    return 0;
}
