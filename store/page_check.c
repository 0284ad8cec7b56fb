#include "store/page_check.h"

#include "base/assert.h"

#include "base/bytes.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* The layout of LMDB 0.9 on 64 bits, little endian. */
enum {
    HEADER_SIZE = 16,
    NODE_SIZE = 8,
    DB_SIZE = 48,
    KEY_SIZE_MAX = 511,
    DEPTH_MAX = 32,
    META_READ_SIZE = HEADER_SIZE + 136,
    PAGE_SIZE_MIN = 512,
    PAGE_SIZE_MAX = 65536,
    P_BRANCH = 1,
    P_LEAF = 2,
    P_OVERFLOW = 4,
    P_KINDS = 0x0f,
    F_BIGDATA = 1,
    F_SUBDATA = 2,
    LMDB_MAGIC = (int)0xBEEFC0DE,
    LMDB_VERSION = 1,
};

static const uint64_t no_page = UINT64_MAX;

/* A tree: where it begins and how deep it is. */
struct tree {
    uint64_t root;
    unsigned depth;
    bool free_list; /* keys are numbers, values lists of pages */
    bool main;      /* values may be trees */
    bool leaves;    /* to be read */
};

struct check {
    const char *path;
    int fd;
    uint64_t file_pages, page_count; /* there, and in use by the meta page */
    size_t page_size;
    bool whole;
    uint8_t *used; /* owned: a bit a page */
    struct errmsg *e;
};

static int walk(struct check *c, const struct tree *t);

static int damaged(struct check *c, uint64_t page, const char *why)
{
    return errmsg_set(c->e, ERR_CORRUPT,
                      "%s: damaged: page %" PRIu64 ": %s; remove this node's "
                      "data and let it join again",
                      c->path, page, why);
}

/* --- pages ---------------------------------------------------------------- */

static int read_at(struct check *c, uint64_t offset, void *out, size_t size)
{
    ssize_t n;
    do
        n = pread(c->fd, out, size, (off_t)offset);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return errmsg_set(c->e, ERR_IO,
                          "reading %s at %" PRIu64 ": %s; check the disk, or "
                          "remove this node's data and let it join again",
                          c->path, offset, strerror(errno));
    return (size_t)n == size ? 0
                             : errmsg_set(c->e, ERR_CORRUPT,
                                          "%s: damaged: it ends early; remove "
                                          "this node's data and let it join "
                                          "again",
                                          c->path);
}

/* Marks @count pages as used, each once. */
static int claim(struct check *c, uint64_t page, uint64_t count)
{
    if (page < 2 || count > c->page_count || page > c->page_count - count)
        return damaged(c, page, "no such page");
    if (page + count > c->file_pages)
        return damaged(c, page, "the file ends before it");
    for (uint64_t i = page; i < page + count; i++) {
        if (c->used[i / 8] & (1u << (i % 8)))
            return damaged(c, i, "it is used twice");
        c->used[i / 8] |= (uint8_t)(1u << (i % 8));
    }
    return 0;
}

static int load(struct check *c, uint64_t page, unsigned kind, uint8_t *out)
{
    int rc = read_at(c, page * c->page_size, out, c->page_size);
    if (rc != 0)
        return rc;
    if (le64_get(out) != page)
        return damaged(c, page, "it carries another number");
    if ((le16_get(out + 10) & P_KINDS) != kind)
        return damaged(c, page, "it is of another kind");
    if (kind == P_OVERFLOW)
        return 0;
    size_t lower = le16_get(out + 12), upper = le16_get(out + 14);
    if (lower < HEADER_SIZE || lower % 2 != 0 || lower > upper ||
        upper > c->page_size || (kind == P_BRANCH && lower == HEADER_SIZE))
        return damaged(c, page, "its bounds are wrong");
    return 0;
}

static size_t node_count(const uint8_t *page)
{
    return (le16_get(page + 12) - (size_t)HEADER_SIZE) / 2;
}

struct node {
    struct bytes key;
    unsigned flags;
    uint64_t child; /* of a branch */
    uint32_t size;  /* of a leaf's value */
    const uint8_t *value;
};

static int node_at(struct check *c, uint64_t page, const uint8_t *data,
                   size_t i, bool branch, struct node *out)
{
    size_t at = le16_get(data + HEADER_SIZE + 2 * i);
    if (at < le16_get(data + 14) || at > c->page_size - NODE_SIZE)
        return damaged(c, page, "a node lies outside");
    const uint8_t *n = data + at;
    uint32_t low = le32_get(n);
    *out = (struct node){.key = {n + NODE_SIZE, le16_get(n + 6)},
                         .flags = branch ? 0 : le16_get(n + 4),
                         .child = low | (uint64_t)le16_get(n + 4) << 32,
                         .size = low};
    size_t left = c->page_size - at - NODE_SIZE;
    if (out->key.size > KEY_SIZE_MAX || out->key.size > left)
        return damaged(c, page, "a key is too long");
    out->value = out->key.data + out->key.size;
    size_t value = branch                   ? 0
                   : out->flags & F_BIGDATA ? sizeof(uint64_t)
                                            : out->size;
    if (value > left - out->key.size)
        return damaged(c, page, "a value is too long");
    return 0;
}

