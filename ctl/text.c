/* wcwidth is X/Open's. */
#define _XOPEN_SOURCE 700
#include "ctl/text.h"

#include <errno.h>
#include <locale.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <wchar.h>

enum { LINE_WIDTH = 79 };

void text_init(void)
{
    /* LC_CTYPE only: numbers keep their point. */
    setlocale(LC_CTYPE, "");
    if (MB_CUR_MAX == 1)
        setlocale(LC_CTYPE, "C.UTF-8");
}

/* Bytes of the character at @text, its columns, and whether it may be shown. */
static size_t next_character(const char *text, size_t *columns, bool *shown)
{
    mbstate_t state = {0};
    wchar_t c;
    size_t size = mbrtowc(&c, text, strlen(text), &state);
    *columns = 1;
    *shown = false;
    if (size == (size_t)-1 || size == (size_t)-2 || size == 0)
        return 1;
    int width = wcwidth(c);
    if (width >= 0) {
        *columns = (size_t)width;
        *shown = true;
    }
    return size;
}

size_t text_width(const char *text)
{
    size_t sum = 0, columns;
    bool shown;
    while (*text != '\0') {
        text += next_character(text, &columns, &shown);
        sum += columns;
    }
    return sum;
}

void text_put(FILE *out, const char *text)
{
    size_t columns;
    bool shown;
    while (*text != '\0') {
        size_t size = next_character(text, &columns, &shown);
        if (shown)
            fwrite(text, 1, size, out);
        else
            fputc('?', out);
        text += size;
    }
}

void text_wrap(FILE *out, const char *text, int column, int indent)
{
    int at = column;
    bool fresh = true;
    while (*text != '\0') {
        char word[512];
        size_t length = strcspn(text, " ");
        snprintf(word, sizeof word, "%.*s", (int)length, text);
        int width = (int)text_width(word);
        if (!fresh && at + 1 + width > LINE_WIDTH) {
            fprintf(out, "\n%*s", indent, "");
            at = indent;
        } else if (!fresh) {
            fputc(' ', out);
            at++;
        }
        text_put(out, word);
        at += width;
        fresh = false;
        text += length + strspn(text + length, " ");
    }
    fputc('\n', out);
}

/* --- units ---------------------------------------------------------------- */

void bytes_format(uint64_t bytes, char out[UNIT_TEXT_SIZE])
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
    double value = (double)bytes;
    size_t unit = 0;
    /* 1023.95 would be printed as 1024.0. */
    while (value >= 1023.95 && unit + 1 < sizeof units / sizeof *units) {
        value /= 1024;
        unit++;
    }
    snprintf(out, UNIT_TEXT_SIZE, unit == 0 ? "%.0f %s" : "%.1f %s", value,
             units[unit]);
}

void duration_format(double ms, char out[UNIT_TEXT_SIZE])
{
    if (ms < 0.05)
        snprintf(out, UNIT_TEXT_SIZE, "<0.1 ms");
    else if (ms < 9.95)
        snprintf(out, UNIT_TEXT_SIZE, "%.1f ms", ms);
    else if (ms < 999.5)
        snprintf(out, UNIT_TEXT_SIZE, "%.0f ms", ms);
    else if (ms < 120e3)
        snprintf(out, UNIT_TEXT_SIZE, "%.1f s", ms / 1e3);
    else if (ms < 7200e3)
        snprintf(out, UNIT_TEXT_SIZE, "%.0f min", ms / 60e3);
    else if (ms < 48 * 3600e3)
        snprintf(out, UNIT_TEXT_SIZE, "%.0f h", ms / 3600e3);
    else
        snprintf(out, UNIT_TEXT_SIZE, "%.0f d", ms / 86400e3);
}

bool number_parse(const char *text, uint64_t max, uint64_t *out)
{
    if (text[0] == '\0' || strspn(text, "0123456789") != strlen(text))
        return false;
    errno = 0;
    unsigned long long value = strtoull(text, NULL, 10);
    if (errno != 0 || value > max)
        return false;
    *out = value;
    return true;
}

bool duration_parse(const char *text, uint64_t *ms)
{
    static const struct {
        const char *suffix;
        uint64_t ms;
    } units[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}};
    char digits[16];
    size_t length = strspn(text, "0123456789");
    uint64_t value;
    if (length >= sizeof digits)
        return false;
    memcpy(digits, text, length);
    digits[length] = '\0';
    if (!number_parse(digits, 1000 * 1000, &value) || value == 0)
        return false;
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        if (strcmp(text + length, units[i].suffix) == 0) {
            *ms = value * units[i].ms;
            return true;
        }
    }
    return false;
}

/* timegm would do, but is no POSIX. */
static uint64_t days_before(unsigned year, unsigned month, unsigned day)
{
    static const unsigned before[] = {0,   31,  59,  90,  120, 151,
                                      181, 212, 243, 273, 304, 334};
    unsigned past = year - (month <= 2 ? 1 : 0);
    uint64_t leap_days = past / 4 - past / 100 + past / 400 - 477;
    return (uint64_t)(year - 1970) * 365 + leap_days + before[month - 1] + day -
           1;
}

bool time_text_parse(const char *text, uint64_t *unix_s)
{
    unsigned year, month, day, hour, minute, second;
    int end = 0;
    if (number_parse(text, UINT32_MAX, unix_s))
        return true;
    if (sscanf(text, "%4u-%2u-%2uT%2u:%2u:%2uZ%n", &year, &month, &day, &hour,
               &minute, &second, &end) != 6 ||
        end == 0 || text[end] != '\0' || year < 1970 || month < 1 ||
        month > 12 || day < 1 || day > 31 || hour > 23 || minute > 59 ||
        second > 60)
        return false;
    *unix_s = ((days_before(year, month, day) * 24 + hour) * 60 + minute) * 60 +
              second;
    return true;
}

/* --- the terminal --------------------------------------------------------- */

bool is_terminal(FILE *out)
{
    return isatty(fileno(out)) == 1;
}

size_t terminal_width(FILE *out)
{
    struct winsize size;
    if (!is_terminal(out))
        return SIZE_MAX;
    if (ioctl(fileno(out), TIOCGWINSZ, &size) != 0 || size.ws_col == 0)
        return 80;
    return size.ws_col;
}

void tone_put(FILE *out, enum tone tone, const char *text)
{
    static const char *const codes[] = {
        [TONE_PLAIN] = "",   [TONE_GOOD] = "32", [TONE_DOUBT] = "33",
        [TONE_BAD] = "1;31", [TONE_QUIET] = "2",
    };
    const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");
    bool coloured = tone != TONE_PLAIN && is_terminal(out) &&
                    (no_color == NULL || no_color[0] == '\0') && term != NULL &&
                    strcmp(term, "dumb") != 0;
    if (coloured)
        fprintf(out, "\033[%sm", codes[tone]);
    text_put(out, text);
    if (coloured)
        fputs("\033[0m", out);
}

/* Whether a line is there: nothing is written where none was. */
static bool progress_is_shown;

void progress_show(const char *format, ...)
{
    char line[512];
    va_list args;
    if (!is_terminal(stderr))
        return;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    /* A line that wraps could not be overwritten. */
    size_t width = terminal_width(stderr);
    while (line[0] != '\0' && text_width(line) >= width)
        line[strlen(line) - 1] = '\0';
    fputs("\r\033[K", stderr);
    progress_is_shown = true;
    text_put(stderr, line);
    fflush(stderr);
}

void progress_clear(void)
{
    if (progress_is_shown) {
        fputs("\r\033[K", stderr);
        fflush(stderr);
    }
    progress_is_shown = false;
}
