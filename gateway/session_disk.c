#include "gateway/session_disk.h"

#include "gateway/spool_record.h"

#include <stdlib.h>

/* --- saving --------------------------------------------------------------- */

/* The session goes on in memory, unless the disk has some of it and cannot be
 * made to forget it. */
static int disk_failed(struct session *s)
{
    struct errmsg e;
    s->disk_state = DISK_FAILED;
    if (spool_dir_void(s->disk, &e) == 0 || s->disk->begun != s->id)
        return 0;
    return ERR_CLOSED;
}

static int save(struct session *s, uint64_t first, uint64_t sent)
{
    struct spool_marks marks = {.acknowledged = s->acknowledged, .sent = sent};
    bool with_peers = s->sampler.shrank || spool_dir_begins(s->disk, s->id);
    buf_clear(&s->scratch);
    spool_record_put(&s->scratch, &marks, &s->spool, first, &s->sampler,
                     with_peers);
    if (buf_failed(&s->scratch))
        return ERR_NOMEM;
    int rv = spool_dir_append(s->disk, s->id, first, buf_bytes(&s->scratch),
                              &s->disk_error);
    if (rv == ERR_LIMIT || rv == ERR_NOMEM)
        return rv;
    if (rv != 0)
        return disk_failed(s);
    s->disk_state = DISK_KEPT;
    s->disk_sent = sent;
    return 0;
}

int session_save_look(struct session *s, uint64_t first)
{
    if (s->disk == NULL)
        return 0;
    /* After a failure it is tried again when nothing older waits: what the
     * disk has must be all that is not acknowledged. */
    if (s->disk_state == DISK_FAILED &&
        (s->disk_tried || s->spool.first != first))
        return 0;
    s->disk_tried = true;
    /* What can be sent at once is saved as sent, which spares a second sync. */
    bool at_once = s->stream_first != 0 && s->stream_sent + 1 == first;
    uint64_t last = spool_next_sequence(&s->spool) - 1;
    uint64_t sent = s->disk_sent > s->sent ? s->disk_sent : s->sent;
    return save(s, first, at_once ? last : sent);
}

int session_save_sent(struct session *s)
{
    uint64_t next = spool_next_sequence(&s->spool);
    if (s->disk == NULL || s->disk_state == DISK_FAILED)
        return 0;
    int rv = save(s, next, next - 1);
    /* No room for a few bytes: they need no record of their own if the agent
     * lives on, and no other is possible. */
    return rv == ERR_LIMIT ? disk_failed(s) : rv;
}

void session_save_acknowledged(struct session *s)
{
    if (s->disk_state == DISK_KEPT)
        spool_dir_acknowledge(s->disk, s->acknowledged);
}

/* --- going on ------------------------------------------------------------- */

struct resume {
    struct session *session;
    struct stat_report *reports; /* owned: REPORT_PEERS_MAX */
    struct spool_marks marks;
    bool any; /* a record was read */
};

static int damaged(struct errmsg *e, const char *what)
{
    return errmsg_set(e, ERR_CORRUPT, "%s", what);
}

static int take_batch(struct resume *r, struct bytes batch, struct errmsg *e)
{
    struct session *s = r->session;
    struct report_batch decoded = {.peers = r->reports};
    if (report_batch_decode(batch, &decoded, e) != 0)
        return ERR_CORRUPT;
    if (decoded.session != s->disk->owner.session ||
        decoded.sequence != spool_next_sequence(&s->spool))
        return damaged(e, "a batch has another's number");
    int rv = spool_push(&s->spool, batch);
    for (size_t i = 0; rv == 0 && i < decoded.peer_count; i++) {
        const struct stat_report *p = &decoded.peers[i];
        rv = sampler_remember(&s->sampler, p->public_key, p->upload,
                              p->download, p->from_zero ? decoded.sequence : 0);
    }
    return rv == ERR_LIMIT
               ? errmsg_set(e, rv, "more is there than --spool-bytes allows")
               : rv;
}

static int take_peers(struct resume *r, struct spool_record *record)
{
    struct sampler *sampler = &r->session->sampler;
    struct spool_peer p;
    int rv = 0;
    sampler->last.count = 0;
    while (rv == 0 && spool_record_peer(record, &p)) {
        rv = sampler_remember(sampler, p.public_key, p.upload, p.download,
                              p.zero_sequence);
    }
    return rv;
}

/* Where the record's batches begin. A hole is what was acknowledged and
 * removed: only that is. */
static int take_place(struct resume *r, uint64_t first, struct errmsg *e)
{
    struct spool *spool = &r->session->spool;
    if (!r->any || first > spool_next_sequence(spool))
        spool_clear(spool, first);
    r->any = true;
    return first == spool_next_sequence(spool)
               ? 0
               : damaged(e, "a batch is there twice");
}

static int take_record(void *arg, struct bytes payload, struct errmsg *e)
{
    struct resume *r = arg;
    struct session *s = r->session;
    struct spool_record record;
    struct bytes batch;
    if (spool_record_open(payload, &record) != 0)
        return damaged(e, "is no record");
    int rv = take_place(r, record.first, e);
    while (rv == 0 && spool_record_batch(&record, &batch))
        rv = take_batch(r, batch, e);
    if (rv == 0 && record.has_peers)
        rv = take_peers(r, &record);
    s->sampler.identity = record.identity;
    s->sampler.watched = record.watched;
    if (record.marks.acknowledged > r->marks.acknowledged)
        r->marks.acknowledged = record.marks.acknowledged;
    if (record.marks.sent > r->marks.sent)
        r->marks.sent = record.marks.sent;
    return rv;
}

static int go_on(struct session *s, const struct resume *r, uint64_t id,
                 struct errmsg *e)
{
    struct spool_marks marks = r->marks;
    if (marks.acknowledged < s->spool.first - 1)
        marks.acknowledged = s->spool.first - 1;
    if (marks.sent < marks.acknowledged)
        marks.sent = marks.acknowledged;
    if (marks.sent >= spool_next_sequence(&s->spool))
        return damaged(e, "batches that were sent are missing");
    spool_acknowledge(&s->spool, marks.acknowledged);
    s->id = id;
    s->acknowledged = marks.acknowledged;
    s->sent = s->disk_sent = marks.sent;
    s->state = SESSION_LIVE;
    s->resumed = true;
    return 0;
}

/* As if nothing had been there. */
static void begin_fresh(struct session *s)
{
    struct errmsg e;
    if (s->id <= s->disk->owner.session)
        s->id = s->disk->owner.session + 1; /* it may be known already */
    spool_clear(&s->spool, 1);
    sampler_deinit(&s->sampler);
    /* If it cannot be made void now, the first look replaces it. */
    (void)!spool_dir_void(s->disk, &e);
}

int session_resume(struct session *s, struct spool_dir *dir, struct errmsg *e)
{
    struct resume r = {.session = s};
    uint64_t id = 0;
    s->disk = dir;
    s->disk_state = DISK_KEPT;
    r.reports = calloc(REPORT_PEERS_MAX, sizeof *r.reports);
    if (r.reports == NULL)
        return errmsg_set(e, ERR_NOMEM, "out of memory");
    int rv = spool_dir_read(dir, take_record, &r, &id, e);
    if (rv == 0 && id != 0)
        rv = go_on(s, &r, id, e);
    /* What a newer version wrote is that version's to go on with. */
    if (rv != ERR_NEWER && (rv != 0 || id == 0))
        begin_fresh(s);
    free(r.reports);
    return rv;
}
