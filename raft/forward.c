#include "raft/forward.h"

#include "base/assert.h"
#include "base/clock.h"
#include "raft/repl.h"

#include <stdio.h>
#include <stdlib.h>

/* From one peer: it submits, we answer. */
struct in_link {
    struct link link;
    struct repl *repl;
    struct in_link *next;
    uint64_t peer_id;
    size_t orders, order_bytes; /* under way */
    bool paused;
};

/* A forwarded record on its way through the log. */
struct order {
    struct errand errand; /* back to the loop */
    struct submission submission;
    struct in_link *from; /* lives until its last order is answered */
    uint64_t request;
    int status;
    uint8_t record[];
};

static void dial_peer(struct out_link *out);

/* --- to the peers --------------------------------------------------------- */

static void end_sent(struct out_link *out)
{
    struct submission *s;
    while ((s = queue_pop(&out->sent)) != NULL)
        submit_end(out->repl, s, ERR_UNKNOWN);
    changes_link_closed(out->repl, out->peer_id);
}

static void on_out_closed(struct link *link, const char *why)
{
    struct out_link *out = CONTAINER_OF(link, struct out_link, link);
    (void)why;
    out->failures++;
    out->retry_ms = clock_mono_ms() + backoff_ms(out->failures);
    out->rtt_us = 0;
    end_sent(out);
    leader_gone_link_broke(out->repl, out->peer_id);
}

static int on_result(struct out_link *out, const struct frame *frame)
{
    /* Answers come nearly in the order of the questions. */
    struct submission *before = NULL;
    for (struct submission *s = out->sent.first; s != NULL; s = s->next) {
        if (s->id != frame->id) {
            before = s;
            continue;
        }
        if (before == NULL) {
            (void)queue_pop(&out->sent);
        } else {
            before->next = s->next;
            if (out->sent.last == s)
                out->sent.last = before;
            out->sent.count--;
            out->sent.bytes -= s->record.size;
        }
        s->outcome = frame->outcome;
        if (frame->status == ERR_AGAIN) {
            out->again_ms = clock_mono_ms() + FORWARD_AGAIN_MS;
            submit_return(out->repl, s);
        } else {
            submit_end(out->repl, s, frame->status);
        }
        return 0;
    }
    return ERR_CORRUPT;
}

static void on_pong(struct out_link *out, const struct frame *frame)
{
    uint64_t now_ns = clock_mono_ns();
    if (frame->mono_ns > now_ns)
        return;
    uint64_t rtt_ns = now_ns - frame->mono_ns;
    out->rtt_us = rtt_ns / 1000 + 1;
    peer_clock_measure(&out->clock, frame->wall_ms, rtt_ns, now_ns / 1000000);
}

static int on_out_frame(struct link *link, const struct frame *frame)
{
    struct out_link *out = CONTAINER_OF(link, struct out_link, link);
    out->silent_beats = 0;
    switch (frame->type) {
    case FRAME_RESULT:
        return on_result(out, frame);
    case FRAME_PONG:
        on_pong(out, frame);
        return 0;
    case FRAME_CHANGED:
        return changes_answered(out->repl, out->peer_id, frame);
    case FRAME_SUBMIT:
    case FRAME_PING:
    case FRAME_FACTS:
    case FRAME_GONE:
    case FRAME_CHANGE:
        break;
    }
    return ERR_CORRUPT;
}

static void ping(struct out_link *out, uint64_t now_ms)
{
    struct frame frame = {.type = FRAME_PING,
                          .mono_ns = clock_mono_ns(),
                          .wall_ms = clock_wall_ms()};
    link_put(&out->link, &frame);
    frame.type = FRAME_FACTS;
    status_facts(out->repl, now_ms, &frame.facts);
    link_put(&out->link, &frame);
    out->pinged_ms = now_ms;
}

static void on_dialed(void *arg, uv_stream_t *stream,
                      const struct hello_answer *answer, const char *why)
{
    struct out_link *out = arg;
    out->dial = NULL;
    uint64_t now = clock_mono_ms();
    if (answer != NULL && answer->code == HELLO_STRANGER)
        out->repl->stranger_ms = now;
    if (stream == NULL) {
        out->failures++;
        out->retry_ms = now + backoff_ms(out->failures);
        /* libraft dials no spare: this is the only one who can tell. */
        if (out->failures >= DIAL_FAILURES_TOLD)
            dial_tell_failure(&out->repl->events, out->address, answer, why);
        return;
    }
    ASSERT(answer != NULL); /* dial.h: a stream comes with its answer */
    out->failures = 0;
    out->silent_beats = 0;
    out->facts_ms = 0; /* it may be another version now */
    memcpy(out->name, answer->name, sizeof out->name);
    link_open(&out->link, stream);
    ping(out, now);
}

