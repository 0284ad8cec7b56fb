#include "raft/hello.h"

#include <stdio.h>

static const uint8_t HELLO_MAGIC[HELLO_MAGIC_SIZE] = {'H', 'F', 'p', 'e',
                                                      'e', 'r', 0,   1};
static const uint8_t ANSWER_MAGIC[HELLO_MAGIC_SIZE] = {'H', 'F', 'p', 'e',
                                                       'e', 'r', 1,   1};

enum {
    NAME_SIZE = NODE_NAME_LENGTH_MAX + 1,
    ADDRESS_SIZE = 272,
    LEADER_SIZE = 328,
    TEXT_SIZE = HELLO_TEXT_LENGTH_MAX + 1,
    NAME_AT = 48,
    ADDRESS_AT = NAME_AT + NAME_SIZE,
    LEVEL_AT = ADDRESS_AT + ADDRESS_SIZE,
    LEADER_AT = NAME_AT + NAME_SIZE,
    TEXT_AT = LEADER_AT + LEADER_SIZE,
    FLAG_EMPTY = 1,
    FLAG_LEADS = 2,
    FLAG_MEMBER = 4,
    FLAGS_ALL = 7,
};

_Static_assert(ADDRESS_SIZE - PEER_ADDRESS_LENGTH_MAX > 0, "an address fits");
_Static_assert(LEADER_SIZE - MEMBER_ADDRESS_LENGTH_MAX > 0, "a leader fits");
_Static_assert(HELLO_SIZE == LEVEL_AT + 16, "hello layout");
_Static_assert(HELLO_ANSWER_SIZE == TEXT_AT + TEXT_SIZE, "answer layout");

/* Text in a field that is padded with zeros; at least one zero ends it. */
static void put_text(uint8_t *out, size_t size, const char *text)
{
    size_t length = strnlen(text, size - 1);
    memcpy(out, text, length);
    memset(out + length, 0, size - length);
}

static bool get_text(const uint8_t *in, size_t size, char *out, size_t room)
{
    size_t length = strnlen((const char *)in, size);
    if (length >= size || length >= room ||
        !bytes_are_text((struct bytes){in, length}))
        return false;
    for (size_t i = length; i < size; i++)
        if (in[i] != 0)
            return false;
    memcpy(out, in, length);
    out[length] = '\0';
    return true;
}

/* Names and addresses end up in libraft's configuration ("name=host:port"), in
 * logs and in commands that operators copy: only what --name takes, and what a
 * host:port is made of. */
static bool is_made_of(const char *text, const char *extra)
{
    for (const char *c = text; *c != '\0'; c++)
        if (!(*c >= 'a' && *c <= 'z') && !(*c >= 'A' && *c <= 'Z') &&
            !(*c >= '0' && *c <= '9') && strchr(extra, *c) == NULL)
            return false;
    return true;
}

static bool get_name(const uint8_t *in, char *out, size_t room)
{
    return get_text(in, NAME_SIZE, out, room) && is_made_of(out, "-_.");
}

void hello_encode(const struct hello *hello, uint8_t out[HELLO_SIZE])
{
    memcpy(out, HELLO_MAGIC, HELLO_MAGIC_SIZE);
    le32_put(out + 8, HELLO_VERSION);
    le32_put(out + 12, (uint32_t)hello->channel);
    memcpy(out + 16, hello->cluster_id, CLUSTER_ID_SIZE);
    le64_put(out + 32, hello->raft_id);
    le64_put(out + 40, hello->target_id);
    put_text(out + NAME_AT, NAME_SIZE, hello->name);
    put_text(out + ADDRESS_AT, ADDRESS_SIZE, hello->address);
    le32_put(out + LEVEL_AT, hello->level);
    le32_put(out + LEVEL_AT + 4, 0);
    le64_put(out + LEVEL_AT + 8, hello->configuration_index);
}

void hello_answer_encode(const struct hello_answer *answer,
                         uint8_t out[HELLO_ANSWER_SIZE])
{
    memcpy(out, ANSWER_MAGIC, HELLO_MAGIC_SIZE);
    le32_put(out + 8, HELLO_VERSION);
    le32_put(out + 12, (uint32_t)answer->code);
    memcpy(out + 16, answer->cluster_id, CLUSTER_ID_SIZE);
    le64_put(out + 32, answer->raft_id);
    le32_put(out + 40, (answer->empty ? FLAG_EMPTY : 0u) |
                           (answer->leads ? FLAG_LEADS : 0u) |
                           (answer->member ? FLAG_MEMBER : 0u));
    le32_put(out + 44, answer->level);
    put_text(out + NAME_AT, NAME_SIZE, answer->name);
    put_text(out + LEADER_AT, LEADER_SIZE, answer->leader);
    put_text(out + TEXT_AT, TEXT_SIZE, answer->text);
}

