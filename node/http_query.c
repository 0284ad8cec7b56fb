/* See http_query.h. Dates are counted with the days-from-civil formula: the
 * calendar functions of libc depend on locale and time zone. */
#include "node/http_query.h"

#include <stdio.h>
#include <stdlib.h>

int percent_decode(struct bytes raw, char *out, size_t capacity)
{
    size_t length = 0;
    for (size_t i = 0; i < raw.size; i++) {
        uint8_t c = raw.data[i];
        if (c == '%') {
            if (raw.size - i < 3)
                return ERR_INVALID;
            int high = hex_digit(raw.data[i + 1]);
            int low = hex_digit(raw.data[i + 2]);
            if (high < 0 || low < 0)
                return ERR_INVALID;
            c = (uint8_t)(high * 16 + low);
            i += 2;
        }
        if (length + 1 >= capacity)
            return ERR_LIMIT;
        out[length++] = (char)c;
    }
    if (capacity == 0)
        return ERR_LIMIT;
    out[length] = '\0';
    /* Also refuses NUL, so the result is a C string. */
    if (!bytes_are_text((struct bytes){(const uint8_t *)out, length}))
        return ERR_INVALID;
    return (int)length;
}

/* The bytes before the first @separator, and @rest after it. */
static struct bytes split(struct bytes *rest, uint8_t separator)
{
    if (rest->size == 0)
        return *rest;
    const uint8_t *at = memchr(rest->data, separator, rest->size);
    struct bytes head = *rest;
    if (at == NULL) {
        rest->data += rest->size;
        rest->size = 0;
        return head;
    }
    head.size = (size_t)(at - rest->data);
    rest->data += head.size + 1;
    rest->size -= head.size + 1;
    return head;
}

static int add_param(struct query_params *q, struct bytes pair, size_t *used,
                     struct errmsg *e)
{
    struct bytes value = pair;
    struct bytes name = split(&value, '=');
    if (q->count == QUERY_PARAMS_MAX)
        return errmsg_set(e, ERR_LIMIT, "more than %d query parameters",
                          QUERY_PARAMS_MAX);
    char *text = q->text + *used;
    int length = percent_decode(name, text, sizeof q->text - *used);
    if (length < 0)
        return errmsg_set(e, length, "the query has a bad escape in a name");
    *used += (size_t)length + 1;
    if (query_find(q, text) != NULL)
        return errmsg_set(e, ERR_INVALID, "query parameter %.40s: given twice",
                          text);
    char *decoded = q->text + *used;
    int size = percent_decode(value, decoded, sizeof q->text - *used);
    if (size < 0)
        return errmsg_set(e, size, "query parameter %.40s: a bad escape", text);
    *used += (size_t)size + 1;
    q->params[q->count++] = (struct query_param){text, decoded};
    return 0;
}

int query_parse(struct bytes raw, struct query_params *out, struct errmsg *e)
{
    out->count = 0;
    if (raw.size > QUERY_SIZE_MAX)
        return errmsg_set(e, ERR_LIMIT, "the query is longer than %d bytes",
                          QUERY_SIZE_MAX);
    size_t used = 0;
    while (raw.size > 0) {
        struct bytes pair = split(&raw, '&');
        if (pair.size == 0)
            continue;
        int rv = add_param(out, pair, &used, e);
        if (rv != 0)
            return rv;
    }
    return 0;
}

const char *query_find(const struct query_params *q, const char *name)
{
    for (size_t i = 0; i < q->count; i++)
        if (strcmp(q->params[i].name, name) == 0)
            return q->params[i].value;
    return NULL;
}

int uint_parse(const char *text, uint64_t max, uint64_t *out)
{
    uint64_t value = 0;
    if (*text == '\0')
        return ERR_INVALID;
    for (; *text != '\0'; text++) {
        if (*text < '0' || *text > '9')
            return ERR_INVALID;
        uint64_t digit = (uint64_t)(*text - '0');
        if (value > (max - digit) / 10 || digit > max)
            return ERR_INVALID;
        value = value * 10 + digit;
    }
    *out = value;
    return 0;
}

/* Exactly @count digits at *@text, which moves on; -1 otherwise. */
static int digits(const char **text, int count)
{
    int value = 0;
    for (int i = 0; i < count; i++, (*text)++) {
        if (**text < '0' || **text > '9')
            return -1;
        value = value * 10 + (**text - '0');
    }
    return value;
}

static bool literal(const char **text, char c)
{
    if (**text != c)
        return false;
    (*text)++;
    return true;
}

static int days_in_month(int year, int month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    return days[month - 1] + (month == 2 && leap ? 1 : 0);
}