static void dial_peer(struct out_link *out)
{
    out->dial = dial_start(&out->repl->dialer, HELLO_FORWARD, out->peer_id,
                           out->address, on_dialed, out);
}

static struct out_link *find_out(const struct repl *r, uint64_t peer_id)
{
    for (size_t i = 0; i < PEERS_MAX && r->forward.outs[i] != NULL; i++)
        if (r->forward.outs[i]->peer_id == peer_id)
            return r->forward.outs[i];
    return NULL;
}

const struct out_link *forward_peer(const struct repl *r, uint64_t peer_id)
{
    return find_out(r, peer_id);
}

static void drop_out(struct out_link *out)
{
    dial_cancel(out->dial);
    link_close(&out->link);
    end_sent(out);
    free(out);
}

/* Peers that were removed from the configuration; in and out. */
static void drop_strangers(struct repl *r)
{
    size_t kept = 0;
    for (size_t i = 0; i < PEERS_MAX && r->forward.outs[i] != NULL; i++) {
        struct out_link *out = r->forward.outs[i];
        if (repl_member(r, out->peer_id) != NULL)
            out->stranger_beats = 0;
        else
            out->stranger_beats++;
        if (out->stranger_beats <= STRANGER_BEATS_MAX) {
            r->forward.outs[kept++] = out;
            continue;
        }
        for (struct in_link *in = r->forward.ins; in != NULL; in = in->next)
            if (in->peer_id == out->peer_id)
                link_close(&in->link); /* freed at the next beat */
        drop_out(out);
    }
    while (kept < PEERS_MAX)
        r->forward.outs[kept++] = NULL;
}

void forward_set_members(struct repl *r)
{
    drop_strangers(r);
    const struct raft_configuration *c = &r->raft.configuration;
    size_t count = 0;
    while (count < PEERS_MAX && r->forward.outs[count] != NULL)
        count++;
    for (unsigned i = 0; i < c->n && count < PEERS_MAX; i++) {
        if (c->servers[i].id == r->identity.raft_id ||
            find_out(r, c->servers[i].id) != NULL ||
            strlen(c->servers[i].address) > MEMBER_ADDRESS_LENGTH_MAX)
            continue;
        struct out_link *out = calloc(1, sizeof *out);
        if (out == NULL)
            return; /* asked again at the next beat */
        out->repl = r;
        out->peer_id = c->servers[i].id;
        snprintf(out->address, sizeof out->address, "%s",
                 c->servers[i].address);
        out->link.on_frame = on_out_frame;
        out->link.on_closed = on_out_closed;
        r->forward.outs[count++] = out;
    }
}

static struct out_link *leader_link(struct repl *r)
{
    raft_id id = 0;
    const char *address;
    if (r->raft_open)
        raft_leader(&r->raft, &id, &address);
    struct out_link *out = id == 0 ? NULL : find_out(r, id);
    return out != NULL && link_is_open(&out->link) ? out : NULL;
}

bool forward_has_room(struct repl *r, size_t size)
{
    struct out_link *out = leader_link(r);
    if (out != NULL && out->again_ms != 0) {
        if (clock_mono_ms() < out->again_ms)
            return false;
        out->again_ms = 0;
    }
    return out != NULL && (out->sent.bytes == 0 ||
                           out->sent.bytes + size <= FORWARD_BYTES_MAX);
}

void forward_send(struct repl *r, struct submission *s)
{
    struct out_link *out = leader_link(r);
    s->id = ++r->forward.request;
    struct frame frame = {
        .type = FRAME_SUBMIT, .id = s->id, .record = s->record};
    link_put(&out->link, &frame);
    queue_push(&out->sent, s);
}

bool forward_put(struct repl *r, uint64_t peer_id, const struct frame *frame)
{
    struct out_link *out = find_out(r, peer_id);
    if (out == NULL || !link_is_open(&out->link))
        return false;
    link_put(&out->link, frame);
    return true;
}

void forward_answer(struct repl *r, uint64_t peer_id, const struct frame *frame)
{
    for (struct in_link *in = r->forward.ins; in != NULL; in = in->next)
        if (in->peer_id == peer_id && link_is_open(&in->link)) {
            link_put(&in->link, frame);
            return;
        }
}

size_t forward_pending(const struct repl *r)
{
    size_t count = 0;
    for (size_t i = 0; i < PEERS_MAX && r->forward.outs[i] != NULL; i++)
        count += r->forward.outs[i]->sent.count;
    return count;
}

