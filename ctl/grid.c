#include "ctl/grid.h"

#include "base/assert.h"
#include "ctl/text.h"

enum { GAP = 2 };

void grid_init(struct grid *t, const struct column *columns, size_t count)
{
    ASSERT(count <= GRID_COLUMNS_MAX);
    *t = (struct grid){.columns = columns, .column_count = count};
}

void grid_deinit(struct grid *t)
{
    buf_deinit(&t->text);
    buf_deinit(&t->cells);
}

void grid_put(struct grid *t, const char *text)
{
    size_t at = t->text.size;
    buf_put(&t->cells, &at, sizeof at);
    buf_put(&t->text, text, strlen(text) + 1);
}

void grid_printf(struct grid *t, const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    grid_put(t, text);
}

static const char *cell(const struct grid *t, size_t row, size_t column)
{
    size_t at;
    size_t i = row * t->column_count + column;
    memcpy(&at, t->cells.data + i * sizeof at, sizeof at);
    return (const char *)t->text.data + at;
}

static size_t row_count(const struct grid *t)
{
    return t->cells.size / sizeof(size_t) / t->column_count;
}

struct layout {
    size_t widths[GRID_COLUMNS_MAX]; /* 0: left out */
    bool narrow;
};

static const char *title(const struct grid *t, size_t column, bool narrow)
{
    const struct column *c = &t->columns[column];
    return narrow && c->short_title != NULL ? c->short_title : c->title;
}

/* Returns the width of the whole. */
static size_t lay_out(const struct grid *t, bool narrow, struct layout *l)
{
    size_t sum = 0, rows = row_count(t);
    l->narrow = narrow;
    for (size_t i = 0; i < t->column_count; i++) {
        size_t widest = 0;
        for (size_t row = 0; row < rows; row++) {
            size_t width = text_width(cell(t, row, i));
            widest = width > widest ? width : widest;
        }
        size_t head = text_width(title(t, i, narrow));
        if (widest > 0 && widest < head)
            widest = head;
        l->widths[i] = widest;
        sum += widest > 0 ? widest + GAP : 0;
    }
    return sum > 0 ? sum - GAP : 0;
}

static void put_spaces(FILE *out, size_t count)
{
    while (count-- > 0)
        fputc(' ', out);
}

/* Blanks are kept back, so that no line ends in them. */
static void put_cell(FILE *out, const char *text, size_t width, bool right,
                     size_t *blanks)
{
    size_t pad = width - text_width(text);
    if (right)
        *blanks += pad;
    if (text[0] != '\0') {
        put_spaces(out, *blanks);
        *blanks = 0;
        text_put(out, text);
    }
    *blanks += (right ? 0 : pad) + GAP;
}

int grid_print(const struct grid *t, FILE *out, struct errmsg *e)
{
    if (buf_failed(&t->text) || buf_failed(&t->cells))
        return errmsg_set(e, ERR_NOMEM, "out of memory");
    ASSERT(t->cells.size / sizeof(size_t) % t->column_count == 0);
    struct layout l;
    if (lay_out(t, false, &l) > terminal_width(out))
        (void)lay_out(t, true, &l);
    size_t blanks = 0, rows = row_count(t);
    for (size_t i = 0; i < t->column_count; i++)
        if (l.widths[i] > 0)
            put_cell(out, title(t, i, l.narrow), l.widths[i],
                     t->columns[i].right, &blanks);
    if (rows > 0)
        fputc('\n', out);
    for (size_t row = 0; row < rows; row++) {
        blanks = 0;
        for (size_t i = 0; i < t->column_count; i++)
            if (l.widths[i] > 0)
                put_cell(out, cell(t, row, i), l.widths[i], t->columns[i].right,
                         &blanks);
        fputc('\n', out);
    }
    return 0;
}
