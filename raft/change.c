#include "raft/change.h"

#include "base/clock.h"
#include "raft/repl.h"

_Static_assert(NODE_NAME_LENGTH_MAX == 63, "store/roster_state.h has it too");

static bool ask(struct repl *r, struct repl_change *c);
static void run(struct repl *r, enum repl_change_kind kind, const char *name);
static void finish(struct repl *r, int status, const char *message);

void changes_init(struct repl *r)
{
    mailbox_init(&r->changes.box, loop_wake, r);
    /* An answer to what an earlier process asked must fit no question here. */
    r->changes.request = clock_mono_ns();
}

void repl_change(struct repl *r, struct repl_change *c)
{
    mailbox_push(&r->changes.box, &c->letter);
}

static void end(struct repl *r, struct repl_change *c, int status,
                const char *message)
{
    r->changes.count--;
    c->done(c, status, message);
}

void changes_collect(struct repl *r)
{
    struct changes *s = &r->changes;
    struct letter *next;
    for (struct letter *l = mailbox_take(&s->box); l != NULL; l = next) {
        next = l->next;
        struct repl_change *c = CONTAINER_OF(l, struct repl_change, letter);
        s->count++;
        c->id = clock_mono_ms();
        if (r->phase > PHASE_RUNNING || events_failed(&r->events)) {
            end(r, c, ERR_CLOSED, "this node stops");
        } else if (s->count > CHANGES_MAX) {
            end(r, c, ERR_AGAIN, "too many changes wait here");
        } else {
            struct repl_change **at = &s->waiting;
            while (*at != NULL)
                at = &(*at)->next;
            c->next = NULL;
            *at = c;
        }
    }
}

static void end_unanswered(struct repl *r, struct repl_change **at)
{
    struct repl_change *c = *at;
    *at = c->next;
    end(r, c, ERR_UNKNOWN, "the leader did not answer: look at the members");
}

void changes_beat(struct repl *r, uint64_t now_ms)
{
    struct changes *s = &r->changes;
    while (s->waiting != NULL) {
        struct repl_change *c = s->waiting;
        s->waiting = c->next;
        if (ask(r, c))
            continue;
        if (clock_elapsed(c->id, now_ms) < CHANGE_WAIT_MS) {
            s->waiting = c; /* the leader may come */
            break;
        }
        end(r, c, ERR_AGAIN, "there is no leader that could do it");
    }
    for (struct repl_change **at = &s->asked; *at != NULL;)
        if (clock_elapsed((*at)->asked_ms, now_ms) > CHANGE_ANSWER_MS)
            end_unanswered(r, at);
        else
            at = &(*at)->next;
}

static void end_list(struct repl *r, struct repl_change **list, int status,
                     const char *message)
{
    while (*list != NULL) {
        struct repl_change *c = *list;
        *list = c->next;
        end(r, c, status, message);
    }
}

void changes_link_closed(struct repl *r, uint64_t peer_id)
{
    for (struct repl_change **at = &r->changes.asked; *at != NULL;)
        if ((*at)->asked_of == peer_id)
            end_unanswered(r, at);
        else
            at = &(*at)->next;
}

void changes_close(struct repl *r)
{
    struct changes *s = &r->changes;
    if (s->busy)
        finish(r, ERR_UNKNOWN, "the leader stops: look at the members");
    end_list(r, &s->asked, ERR_UNKNOWN, "this node stops");
    end_list(r, &s->waiting, ERR_CLOSED, "this node stops");
}

/* --- asking --------------------------------------------------------------- */

/* False: there is nobody to ask yet. */
static bool ask(struct repl *r, struct repl_change *c)
{
    struct changes *s = &r->changes;
    if (repl_may_propose(r)) {
        if (s->busy) {
            end(r, c, ERR_AGAIN, "another change is under way");
            return true;
        }
        s->busy = true;
        s->local = c;
        run(r, c->kind, c->name);
        return true;
    }
    uint64_t leader = r->leads ? 0 : r->seen_leader;
    if (leader == 0)
        return false;
    struct frame frame = {.type = FRAME_CHANGE,
                          .id = s->request + 1,
                          .change = c->kind,
                          .text = bytes_of_string(c->name)};
    if (!forward_put(r, leader, &frame))
        return false;
    c->asked_of = leader;
    c->asked_ms = clock_mono_ms();
    c->id = ++s->request;
    c->next = s->asked;
    s->asked = c;
    return true;
}

