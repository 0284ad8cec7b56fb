#include "node/config_file.h"

#include <yaml.h>

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Parses one event; the caller deletes it when this is 0. */
static int next_event(yaml_parser_t *parser, const char *path,
                      yaml_event_t *event, struct errmsg *e)
{
    if (yaml_parser_parse(parser, event) != 0)
        return 0;
    return errmsg_set(
        e, ERR_INVALID, "%s:%zu: %s", path, parser->problem_mark.line + 1,
        parser->problem != NULL ? parser->problem : "this is no YAML");
}

static unsigned line_of(const yaml_event_t *event)
{
    return (unsigned)event->start_mark.line + 1;
}

/* One "key: value" whose key is @key: takes the value's event. */
static int read_value(yaml_parser_t *parser, const char *path,
                      const yaml_event_t *key, config_file_fn *fn, void *arg,
                      struct errmsg *e)
{
    const char *name = (const char *)key->data.scalar.value;
    yaml_event_t value;
    int rv = next_event(parser, path, &value, e);
    if (rv != 0)
        return rv;
    if (value.type != YAML_SCALAR_EVENT) {
        rv = errmsg_set(e, ERR_INVALID, "%s:%u: %.64s takes one plain value",
                        path, line_of(key), name);
    } else {
        rv = fn(arg, name, (const char *)value.data.scalar.value, line_of(key),
                e);
        if (rv < 0)
            errmsg_wrap(e, rv, "%s:%u", path, line_of(key));
    }
    yaml_event_delete(&value);
    return rv;
}

static int read_events(yaml_parser_t *parser, const char *path,
                       config_file_fn *fn, void *arg, struct errmsg *e)
{
    bool in_map = false, done = false;
    int rv = 0;
    while (rv >= 0 && !done) {
        yaml_event_t event;
        rv = next_event(parser, path, &event, e);
        if (rv < 0)
            break;
        if (event.type == YAML_STREAM_END_EVENT)
            done = true;
        else if (event.type == YAML_MAPPING_START_EVENT && !in_map)
            in_map = true;
        else if (event.type == YAML_SCALAR_EVENT && in_map)
            rv = read_value(parser, path, &event, fn, arg, e);
        else if (event.type == YAML_SCALAR_EVENT &&
                 event.data.scalar.length == 0)
            ; /* an empty document */
        else if (event.type == YAML_SCALAR_EVENT ||
                 event.type == YAML_SEQUENCE_START_EVENT ||
                 event.type == YAML_MAPPING_START_EVENT ||
                 event.type == YAML_ALIAS_EVENT)
            rv = errmsg_set(e, ERR_INVALID,
                            "%s:%u: a flat map of settings is "
                            "expected, \"name: value\" on each line",
                            path, line_of(&event));
        yaml_event_delete(&event);
    }
    return rv;
}

int config_file_read(const char *path, config_file_fn *fn, void *arg,
                     struct errmsg *e)
{
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return errmsg_set(e, ERR_IO, "%s: %s", path, strerror(errno));
    yaml_parser_t parser;
    if (yaml_parser_initialize(&parser) == 0) {
        fclose(file);
        return errmsg_set(e, ERR_NOMEM, "%s: out of memory", path);
    }
    yaml_parser_set_input_file(&parser, file);
    int rv = read_events(&parser, path, fn, arg, e);
    yaml_parser_delete(&parser);
    fclose(file);
    return rv < 0 ? rv : 0;
}
