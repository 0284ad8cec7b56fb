/* Text for people: display columns of UTF-8, units, and what a terminal may be
 * shown. What nodes and gateways call themselves comes from outside: control
 * characters never reach the terminal. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum { UNIT_TEXT_SIZE = 32 };

/* Once, before the others: takes the terminal's character set. */
void text_init(void);

/* Display columns; a control character counts as the '?' that is shown. */
size_t text_width(const char *text);

/* Prints @text with '?' for control characters. */
void text_put(FILE *out, const char *text);

/* "512 B", "1.2 MiB". */
void bytes_format(uint64_t bytes, char out[UNIT_TEXT_SIZE]);
/* "<0.1 ms", "0.4 ms", "12 ms", "3.2 s", "5 min", "3 h", "12 d". */
void duration_format(double ms, char out[UNIT_TEXT_SIZE]);

/* "500ms", "10s", "5m", "2h"; false if it is none or 0. */
bool duration_parse(const char *text, uint64_t *ms);
/* "1764374400" or "2026-11-29T00:00:00Z", in UTC. */
bool time_text_parse(const char *text, uint64_t *unix_s);
/* Decimal digits up to @max. */
bool number_parse(const char *text, uint64_t max, uint64_t *out);

/* Prints @text and a newline, wrapped at 79 columns: the first line goes on at
 * @column, others begin with @indent blanks. */
void text_wrap(FILE *out, const char *text, int column, int indent);

/* --- the terminal --------------------------------------------------------- */

/* Columns of the terminal behind @out, SIZE_MAX if it is none. */
size_t terminal_width(FILE *out);
bool is_terminal(FILE *out);

enum tone { TONE_PLAIN, TONE_GOOD, TONE_DOUBT, TONE_BAD, TONE_QUIET };
/* @text in the colour of @tone where @out is a terminal that wants colours
 * (NO_COLOR unset). */
void tone_put(FILE *out, enum tone tone, const char *text);

/* One line on stderr that the next one overwrites, only on a terminal. */
void progress_show(const char *format, ...)
    __attribute__((format(printf, 1, 2)));
void progress_clear(void);