static int compare(const struct tree *t, struct bytes a, struct bytes b)
{
    if (t->free_list)
        return le64_get(a.data) < le64_get(b.data)   ? -1
               : le64_get(a.data) > le64_get(b.data) ? 1
                                                     : 0;
    int order = memcmp(a.data, b.data, a.size < b.size ? a.size : b.size);
    return order != 0 ? order : (a.size > b.size) - (a.size < b.size);
}

/* --- leaves --------------------------------------------------------------- */

/* A list of free pages: their count, then they, falling. */
static int check_free(struct check *c, uint64_t page, const uint8_t *list,
                      size_t size)
{
    uint64_t count = size >= 8 ? le64_get(list) : 0;
    if (size < 8 || count != (size - 8) / 8)
        return damaged(c, page, "its list of free pages has another length");
    for (uint64_t i = 0; i < count; i++) {
        uint64_t one = le64_get(list + 8 + 8 * i);
        if (i > 0 && one >= le64_get(list + 8 * i))
            return damaged(c, page, "its list of free pages is not in order");
        if (one < 2 || one >= c->page_count ||
            c->used[one / 8] & (1u << (one % 8)))
            return damaged(c, page, "it calls a page free that is in use");
        c->used[one / 8] |= (uint8_t)(1u << (one % 8));
    }
    return 0;
}

static int check_overflow(struct check *c, const struct tree *t, uint64_t page,
                          uint64_t first, uint32_t size)
{
    uint64_t pages =
        ((uint64_t)size + HEADER_SIZE + c->page_size - 1) / c->page_size;
    int rc = claim(c, first, pages);
    /* A start must not read the head of each long value of a large file. */
    if (rc != 0 || (!c->whole && !t->free_list))
        return rc;
    size_t room = (size_t)pages * c->page_size;
    uint8_t *data = malloc(t->free_list ? room : c->page_size);
    if (data == NULL)
        return errmsg_set(c->e, ERR_NOMEM, "checking %s: out of memory",
                          c->path);
    rc = load(c, first, P_OVERFLOW, data);
    if (rc == 0 && le32_get(data + 12) != pages)
        rc = damaged(c, first, "its run has another length");
    if (rc == 0 && t->free_list)
        rc = read_at(c, first * c->page_size, data, room);
    if (rc == 0 && t->free_list)
        rc = check_free(c, page, data + HEADER_SIZE, size);
    free(data);
    return rc;
}

static struct tree tree_of(const uint8_t db[DB_SIZE])
{
    return (struct tree){
        .root = le64_get(db + 40), .depth = le16_get(db + 6), .leaves = true};
}

static int check_named(struct check *c, uint64_t page, const struct node *n)
{
    if (n->size != DB_SIZE)
        return damaged(c, page, "a database's record has another size");
    struct tree named = tree_of(n->value);
    const char *const large[] = {"blk_min", "blk_hour", "blk_day", "tot"};
    for (size_t i = 0; i < sizeof large / sizeof *large; i++)
        if (n->key.size == strlen(large[i]) &&
            memcmp(n->key.data, large[i], n->key.size) == 0)
            named.leaves = c->whole;
    return walk(c, &named);
}

static int check_value(struct check *c, const struct tree *t, uint64_t page,
                       const struct node *n)
{
    if (n->flags & ~(unsigned)(F_BIGDATA | (t->main ? F_SUBDATA : 0)))
        return damaged(c, page, "a node has unknown flags");
    if (n->flags & F_BIGDATA)
        return check_overflow(c, t, page, le64_get(n->value), n->size);
    if (n->flags & F_SUBDATA)
        return check_named(c, page, n);
    return t->free_list ? check_free(c, page, n->value, n->size) : 0;
}

/* --- trees ---------------------------------------------------------------- */

static int walk_page(struct check *c, const struct tree *t, uint64_t page,
                     unsigned level)
{
    bool branch = level + 1 < t->depth;
    int rc = claim(c, page, 1);
    if (rc != 0 || (!branch && !t->leaves))
        return rc;
    uint8_t *data = malloc(c->page_size);
    if (data == NULL)
        return errmsg_set(c->e, ERR_NOMEM, "checking %s: out of memory",
                          c->path);
    rc = load(c, page, branch ? P_BRANCH : P_LEAF, data);
    struct bytes before = {NULL, 0};
    size_t count = rc == 0 ? node_count(data) : 0;
    for (size_t i = 0; i < count && rc == 0; i++) {
        struct node n = {0};
        rc = node_at(c, page, data, i, branch, &n);
        /* A branch's first key is not looked at by anybody. */
        bool keyed = !branch || i > 0;
        if (rc == 0 && keyed && t->free_list && n.key.size != 8)
            rc = damaged(c, page, "a key has another length");
        if (rc == 0 && keyed && before.data != NULL &&
            compare(t, before, n.key) >= 0)
            rc = damaged(c, page, "its keys are not in order");
        if (keyed)
            before = n.key;
        if (rc == 0)
            rc = branch ? walk_page(c, t, n.child, level + 1)
                        : check_value(c, t, page, &n);
    }
    free(data);
    return rc;
}

