/* Made-up interfaces for the tests of sampler and session: peers are letters.
 */
#pragma once

#include "gateway/uapi.h"

#include <assert.h>
#include <stdlib.h>

struct made_peer {
    char name;
    uint64_t upload, download;
};

/* An interface of life number @life with these peers, ended by name 0. */
static inline struct wg_interface make_interface(unsigned life,
                                                 const struct made_peer *peers)
{
    struct wg_interface i = {.identity = {.inode = life, .listener = 1}};
    while (peers[i.peer_count].name != 0)
        i.peer_count++;
    i.peers = calloc(i.peer_count + 1, sizeof *i.peers);
    assert(i.peers != NULL);
    for (size_t k = 0; k < i.peer_count; k++) {
        i.peers[k].public_key[0] = (uint8_t)peers[k].name;
        i.peers[k].upload = peers[k].upload;
        i.peers[k].download = peers[k].download;
    }
    return i;
}

#define PEERS(...) ((const struct made_peer[]){__VA_ARGS__, {0, 0, 0}})
