#include "base/log.h"

#include "base/bytes.h"
#include "base/clock.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static enum log_level log_least = LOG_INFO;
static enum log_format log_form = LOG_TEXT;
static const char *const level_names[] = {"debug", "info", "warn", "error"};

void log_configure(enum log_level least, enum log_format format)
{
    log_least = least;
    log_form = format;
}

int log_level_parse(const char *name)
{
    for (int i = 0; i < (int)(sizeof level_names / sizeof *level_names); i++)
        if (strcmp(name, level_names[i]) == 0)
            return i;
    return -1;
}

/* Control characters never reach the terminal or break a JSON line. */
static size_t escape(const char *in, char *out, size_t room)
{
    size_t n = 0;
    for (; *in != '\0' && n + 7 < room; in++) {
        unsigned char c = (unsigned char)*in;
        if (log_form == LOG_JSON && (c == '"' || c == '\\')) {
            out[n++] = '\\';
            out[n++] = (char)c;
        } else if (c < 0x20 || c == 0x7f) {
            n += (size_t)snprintf(out + n, room - n, "\\u%04x", c);
        } else {
            out[n++] = (char)c;
        }
    }
    out[n] = '\0';
    return n;
}

void log_line(enum log_level level, const char *event, const char *format, ...)
{
    if (level < log_least)
        return;
    char message[512], escaped[1024], line[1280], when[32];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    escape(message, escaped, sizeof escaped);

    uint64_t now_ms = clock_wall_ms();
    time_t seconds = (time_t)(now_ms / 1000);
    struct tm utc;
    gmtime_r(&seconds, &utc);
    strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%S", &utc);
    int length = snprintf(
        line, sizeof line,
        log_form == LOG_JSON
            ? "{\"time\":\"%s.%03uZ\",\"level\":\"%s\",\"event\":\"%s\","
              "\"msg\":\"%s\"}\n"
            : "%s.%03uZ %-5s %s: %s\n",
        when, (unsigned)(now_ms % 1000), level_names[level], event, escaped);
    if (length > 0)
        (void)!write(STDERR_FILENO, line, (size_t)length);
}
