#include "bench/cpu.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void add(struct cpu_usage *usage, const char *name, double seconds)
{
    size_t i = 0;
    while (i < usage->count && strcmp(usage->threads[i].name, name) != 0)
        i++;
    if (i == CPU_NAMES_MAX)
        return;
    if (i == usage->count) {
        snprintf(usage->threads[i].name, CPU_NAME_SIZE, "%s", name);
        usage->threads[i].seconds = 0;
        usage->count++;
    }
    usage->threads[i].seconds += seconds;
}

/* "id (name) state …" with utime and stime as fields 14 and 15; the name may
 * hold anything, so it ends at the last parenthesis. */
static void add_thread(struct cpu_usage *usage, const char *path)
{
    char line[1024];
    FILE *f = fopen(path, "r");
    if (f == NULL)
        return;
    char *read = fgets(line, sizeof line, f);
    fclose(f);
    char *start = read == NULL ? NULL : strchr(line, '(');
    char *end = read == NULL ? NULL : strrchr(line, ')');
    uint64_t user, system;
    if (start == NULL || end == NULL ||
        sscanf(end + 1,
               " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %" SCNu64
               " %" SCNu64,
               &user, &system) != 2)
        return;
    *end = '\0';
    add(usage, start + 1,
        (double)(user + system) / (double)sysconf(_SC_CLK_TCK));
}

/* PostgreSQL is a process a connection. */
static void add_children(struct cpu_usage *usage, pid_t pid)
{
    char path[64];
    int child;
    snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)pid,
             (int)pid);
    FILE *f = fopen(path, "r");
    if (f == NULL)
        return;
    while (fscanf(f, "%d", &child) == 1)
        cpu_add(usage, (pid_t)child);
    fclose(f);
}

void cpu_add(struct cpu_usage *usage, pid_t pid)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
    DIR *tasks = opendir(path);
    if (tasks == NULL)
        return;
    for (struct dirent *entry; (entry = readdir(tasks)) != NULL;) {
        char stat[sizeof path + sizeof entry->d_name + 8];
        if (entry->d_name[0] == '.')
            continue;
        snprintf(stat, sizeof stat, "%s/%s/stat", path, entry->d_name);
        add_thread(usage, stat);
    }
    closedir(tasks);
    add_children(usage, pid);
}

double cpu_difference(const struct cpu_usage *before,
                      const struct cpu_usage *after, struct cpu_usage *out)
{
    double sum = 0;
    *out = *after;
    for (size_t i = 0; i < out->count; i++) {
        for (size_t j = 0; j < before->count; j++)
            if (strcmp(out->threads[i].name, before->threads[j].name) == 0)
                out->threads[i].seconds -= before->threads[j].seconds;
        sum += out->threads[i].seconds;
    }
    return sum;
}
