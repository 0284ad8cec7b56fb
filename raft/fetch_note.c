#include "raft/fetch_note.h"

#include "base/bytes.h"
#include "base/durable.h"
#include "base/file.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static const char first_line[] = "holdfast fetch 1";

static void put_note(struct buf *out, const struct fetch_note *note)
{
    buf_printf(out, "%s\ncluster ", first_line);
    for (size_t i = 0; i < CLUSTER_ID_SIZE; i++)
        buf_printf(out, "%02x", note->cluster_id[i]);
    buf_printf(out, "\nindex %" PRIu64 "\n", note->index);
    for (size_t i = 0; i < note->member_count; i++)
        buf_printf(out, "member %s\n", note->members[i]);
}

int fetch_note_write(const char *data_dir, const struct fetch_note *note,
                     struct errmsg *e)
{
    char path[DURABLE_PATH_SIZE];
    struct buf text = {0};
    put_note(&text, note);
    int rv = buf_failed(&text) ? errmsg_set(e, ERR_NOMEM, "out of memory")
                               : durable_path(path, data_dir, "fetch", e);
    if (rv == 0)
        rv = durable_write(path, text.data, text.size, e);
    buf_deinit(&text);
    return rv;
}

static bool parse_cluster(const char *text, uint8_t out[CLUSTER_ID_SIZE])
{
    for (size_t i = 0; i < CLUSTER_ID_SIZE; i++) {
        int high = hex_digit((uint8_t)text[2 * i]);
        int low = high < 0 ? -1 : hex_digit((uint8_t)text[2 * i + 1]);
        if (low < 0)
            return false;
        out[i] = (uint8_t)(high << 4 | low);
    }
    return text[2 * CLUSTER_ID_SIZE] == '\0';
}

static bool parse_line(const char *line, struct fetch_note *note)
{
    if (strncmp(line, "cluster ", 8) == 0)
        return parse_cluster(line + 8, note->cluster_id);
    if (strncmp(line, "index ", 6) == 0) {
        char *end;
        note->index = strtoull(line + 6, &end, 10);
        return end != line + 6 && *end == '\0';
    }
    if (strncmp(line, "member ", 7) == 0 && note->member_count < PEERS_MAX &&
        line[7] != '\0' && strlen(line + 7) <= MEMBER_ADDRESS_LENGTH_MAX) {
        memcpy(note->members[note->member_count++], line + 7,
               strlen(line + 7) + 1);
        return true;
    }
    return false;
}

static bool parse(char *text, struct fetch_note *note)
{
    static const uint8_t none[CLUSTER_ID_SIZE];
    bool first = true;
    for (char *line = text, *end; *line != '\0'; line = end + 1) {
        end = strchr(line, '\n');
        if (end == NULL)
            return false;
        *end = '\0';
        if (first ? strcmp(line, first_line) != 0 : !parse_line(line, note))
            return false;
        first = false;
    }
    return note->member_count > 0 &&
           memcmp(note->cluster_id, none, sizeof none) != 0;
}

int fetch_note_read(const char *data_dir, struct fetch_note *note, bool *found,
                    struct errmsg *e)
{
    char path[DURABLE_PATH_SIZE], *text;
    *note = (struct fetch_note){0};
    *found = false;
    int rv = durable_path(path, data_dir, "fetch", e);
    if (rv == 0)
        rv = file_read_text(path, &text, e);
    if (rv != 0)
        return rv == ERR_NOTFOUND ? 0 : rv;
    *found = parse(text, note);
    free(text);
    if (*found)
        return 0;
    return errmsg_set(e, ERR_CORRUPT,
                      "%.150s cannot be read: this node was fetching a copy of "
                      "the store; wipe its data directory and let it join",
                      path);
}