int changes_answered(struct repl *r, uint64_t peer_id,
                     const struct frame *frame)
{
    struct changes *s = &r->changes;
    for (struct repl_change **at = &s->asked; *at != NULL; at = &(*at)->next) {
        struct repl_change *c = *at;
        if (c->asked_of != peer_id || c->id != frame->id)
            continue;
        *at = c->next;
        struct errmsg e = {""};
        errmsg_set(&e, 0, "%.*s", (int)frame->text.size,
                   (const char *)frame->text.data);
        end(r, c, frame->status, e.text);
        return 0;
    }
    return 0; /* it was given up before */
}

/* --- doing ---------------------------------------------------------------- */

void changes_ordered(struct repl *r, uint64_t peer_id,
                     const struct frame *frame)
{
    struct changes *s = &r->changes;
    const char *why = repl_member(r, peer_id) == NULL
                          ? "the node that asks is no member any more"
                      : !repl_may_propose(r) ? "the node that was asked does "
                                               "not lead any more"
                      : s->busy              ? "another change is under way"
                                             : NULL;
    if (why != NULL) {
        struct frame answer = {.type = FRAME_CHANGED,
                               .id = frame->id,
                               .status = ERR_AGAIN,
                               .text = bytes_of_string(why)};
        forward_answer(r, peer_id, &answer);
        return;
    }
    char name[NODE_NAME_LENGTH_MAX + 1] = "";
    memcpy(name, frame->text.data, frame->text.size);
    s->busy = true;
    s->local = NULL;
    s->peer_id = peer_id;
    s->peer_request = frame->id;
    run(r, frame->change, name);
}

static void finish(struct repl *r, int status, const char *message)
{
    struct changes *s = &r->changes;
    struct repl_change *local = s->local;
    s->busy = false;
    s->local = NULL;
    if (local != NULL) {
        end(r, local, status, message);
        return;
    }
    struct frame answer = {.type = FRAME_CHANGED,
                           .id = s->peer_request,
                           .status = status,
                           .text = bytes_of_string(message)};
    forward_answer(r, s->peer_id, &answer);
}

static void on_member_changed(struct repl *r, void *arg, int status,
                              const char *message)
{
    (void)arg;
    finish(r, status, message);
}

static const struct raft_server *find(const struct repl *r, const char *name)
{
    const struct raft_configuration *c = &r->raft.configuration;
    for (unsigned i = 0; i < c->n; i++) {
        struct repl_peer peer;
        repl_peer_of(r, &c->servers[i], &peer);
        if (strcmp(peer.name, name) == 0)
            return &c->servers[i];
    }
    return NULL;
}

static void assign(struct repl *r)
{
    struct changes *s = &r->changes;
    const struct raft_server *server = repl_member(r, s->target);
    if (server != NULL && server->role == s->role) {
        finish(r, 0, "it has this role");
        return;
    }
    struct errmsg e = {""};
    int rv = membership_change(r, MEMBER_ASSIGN, s->target, s->role,
                               on_member_changed, NULL, &e);
    /* The wish is in the log: raft/membership goes on with it. */
    if (rv != 0 && server != NULL && s->wished)
        errmsg_wrap(&e, rv, "%s",
                    s->role == RAFT_STANDBY
                        ? "it is recorded, and done as soon as it can be "
                          "(promote takes it back)"
                        : "it is recorded that it may vote: it will, if that "
                          "makes an odd number of voters; or ask again");
    if (rv != 0)
        finish(r, rv, e.text);
}

static void on_recorded(struct errand *errand)
{
    struct changes *s = CONTAINER_OF(errand, struct changes, recorded);
    struct repl *r = CONTAINER_OF(s, struct repl, changes);
    s->recording = false;
    if (!s->busy)
        return; /* it was closed meanwhile */
    enum outcome_code code = s->wish.outcome.code;
    if (s->wish_status == ERR_UNKNOWN) {
        finish(r, ERR_UNKNOWN,
               "the leader lost its lead while it was recorded: it may be done "
               "yet: look at the members");
    } else if (s->wish_status != 0) {
        finish(r, s->wish_status, "it could not be recorded");
    } else if (code != OUTCOME_TAKEN && code != OUTCOME_DUPLICATE) {
        finish(r, ERR_DENIED,
               "too many members are demoted: promote some of them first");
    } else {
        s->wished = true;
        assign(r);
    }
}

