#include "raft/events.h"

#include <xxhash.h>

#include <stdio.h>

void events_init(struct events *v, repl_event_fn *fn, void *arg)
{
    *v = (struct events){.fn = fn, .arg = arg};
    atomic_init(&v->failed, false);
}

static void tell(struct events *v, enum repl_event_kind kind, int exit_code,
                 const char *event, const char *format, va_list args)
    __attribute__((format(printf, 5, 0)));

static void tell(struct events *v, enum repl_event_kind kind, int exit_code,
                 const char *event, const char *format, va_list args)
{
    char message[512];
    vsnprintf(message, sizeof message, format, args);
    if (v->fn != NULL)
        v->fn(v->arg, kind, event, message, exit_code);
}

void events_info(struct events *v, const char *event, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    tell(v, REPL_INFO, 0, event, format, args);
    va_end(args);
}

void events_warn(struct events *v, const char *event, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    tell(v, REPL_WARN, 0, event, format, args);
    va_end(args);
}

void events_fatal(struct events *v, int exit_code, const char *event,
                  const char *format, ...)
{
    if (atomic_exchange(&v->failed, true))
        return;
    va_list args;
    va_start(args, format);
    tell(v, REPL_FATAL, exit_code, event, format, args);
    va_end(args);
}

void events_restart(struct events *v, const char *event, const char *format,
                    ...)
{
    if (atomic_exchange(&v->failed, true))
        return;
    va_list args;
    va_start(args, format);
    tell(v, REPL_RESTART, EXIT_RESTART, event, format, args);
    va_end(args);
}

bool events_may_tell(struct events *v, const char *source, uint64_t now_ms)
{
    uint64_t key = XXH3_64bits(source, strlen(source));
    size_t oldest = 0;
    for (size_t i = 0; i < EVENT_SOURCES_MAX; i++) {
        if (v->quiet[i].key == key && v->quiet[i].until_ms > now_ms)
            return false;
        if (v->quiet[i].until_ms < v->quiet[oldest].until_ms)
            oldest = i;
    }
    /* A flood from more sources than slots must not become a flood of lines. */
    if (v->quiet[oldest].until_ms > now_ms)
        return false;
    v->quiet[oldest].key = key;
    v->quiet[oldest].until_ms = now_ms + EVENT_QUIET_MS;
    return true;
}
