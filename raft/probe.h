/* Asks one peer port who is there, from a program that is no node: connects,
 * says hello on the probe channel and reads the answer. Blocking, bounded in
 * time. */
#pragma once

#include "raft/hello.h"

struct tls;

enum { PROBE_WAIT_MS_MAX = 3000 }; /* for each address, and for the hello */

enum probe_result {
    PROBE_NOBODY,   /* nothing listens there, or it cannot be reached */
    PROBE_ANSWERED, /* a node: @answer */
    PROBE_STRANGE,  /* something does, but says nothing that a node would say */
};

/* @address: host:port. @tls: with the certificates of a node; NULL: plain
 * text. @why: for people, when no node answered. */
enum probe_result probe_peer(const char *address, struct tls *tls,
                             struct hello_answer *answer, char why[160]);