/* Loop or applier. */
static void on_wish_done(struct submission *wish, int status)
{
    struct changes *s = CONTAINER_OF(wish, struct changes, wish);
    struct repl *r = CONTAINER_OF(s, struct repl, changes);
    s->wish_status = status;
    s->recorded.run = on_recorded;
    mailbox_push(&r->errands, &s->recorded.letter);
}

/* The wish goes into the log first, so that the next leader knows it too. */
static int record(struct repl *r, const char *name, enum member_wish wish,
                  struct errmsg *e)
{
    struct changes *s = &r->changes;
    if (s->recording)
        return errmsg_set(e, ERR_AGAIN, "another change is under way");
    if (store_level(r->store) < store_level_of(RECORD_MEMBER))
        return errmsg_set(e, ERR_DENIED,
                          "the cluster is at feature level %u and cannot "
                          "remember it before %u: upgrade every node first",
                          store_level(r->store), store_level_of(RECORD_MEMBER));
    buf_clear(&s->record);
    record_put_member(&s->record, name, wish);
    if (buf_failed(&s->record))
        return errmsg_set(e, ERR_AGAIN, "out of memory");
    s->wish = (struct submission){.record = buf_bytes(&s->record),
                                  .done = on_wish_done};
    s->recording = true;
    repl_submit(r, &s->wish);
    return 0;
}

static int begin_promote(struct repl *r, const char *name, struct errmsg *e)
{
    struct changes *s = &r->changes;
    s->role = RAFT_VOTER;
    if (!membership_is_healthy(r, s->target, clock_mono_ms()))
        return errmsg_set(e, ERR_DENIED,
                          "it does not answer, or has no room on its disk");
    if (store_wish(r->store, name) != WISH_AUTO)
        return record(r, name, WISH_AUTO, e);
    assign(r);
    return 0;
}

static int begin_demote(struct repl *r, const char *name, struct errmsg *e)
{
    struct changes *s = &r->changes;
    s->role = RAFT_STANDBY;
    int rv = membership_check(r, MEMBER_ASSIGN, s->target, RAFT_STANDBY, e);
    return rv != 0 ? rv : record(r, name, WISH_STANDBY, e);
}

static void on_transferred(void *arg, int status, const char *message)
{
    /* Who was asked may be about to take over all the same. */
    finish(arg, status == ERR_TIMEOUT ? ERR_UNKNOWN : status, message);
}

static int begin_transfer(struct repl *r, const struct raft_server *server,
                          struct errmsg *e)
{
    if (server != NULL && server->id == r->identity.raft_id) {
        finish(r, 0, "it leads already");
        return 0;
    }
    return succession_transfer(r, server == NULL ? 0 : server->id,
                               on_transferred, r, e);
}

static void run(struct repl *r, enum repl_change_kind kind, const char *name)
{
    struct errmsg e = {""};
    const struct raft_server *server = find(r, name);
    int rv = 0;
    if (server == NULL && !(kind == REPL_TRANSFER && name[0] == '\0')) {
        errmsg_set(&e, 0, "no member is called %s", name);
        finish(r, ERR_NOTFOUND, e.text);
        return;
    }
    r->changes.target = server != NULL ? server->id : 0;
    r->changes.wished = false;
    switch (kind) {
    case REPL_REMOVE:
        rv = membership_change(r, MEMBER_REMOVE, server->id, RAFT_SPARE,
                               on_member_changed, NULL, &e);
        break;
    case REPL_PROMOTE:
        rv = begin_promote(r, name, &e);
        break;
    case REPL_DEMOTE:
        rv = begin_demote(r, name, &e);
        break;
    case REPL_TRANSFER:
        rv = begin_transfer(r, server, &e);
        break;
    }
    if (rv != 0)
        finish(r, rv, e.text);
}

void changes_deinit(struct repl *r)
{
    buf_deinit(&r->changes.record);
}
