/* The first bytes on every connection of the peer port, before any other
 * decoder sees one: the dialer says who it is, which channel it wants and whom
 * it expects; the acceptor answers who it is and whether it agrees. Both are of
 * fixed size. Bytes: docs/format.md, "Peer hello". Pure codec, no thread. */
#pragma once

#include "base/bytes.h"
#include "raft/member_address.h"

enum {
    HELLO_VERSION = 2,
    HELLO_MAGIC_SIZE = 8,
    HELLO_SIZE = 400,
    HELLO_ANSWER_SIZE = 568,
    HELLO_TEXT_LENGTH_MAX = 127,
    HELLO_TIMEOUT_MS = 5000,
};

enum hello_channel {
    HELLO_RAFT = 1, /* libraft's messages, from the dialer to the acceptor */
    HELLO_FORWARD,  /* raft/frame.h, both ways */
    HELLO_PROBE,    /* the answer is all: who is there, and is it empty? */
    HELLO_BULK,     /* copies of the store */
    HELLO_JOIN,     /* a knock; the answer is all, as for a probe */
};

/* Nothing follows the answer on such a connection. */
static inline bool hello_ends_with_answer(enum hello_channel channel)
{
    return channel == HELLO_PROBE || channel == HELLO_JOIN;
}

struct hello {
    uint32_t version;
    enum hello_channel channel;
    uint8_t cluster_id[CLUSTER_ID_SIZE]; /* zero: not bootstrapped */
    uint64_t raft_id;                    /* of the dialer */
    uint64_t target_id;                  /* who should be there; 0 = anybody */
    char name[NODE_NAME_LENGTH_MAX + 1];
    char address[PEER_ADDRESS_LENGTH_MAX + 1]; /* "": a probe of a tool */
    uint32_t level; /* newest feature level that it speaks */
    /* Log index of the newest configuration that it has: a member that its
     * peer has not heard of yet is told from one that was removed. */
    uint64_t configuration_index;
};

enum hello_code {
    HELLO_OK = 0,
    HELLO_BAD_VERSION, /* the text says which one is spoken here */
    HELLO_FOREIGN,     /* another cluster */
    HELLO_STRANGER,    /* raft id is not a member */
    HELLO_NOT_ME,      /* target id is not this node's */
    HELLO_NOT_READY,   /* not bootstrapped, or cannot know the dialer yet */
    HELLO_BAD_CHANNEL,
    HELLO_TOO_OLD,  /* the cluster has agreed on a newer feature level */
    HELLO_UNPROVEN, /* the certificate does not name who it says it is */
};

struct hello_answer {
    uint32_t version;
    enum hello_code code;
    uint8_t cluster_id[CLUSTER_ID_SIZE];
    uint64_t raft_id; /* of the acceptor */
    bool empty;       /* not bootstrapped, nothing in the log */
    bool leads;       /* the acceptor is the leader, as far as it knows */
    bool member;      /* the dialer's raft id is in its configuration */
    uint32_t level;   /* newest feature level that the acceptor speaks */
    char name[NODE_NAME_LENGTH_MAX + 1];
    char leader[MEMBER_ADDRESS_LENGTH_MAX + 1]; /* raft/member_address.h; "":
                                                   unknown */
    char text[HELLO_TEXT_LENGTH_MAX + 1];
};

void hello_encode(const struct hello *hello, uint8_t out[HELLO_SIZE]);
void hello_answer_encode(const struct hello_answer *answer,
                         uint8_t out[HELLO_ANSWER_SIZE]);

/* Given what has come so far: 1 and the hello, 0 when more must come,
 * ERR_CORRUPT as soon as it cannot become one. A version other than ours is
 * decoded as far as its number (the rest is zero). */
NODISCARD int hello_decode(struct bytes in, struct hello *out,
                           struct errmsg *e);
NODISCARD int hello_answer_decode(struct bytes in, struct hello_answer *out,
                                  struct errmsg *e);
