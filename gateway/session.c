#include "gateway/session.h"

#include "base/assert.h"
#include "gateway/session_disk.h"

#include <string.h>

void session_init(struct session *s, const uint8_t machine[16], uint64_t now_ms,
                  size_t spool_bytes_max, size_t spool_batches_max)
{
    /* A clock that starts in 1970 must not make it 0. */
    *s = (struct session){.state = SESSION_RENEWED,
                          .id = now_ms > 0 ? now_ms : 1};
    memcpy(s->machine, machine, sizeof s->machine);
    spool_init(&s->spool, spool_bytes_max, spool_batches_max);
}

void session_deinit(struct session *s)
{
    sampler_deinit(&s->sampler);
    spool_deinit(&s->spool);
    buf_deinit(&s->scratch);
}

/* --- invariants ----------------------------------------------------------- */

static void check(const struct session *s)
{
    ASSERT(s->id > 0);
    ASSERT(s->acknowledged <= s->sent);
    ASSERT(s->stream_sent <= s->sent);
    ASSERT(s->sent < spool_next_sequence(&s->spool));
    ASSERT(s->spool.first == s->acknowledged + 1);
    ASSERT(s->state != SESSION_RENEWED || s->spool.count == 0);
}

/* --- giving up and beginning --------------------------------------------- */

/* The batches that are dropped are no loss of bytes: counters are cumulative
 * and the next session begins with all of them. */
static void renew(struct session *s, uint64_t at_least, uint64_t now_ms)
{
    sampler_give_up_session(&s->sampler, s->sent);
    spool_clear(&s->spool, 1);
    uint64_t next = s->id + 1 > at_least ? s->id + 1 : at_least;
    s->id = now_ms > next ? now_ms : next;
    s->acknowledged = 0;
    s->sent = 0;
    s->disk_sent = 0;
    s->stream_first = 0;
    s->stream_sent = 0;
    s->answered = false;
    s->resumed = false;
    s->state = SESSION_RENEWED;
    check(s);
}

enum session_state session_refused(struct session *s,
                                   enum session_refusal refusal,
                                   uint64_t number, uint64_t now_ms)
{
    if (s->state != SESSION_LIVE)
        return s->state;
    switch (refusal) {
    case REFUSAL_GAP: {
        /* An expectation below what this stream began with means that the
         * cluster forgot what it had acknowledged. Any other gap was made on
         * the way, and sending again from the oldest fills it. A node that
         * names no number is believed where nothing of this stream was
         * acknowledged. */
        bool first = number != 0 ? number < s->stream_first
                                 : s->acknowledged < s->stream_first;
        if (first)
            renew(s, 0, now_ms);
        break;
    }
    case REFUSAL_SUPERSEDED:
        if (s->answered || s->gave_way || number == UINT64_MAX) {
            s->state = SESSION_OVER;
            break;
        }
        s->gave_way = true;
        renew(s, number + 1, now_ms);
        break;
    case REFUSAL_MALFORMED:
        renew(s, 0, now_ms);
        break;
    }
    return s->state;
}

/* --- batches -------------------------------------------------------------- */

static int push(struct session *s, uint64_t now_ms, struct stat_report *peers,
                size_t count)
{
    struct report_batch batch = {
        .session = s->id,
        .sequence = spool_next_sequence(&s->spool),
        .sampled_at_ms = now_ms,
        .peers = peers,
        .peer_count = count,
    };
    if (batch.sequence == 1)
        batch.machine = (struct bytes){s->machine, sizeof s->machine};
    buf_clear(&s->scratch);
    report_batch_encode(&s->scratch, &batch);
    if (buf_failed(&s->scratch))
        return ERR_NOMEM;
    return spool_push(&s->spool, buf_bytes(&s->scratch));
}

static int push_look(struct session *s, struct wg_interface *now,
                     uint64_t now_ms, session_observe_fn *observer, void *arg)
{
    struct stat_report *reports = NULL;
    size_t count = 0, done = 0;
    bool first_look = s->state == SESSION_RENEWED;
    uint64_t first = spool_next_sequence(&s->spool);
    if (now == NULL) {
        sampler_absent(&s->sampler);
    } else {
        int rv = sampler_take(&s->sampler, now, first_look || s->resumed, first,
                              &reports, &count);
        if (rv != 0)
            return rv;
    }
    s->state = SESSION_LIVE;
    s->resumed = false;
    do {
        size_t n = count - done;
        if (n > REPORT_PEERS_MAX)
            n = REPORT_PEERS_MAX;
        int rv = push(s, now_ms, n > 0 ? reports + done : NULL, n);
        if (rv != 0)
            return rv;
        done += n;
    } while (done < count);
    for (size_t i = 0; first_look && observer != NULL && i < count; i++)
        observer(arg, &reports[i]);
    return session_save_look(s, first);
}

int session_tick(struct session *s, struct wg_interface *now, uint64_t now_ms,
                 int *renewed, session_observe_fn *observer, void *arg)
{
    *renewed = 0;
    s->disk_tried = false;
    if (s->state == SESSION_OVER)
        return 0;
    int rv = push_look(s, now, now_ms, observer, arg);
    while (rv == ERR_CLOSED || (rv == ERR_LIMIT && *renewed == 0)) {
        /* Full: the front would have to go, and a session without its front is
         * refused for ever. The look was taken, so what it found to begin at
         * zero is due again, unsent as it is. */
        *renewed = rv;
        renew(s, 0, now_ms);
        rv = push_look(s, now, now_ms, observer, arg);
    }
    if (rv == ERR_LIMIT)
        renew(s, 0, now_ms); /* not even one look */
    if (rv == 0)
        check(s);
    return rv;
}

/* --- a stream ------------------------------------------------------------- */

void session_stream_opened(struct session *s)
{
    s->stream_first = s->acknowledged + 1;
    s->stream_sent = s->acknowledged;
}

bool session_next(struct session *s, size_t window, struct bytes *batch)
{
    if (s->stream_first == 0 || s->stream_sent - s->acknowledged >= window)
        return false;
    if (!spool_get(&s->spool, s->stream_sent + 1, batch))
        return false;
    if (s->stream_sent + 1 > s->disk_sent && session_save_sent(s) != 0) {
        renew(s, 0, 0);
        return false;
    }
    s->stream_sent++;
    if (s->stream_sent > s->sent)
        s->sent = s->stream_sent;
    check(s);
    return true;
}

bool session_all_given(const struct session *s)
{
    return s->stream_sent + 1 == spool_next_sequence(&s->spool);
}

int session_acknowledged(struct session *s, uint64_t sequence)
{
    if (sequence > s->stream_sent)
        return ERR_INVALID;
    if (sequence > s->acknowledged) {
        s->acknowledged = sequence;
        s->answered = true;
        spool_acknowledge(&s->spool, sequence);
        session_save_acknowledged(s);
    }
    check(s);
    return 0;
}

bool session_is_drained(const struct session *s)
{
    return s->spool.count == 0;
}
