/* --help, written from the table of commands. */
#pragma once

#include "ctl/command.h"

#include <stdio.h>

/* Fits a screen of 80 x 24. */
void help_all(FILE *out);
/* The commands of one noun. */
void help_noun(FILE *out, const char *noun);
void help_command(FILE *out, const struct command *c);