static int walk(struct check *c, const struct tree *t)
{
    if (t->root == no_page)
        return 0;
    if (t->depth == 0 || t->depth > DEPTH_MAX)
        return damaged(c, t->root, "the tree has an impossible depth");
    return walk_page(c, t, t->root, 0);
}

/* --- the file ------------------------------------------------------------- */

static int check_meta(struct check *c, uint64_t page, const uint8_t *data)
{
    if (le64_get(data) != page || (le16_get(data + 10) & P_KINDS) != 8 ||
        le32_get(data + HEADER_SIZE) != (uint32_t)LMDB_MAGIC)
        return damaged(c, page, "not a database of LMDB");
    if (le32_get(data + HEADER_SIZE + 4) != LMDB_VERSION)
        return errmsg_set(c->e, ERR_NEWER,
                          "%s: written by another version of LMDB", c->path);
    size_t size = le32_get(data + HEADER_SIZE + 24);
    if (size < PAGE_SIZE_MIN || size > PAGE_SIZE_MAX || (size & (size - 1)))
        return damaged(c, page, "an impossible page size");
    c->page_size = size;
    return 0;
}

/* The meta page that LMDB will take: the newer one. */
static int read_meta(struct check *c, uint8_t out[META_READ_SIZE])
{
    uint8_t other[META_READ_SIZE];
    int rc = read_at(c, 0, out, META_READ_SIZE);
    if (rc == 0)
        rc = check_meta(c, 0, out);
    size_t size = c->page_size;
    if (rc == 0)
        rc = read_at(c, size, other, sizeof other);
    if (rc == 0)
        rc = check_meta(c, 1, other);
    if (rc != 0)
        return rc;
    if (c->page_size != size)
        return damaged(c, 1, "an impossible page size");
    const size_t txnid = HEADER_SIZE + 128;
    if (le64_get(other + txnid) > le64_get(out + txnid))
        memcpy(out, other, sizeof other);
    return 0;
}

static int check_trees(struct check *c, const uint8_t *meta)
{
    struct tree main = tree_of(meta + HEADER_SIZE + 72);
    struct tree free_list = tree_of(meta + HEADER_SIZE + 24);
    main.main = true;
    free_list.free_list = true;
    int rc = walk(c, &main);
    /* Last, when all that is in use is known. */
    return rc == 0 ? walk(c, &free_list) : rc;
}

static int check_file(struct check *c, uint64_t size, uint64_t whole_bytes_max)
{
    uint8_t meta[META_READ_SIZE];
    int rc = read_meta(c, meta);
    if (rc != 0)
        return rc;
    ASSERT(c->page_size > 0); /* read_meta has judged it */
    c->file_pages = size / c->page_size;
    c->whole = size <= whole_bytes_max;
    uint64_t last = le64_get(meta + HEADER_SIZE + 120);
    /* Not compared with the file's length: pages at the end that were given
     * back by the transaction that took them are never written. */
    if (last < 1 || last > UINT32_MAX)
        return damaged(c, 0, "an impossible number of pages");
    c->page_count = last + 1;
    c->used = calloc(1, (size_t)(c->page_count / 8 + 1));
    rc = c->used == NULL ? errmsg_set(c->e, ERR_NOMEM,
                                      "checking %s: out of memory", c->path)
                         : check_trees(c, meta);
    free(c->used);
    return rc;
}

int page_check(const char *directory, uint64_t whole_bytes_max,
               struct errmsg *e)
{
    char path[4096];
    int length = snprintf(path, sizeof path, "%s/data.mdb", directory);
    if (length < 0 || (size_t)length >= sizeof path)
        return errmsg_set(e, ERR_INVALID, "%s: path is too long", directory);
    struct check c = {.path = path, .e = e};
    c.fd = open(path, O_RDONLY | O_CLOEXEC);
    if (c.fd < 0)
        return errno == ENOENT ? 0
                               : errmsg_set(e, ERR_IO, "opening %s: %s", path,
                                            strerror(errno));
    struct stat file;
    int rc = 0;
    if (fstat(c.fd, &file) != 0)
        rc = errmsg_set(e, ERR_IO, "%s: %s", path, strerror(errno));
    else if (file.st_size > 0)
        rc = check_file(&c, (uint64_t)file.st_size, whole_bytes_max);
    close(c.fd);
    return rc;
}