/* Days since 1970-01-01 (H. Hinnant's days_from_civil, for years from 1970). */
static int64_t days_from_civil(int year, int month, int day)
{
    year -= month <= 2 ? 1 : 0;
    int era = year / 400;
    int year_of_era = year - era * 400;
    int day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    int day_of_era =
        year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return (int64_t)era * 146097 + day_of_era - 719468;
}

/* "Z" or "+hh:mm" at the end of @text: seconds east of UTC. */
static int parse_offset(const char *text, int64_t *offset_s)
{
    if (strcmp(text, "Z") == 0 || strcmp(text, "z") == 0) {
        *offset_s = 0;
        return 0;
    }
    int sign = *text == '+' ? 1 : -1;
    if (*text != '+' && *text != '-')
        return ERR_INVALID;
    text++;
    int hours = digits(&text, 2);
    if (hours < 0 || hours > 23 || !literal(&text, ':'))
        return ERR_INVALID;
    int minutes = digits(&text, 2);
    if (minutes < 0 || minutes > 59 || *text != '\0')
        return ERR_INVALID;
    *offset_s = (int64_t)sign * (hours * 3600 + minutes * 60);
    return 0;
}

/* An optional fraction of a second, at most nanoseconds. */
static int parse_fraction(const char **text, int64_t *ms)
{
    *ms = 0;
    if (!literal(text, '.'))
        return 0;
    int64_t unit = 100;
    int count = 0;
    for (; **text >= '0' && **text <= '9'; (*text)++, count++, unit /= 10)
        *ms += unit * (**text - '0');
    return count >= 1 && count <= 9 ? 0 : ERR_INVALID;
}

int rfc3339_parse(const char *text, uint64_t *unix_ms)
{
    int year = digits(&text, 4);
    if (year < 1970 || !literal(&text, '-'))
        return ERR_INVALID;
    int month = digits(&text, 2);
    if (month < 1 || month > 12 || !literal(&text, '-'))
        return ERR_INVALID;
    int day = digits(&text, 2);
    if (day < 1 || day > days_in_month(year, month))
        return ERR_INVALID;
    if (!literal(&text, 'T') && !literal(&text, 't') && !literal(&text, ' '))
        return ERR_INVALID;
    int hour = digits(&text, 2);
    if (hour < 0 || hour > 23 || !literal(&text, ':'))
        return ERR_INVALID;
    int minute = digits(&text, 2);
    if (minute < 0 || minute > 59 || !literal(&text, ':'))
        return ERR_INVALID;
    int second = digits(&text, 2);
    if (second < 0 || second > 60) /* a leap second is the next minute's 0 */
        return ERR_INVALID;
    int64_t ms, offset_s;
    if (parse_fraction(&text, &ms) != 0 || parse_offset(text, &offset_s) != 0)
        return ERR_INVALID;
    int64_t seconds = days_from_civil(year, month, day) * 86400 - offset_s;
    seconds += hour * 3600 + minute * 60 + second;
    if (seconds < 0)
        return ERR_INVALID;
    *unix_ms = (uint64_t)(seconds * 1000 + ms);
    return 0;
}

int time_parse(const char *text, uint64_t *unix_ms)
{
    uint64_t seconds;
    /* 9999-12-31, so that milliseconds typed by mistake are noticed. */
    if (uint_parse(text, 253402300799, &seconds) == 0) {
        *unix_ms = seconds * 1000;
        return 0;
    }
    return rfc3339_parse(text, unix_ms);
}

void time_format(uint64_t unix_ms, char out[TIME_TEXT_SIZE])
{
    int64_t seconds = (int64_t)(unix_ms / 1000);
    int64_t days = seconds / 86400 + 719468;
    int64_t era = days / 146097;
    int64_t day_of_era = days - era * 146097;
    int64_t year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 -
                           day_of_era / 146096) /
                          365;
    int64_t day_of_year =
        day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int64_t shifted = (5 * day_of_year + 2) / 153; /* March is 0 */
    int64_t day = day_of_year - (153 * shifted + 2) / 5 + 1;
    int64_t month = shifted < 10 ? shifted + 3 : shifted - 9;
    int64_t year = year_of_era + era * 400 + (month <= 2 ? 1 : 0);
    int64_t in_day = seconds % 86400;
    snprintf(out, TIME_TEXT_SIZE, "%04u-%02u-%02uT%02u:%02u:%02u.%03u",
             (unsigned)(year % 10000), (unsigned)month, (unsigned)day,
             (unsigned)(in_day / 3600), (unsigned)(in_day / 60 % 60),
             (unsigned)(in_day % 60), (unsigned)(unix_ms % 1000));
}
