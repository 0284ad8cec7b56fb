#include "ctl/certificates.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char prefix[] = "holdfast_tls_cert_not_after_seconds{cert=\"";

static void read_line(const char *line, size_t length, certificate_fn *take,
                      void *arg)
{
    char text[512];
    if (length <= sizeof prefix - 1 || length >= sizeof text ||
        strncmp(line, prefix, sizeof prefix - 1) != 0)
        return;
    snprintf(text, sizeof text, "%.*s", (int)length, line);
    char *name = text + sizeof prefix - 1;
    char *quote = strchr(name, '"');
    char *space = quote != NULL ? strchr(quote, ' ') : NULL;
    if (space == NULL)
        return;
    char *end = NULL;
    double value = strtod(space + 1, &end);
    *quote = '\0';
    if (end != space + 1 && value > 0)
        take(arg, name, value);
}

void certificates_read(const char *metrics, certificate_fn *take, void *arg)
{
    while (*metrics != '\0') {
        size_t length = strcspn(metrics, "\n");
        read_line(metrics, length, take, arg);
        metrics += length + (metrics[length] == '\n');
    }
}
