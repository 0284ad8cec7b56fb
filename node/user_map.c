#include "node/user_map.h"

#include <stdlib.h>
#include <xxhash.h>

enum { NAMES_FIRST = 64, DEVICES_FIRST = 1024 };

static size_t place_of(const struct user_map *m, const char *name)
{
    size_t mask = 2 * m->capacity - 1;
    size_t at = (size_t)XXH3_64bits(name, strlen(name)) & mask;
    while (m->index[at] != 0 && strcmp(m->names[m->index[at] - 1], name) != 0)
        at = (at + 1) & mask;
    return at;
}

static int grow_names(struct user_map *m)
{
    size_t capacity = m->capacity == 0 ? NAMES_FIRST : 2 * m->capacity;
    char **names = realloc(m->names, capacity * sizeof *names);
    if (names == NULL)
        return ERR_NOMEM;
    m->names = names;
    uint32_t *index = calloc(2 * capacity, sizeof *index);
    if (index == NULL)
        return ERR_NOMEM;
    free(m->index);
    m->index = index;
    m->capacity = capacity;
    for (size_t i = 0; i < m->count; i++)
        m->index[place_of(m, m->names[i])] = (uint32_t)i + 1;
    return 0;
}

static int number_of(struct user_map *m, const char *name, uint32_t *out)
{
    size_t at = m->capacity == 0 ? 0 : place_of(m, name);
    if (m->capacity == 0 || (m->index[at] == 0 && m->count == m->capacity)) {
        if (grow_names(m) != 0)
            return ERR_NOMEM;
        at = place_of(m, name);
    }
    if (m->index[at] == 0) {
        char *copy = strdup(name);
        if (copy == NULL)
            return ERR_NOMEM;
        m->names[m->count++] = copy;
        m->index[at] = (uint32_t)m->count;
    }
    *out = m->index[at] - 1;
    return 0;
}

static int grow_devices(struct user_map *m, uint32_t device)
{
    size_t count = m->device_count == 0 ? DEVICES_FIRST : m->device_count;
    while (count <= device)
        count *= 2;
    uint32_t *more = realloc(m->of_device, count * sizeof *more);
    if (more == NULL)
        return ERR_NOMEM;
    memset(more + m->device_count, 0, (count - m->device_count) * sizeof *more);
    m->of_device = more;
    m->device_count = count;
    return 0;
}

static int look_up(struct user_map *m, uint32_t device)
{
    uint32_t number = 0;
    int rv = device < m->device_count ? 0 : grow_devices(m, device);
    if (rv != 0)
        return rv;
    roster_read_lock(m->roster);
    const struct device *d = roster_device(m->roster, device);
    if (d != NULL && d->kind == DEVICE_USER)
        rv = number_of(m, d->user, &number);
    roster_read_unlock(m->roster);
    m->of_device[device] = number + 1;
    return rv;
}

uint32_t user_map_get(void *arg, uint32_t device)
{
    struct user_map *m = arg;
    if (m->failed)
        return 0;
    if (device >= m->device_count || m->of_device[device] == 0) {
        if (look_up(m, device) != 0) {
            m->failed = true;
            return 0;
        }
    }
    return m->of_device[device] - 1;
}

int user_map_init(struct user_map *m, struct roster *r)
{
    uint32_t nobody;
    *m = (struct user_map){.roster = r};
    return number_of(m, "", &nobody);
}

void user_map_deinit(struct user_map *m)
{
    for (size_t i = 0; i < m->count; i++)
        free(m->names[i]);
    free(m->names);
    free(m->index);
    free(m->of_device);
    *m = (struct user_map){0};
}
