/* The daemons' log: one line an event on stderr, text for people or JSON for
 * machines. Libraries never log; a daemon logs once, where it decides.
 * Thread-safe: each line is one write(2). */
#pragma once

#include <stdbool.h>

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };
enum log_format { LOG_TEXT, LOG_JSON };

/* Call before threads start. */
void log_configure(enum log_level least, enum log_format format);

/* -1 if @name is none of debug, info, warn, error. */
int log_level_parse(const char *name);

/* @event is a fixed short name ("leader", "ready"); the message says what
 * happened and, where somebody must act, what to do. */
void log_line(enum log_level level, const char *event, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#define log_debug(...) log_line(LOG_DEBUG, __VA_ARGS__)
#define log_info(...) log_line(LOG_INFO, __VA_ARGS__)
#define log_warn(...) log_line(LOG_WARN, __VA_ARGS__)
#define log_error(...) log_line(LOG_ERROR, __VA_ARGS__)