size_t forward_clock_offsets(struct repl *r, uint64_t wall_ms,
                             int64_t *offsets_ms)
{
    uint64_t now = clock_mono_ms();
    size_t count = 0;
    for (unsigned i = 0; i < r->raft.configuration.n; i++) {
        const struct raft_server *server = &r->raft.configuration.servers[i];
        const struct out_link *out = find_out(r, server->id);
        if (server->role == RAFT_VOTER && out != NULL &&
            peer_clock_is_fresh(&out->clock, now) && count < PEERS_MAX)
            offsets_ms[count++] = peer_clock_offset(&out->clock, wall_ms, now);
    }
    return count;
}

/* --- from the peers ------------------------------------------------------- */

static void resume(struct in_link *in)
{
    if (in->paused && in->order_bytes <= FORWARD_BYTES_MAX / 2) {
        in->paused = false;
        link_pause(&in->link, false);
    }
}

static void order_answer(struct errand *errand)
{
    struct order *o = CONTAINER_OF(errand, struct order, errand);
    struct in_link *in = o->from;
    struct frame frame = {.type = FRAME_RESULT,
                          .id = o->request,
                          .status = o->status,
                          .outcome = o->submission.outcome};
    link_put(&in->link, &frame);
    in->orders--;
    in->order_bytes -= o->submission.record.size;
    resume(in);
    free(o);
}

/* Applier or loop. */
static void order_done(struct submission *s, int status)
{
    struct order *o = CONTAINER_OF(s, struct order, submission);
    o->status = status;
    mailbox_push(&o->from->repl->errands, &o->errand.letter);
}

/* A record that cannot be read, or is of a kind that a newer follower knows and
 * this node does not, must never reach the log: every replica would stop on it,
 * again at every start. */
static int check_record(struct repl *r, struct bytes bytes)
{
    struct reader reader = reader_of(bytes);
    struct record record;
    if (bytes.size > RECORD_SIZE_MAX || record_next(&reader, &record) != 1 ||
        reader.size != 0)
        return ERR_INVALID;
    int rv = level_admits(r, record.kind);
    if (rv != 0 || (record.kind != RECORD_NATIVE_BATCH &&
                    record.kind != RECORD_LEGACY_BATCH))
        return rv;
    struct batch_reader batch;
    struct batch_head head;
    struct batch_peer peer;
    rv = batch_open(&batch, &record, &head);
    while (rv >= 0 && (rv = batch_next(&batch, &peer)) == 1)
        continue;
    return rv == 0 ? 0 : ERR_INVALID;
}

static int on_submit(struct in_link *in, const struct frame *frame)
{
    size_t size = frame->record.size;
    bool removed = repl_member(in->repl, in->peer_id) == NULL;
    struct order *o = removed ? NULL : malloc(sizeof *o + size);
    if (o == NULL) {
        struct frame answer = {
            .type = FRAME_RESULT, .id = frame->id, .status = ERR_AGAIN};
        link_put(&in->link, &answer);
        return 0;
    }
    *o = (struct order){.errand.run = order_answer,
                        .submission.done = order_done,
                        .from = in,
                        .request = frame->id};
    memcpy(o->record, frame->record.data, size);
    o->submission.record = (struct bytes){o->record, size};
    in->orders++;
    in->order_bytes += size;
    int refused = check_record(in->repl, frame->record);
    if (refused != 0)
        order_done(&o->submission, refused);
    else
        submit_order(in->repl, &o->submission);
    if (in->order_bytes > FORWARD_BYTES_MAX && !in->paused) {
        in->paused = true;
        link_pause(&in->link, true);
    }
    return 0;
}

/* Kept where the link to the same peer is. */
static void on_facts(struct in_link *in, const struct frame *frame)
{
    struct out_link *out = find_out(in->repl, in->peer_id);
    if (out != NULL) {
        out->facts = frame->facts;
        out->facts_ms = clock_mono_ms();
    }
}

static int on_in_frame(struct link *link, const struct frame *frame)
{
    struct in_link *in = CONTAINER_OF(link, struct in_link, link);
    switch (frame->type) {
    case FRAME_SUBMIT:
        return on_submit(in, frame);
    case FRAME_PING: {
        struct frame pong = {.type = FRAME_PONG,
                             .mono_ns = frame->mono_ns,
                             .wall_ms = clock_wall_ms()};
        link_put(link, &pong);
        return 0;
    }
    case FRAME_FACTS:
        on_facts(in, frame);
        return 0;
    case FRAME_GONE:
        leader_gone_heard(in->repl, in->peer_id, frame);
        return 0;
    case FRAME_CHANGE:
        changes_ordered(in->repl, in->peer_id, frame);
        return 0;
    case FRAME_CHANGED:
    case FRAME_RESULT:
    case FRAME_PONG:
        break;
    }
    return ERR_CORRUPT;
}

