/* This process, anew: the same program with the same arguments, pid and
 * standard streams, and nothing else. For a node whose data directory is ready
 * for another start (REPL_RESTART). Any thread. */
#pragma once

/* First thing in main; @argv is the process's own. */
void restart_remember(char **argv);

/* Returns only if the program cannot be executed. */
void restart_process(void);