/* 1: the magic is there and, if it is ours, so is everything. */
static int check_start(struct bytes in, const uint8_t *magic, size_t size,
                       uint32_t *version, struct errmsg *e)
{
    size_t known = in.size < HELLO_MAGIC_SIZE ? in.size : HELLO_MAGIC_SIZE;
    if (known > 0 && memcmp(in.data, magic, known) != 0)
        return errmsg_set(e, ERR_CORRUPT, "not a Holdfast peer: wrong magic");
    if (in.size < HELLO_MAGIC_SIZE + 4)
        return 0;
    *version = le32_get(in.data + HELLO_MAGIC_SIZE);
    if (*version != HELLO_VERSION)
        return 1;
    if (in.size < size)
        return 0;
    if (in.size > size)
        return errmsg_set(e, ERR_CORRUPT, "%zu bytes after the hello",
                          in.size - size);
    return 1;
}

int hello_decode(struct bytes in, struct hello *out, struct errmsg *e)
{
    *out = (struct hello){0};
    int rv = check_start(in, HELLO_MAGIC, HELLO_SIZE, &out->version, e);
    if (rv != 1 || out->version != HELLO_VERSION)
        return rv;
    uint32_t channel = le32_get(in.data + 12);
    if (channel < HELLO_RAFT || channel > HELLO_JOIN)
        return errmsg_set(e, ERR_CORRUPT, "hello: channel %u", channel);
    out->channel = (enum hello_channel)channel;
    memcpy(out->cluster_id, in.data + 16, CLUSTER_ID_SIZE);
    out->raft_id = le64_get(in.data + 32);
    out->target_id = le64_get(in.data + 40);
    out->level = le32_get(in.data + LEVEL_AT);
    out->configuration_index = le64_get(in.data + LEVEL_AT + 8);
    if (out->raft_id == 0 || out->level == 0 ||
        le32_get(in.data + LEVEL_AT + 4) != 0 ||
        !get_name(in.data + NAME_AT, out->name, sizeof out->name) ||
        !get_text(in.data + ADDRESS_AT, ADDRESS_SIZE, out->address,
                  sizeof out->address) ||
        !is_made_of(out->address, "-_.:[]%") ||
        (out->address[0] == '\0' && out->channel != HELLO_PROBE))
        return errmsg_set(e, ERR_CORRUPT, "hello: id, name, address or level");
    return 1;
}

int hello_answer_decode(struct bytes in, struct hello_answer *out,
                        struct errmsg *e)
{
    *out = (struct hello_answer){0};
    int rv = check_start(in, ANSWER_MAGIC, HELLO_ANSWER_SIZE, &out->version, e);
    if (rv != 1 || out->version != HELLO_VERSION)
        return rv;
    uint32_t code = le32_get(in.data + 12);
    uint32_t flags = le32_get(in.data + 40);
    if (code > HELLO_UNPROVEN || flags > FLAGS_ALL)
        return errmsg_set(e, ERR_CORRUPT, "hello answer: code %u, flags %u",
                          code, flags);
    out->code = (enum hello_code)code;
    memcpy(out->cluster_id, in.data + 16, CLUSTER_ID_SIZE);
    out->raft_id = le64_get(in.data + 32);
    out->empty = (flags & FLAG_EMPTY) != 0;
    out->leads = (flags & FLAG_LEADS) != 0;
    out->member = (flags & FLAG_MEMBER) != 0;
    out->level = le32_get(in.data + 44);
    if (out->raft_id == 0 ||
        !get_name(in.data + NAME_AT, out->name, sizeof out->name) ||
        !get_text(in.data + LEADER_AT, LEADER_SIZE, out->leader,
                  sizeof out->leader) ||
        !get_text(in.data + TEXT_AT, TEXT_SIZE, out->text, sizeof out->text))
        return errmsg_set(e, ERR_CORRUPT,
                          "hello answer: id, name, leader or text");
    return 1;
}