static void on_in_closed(struct link *link, const char *why)
{
    /* Freed at the next beat, when its orders are answered. */
    (void)link;
    (void)why;
}

static void free_stream(uv_handle_t *handle)
{
    raft_free(handle);
}

void forward_accept(struct repl *r, uint64_t peer_id, uv_stream_t *stream)
{
    struct in_link *in = calloc(1, sizeof *in);
    if (in == NULL) {
        uv_close((uv_handle_t *)stream, free_stream);
        return;
    }
    in->repl = r;
    in->peer_id = peer_id;
    in->link.on_frame = on_in_frame;
    in->link.on_closed = on_in_closed;
    in->next = r->forward.ins;
    r->forward.ins = in;
    link_open(&in->link, stream);
}

void forward_peer_seen(struct repl *r, uint64_t peer_id)
{
    struct out_link *out = find_out(r, peer_id);
    if (out != NULL) {
        out->failures = 0;
        out->retry_ms = 0;
    }
}

/* --- turns ---------------------------------------------------------------- */

void forward_flush(struct repl *r)
{
    for (size_t i = 0; i < PEERS_MAX && r->forward.outs[i] != NULL; i++)
        link_flush(&r->forward.outs[i]->link);
    for (struct in_link *in = r->forward.ins; in != NULL; in = in->next)
        link_flush(&in->link);
}

static void sweep(struct repl *r, bool all)
{
    struct in_link **at = &r->forward.ins;
    while (*at != NULL) {
        struct in_link *in = *at;
        if (!all && (link_is_open(&in->link) || in->orders > 0)) {
            at = &in->next;
            continue;
        }
        *at = in->next;
        link_close(&in->link);
        free(in);
    }
}

static unsigned silent_beats_max(const struct repl *r,
                                 const struct out_link *out)
{
    bool ousted = r->seen_leader != 0 && r->seen_leader != out->peer_id;
    return ousted && out->sent.count > 0
               ? OUSTED_SILENT_BEATS_MAX +
                     (unsigned)(3 * out->rtt_us / 1000 / BEAT_MS)
               : PING_SILENT_BEATS_MAX;
}

void forward_leader_changed(struct repl *r)
{
    for (size_t i = 0; i < PEERS_MAX && r->forward.outs[i] != NULL; i++) {
        struct out_link *out = r->forward.outs[i];
        if (out->sent.count == 0 || out->peer_id == r->seen_leader)
            continue;
        out->silent_beats = 0;
        ping(out, clock_mono_ms());
    }
}

void forward_tell_facts(struct repl *r)
{
    uint64_t now = clock_mono_ms();
    for (size_t i = 0; i < PEERS_MAX && r->forward.outs[i] != NULL; i++)
        if (link_is_open(&r->forward.outs[i]->link))
            ping(r->forward.outs[i], now);
}

void forward_broadcast(struct repl *r, const struct frame *frame)
{
    for (size_t i = 0; i < PEERS_MAX && r->forward.outs[i] != NULL; i++)
        link_put(&r->forward.outs[i]->link, frame);
}

void forward_beat(struct repl *r, uint64_t now_ms)
{
    for (size_t i = 0; i < PEERS_MAX && r->forward.outs[i] != NULL; i++) {
        struct out_link *out = r->forward.outs[i];
        if (!link_is_open(&out->link)) {
            if (out->dial == NULL && out->retry_ms <= now_ms)
                dial_peer(out);
        } else if (++out->silent_beats > silent_beats_max(r, out)) {
            /* Connected but frozen: what it has may never come back. */
            link_close(&out->link);
            on_out_closed(&out->link, "silent");
        } else if (now_ms - out->pinged_ms >= PING_EVERY_MS) {
            ping(out, now_ms);
        }
    }
    sweep(r, false);
}

void forward_close(struct repl *r)
{
    for (size_t i = 0; i < PEERS_MAX && r->forward.outs[i] != NULL; i++) {
        struct out_link *out = r->forward.outs[i];
        dial_cancel(out->dial);
        out->dial = NULL;
        link_close(&out->link);
        end_sent(out);
    }
    for (struct in_link *in = r->forward.ins; in != NULL; in = in->next)
        link_close(&in->link);
}

void forward_deinit(struct repl *r)
{
    sweep(r, true);
    for (size_t i = 0; i < PEERS_MAX && r->forward.outs[i] != NULL; i++)
        free(r->forward.outs[i]);
    r->forward.outs[0] = NULL;
}
