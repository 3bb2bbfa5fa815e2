/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Errors are values. A function returns -errno; one whose failure a user has to understand also
 * takes a struct mon_error and leaves there one sentence (what, where, what to try) and the exit
 * code it should end with. Only cli/ prints it.
 */
#ifndef MON_ERROR_H
#define MON_ERROR_H

enum mon_exit {
	MON_EXIT_OK = 0,
	MON_EXIT_RUNTIME = 1,
	MON_EXIT_USAGE = 2,
	MON_EXIT_NO_MATCH = 3,
	MON_EXIT_PERMISSION = 4,
	MON_EXIT_UNAVAILABLE = 5, /* target or output */
	MON_EXIT_KERNEL = 6,	  /* this kernel lacks what is needed */
	MON_EXIT_LOSS = 7,	  /* finished, with loss, and --strict was given */
};

#define MON_ERROR_BYTES 4096

struct mon_error {
	enum mon_exit exit_code;
	char text[MON_ERROR_BYTES]; /* escaped already; may hold newlines (lists); no final one */
};

/*
 * Fills @error (may be NULL) and returns -@number, so that a failure is one statement:
 * `return mon_error_set(error, MON_EXIT_UNAVAILABLE, ESRCH, "no process has pid %d", pid);`
 * Strings from outside go through mon_escape() first. Truncates, never overflows.
 */
int mon_error_set(struct mon_error *error, enum mon_exit exit_code, int number, const char *format,
		  ...) __attribute__((format(printf, 4, 5)));

#endif
