/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A process that a test started: its own process group, pipes on stdin, stdout and stderr, dead
 * when the test program dies. Every wait has a bound and both outputs are read meanwhile, so that
 * nobody blocks on a full pipe. Failing to start, or running into a bound, fails the test.
 */
#ifndef HARNESS_PROCESS_H
#define HARNESS_PROCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define PROCESS_TIMEOUT_MS 20000

struct process;

enum process_stream { PROCESS_STDOUT, PROCESS_STDERR };

struct process *process_start(const char *const argv[]);
pid_t process_pid(const struct process *process);

/* The next line that starts with prefix, not read before; NULL when the time or the stream ends. */
const char *process_try_line(struct process *process, enum process_stream stream,
			     const char *prefix, int timeout_ms);
/* The same, but NULL fails the test, which then prints what was said so far. */
const char *process_wait_line(struct process *process, enum process_stream stream,
			      const char *prefix, int timeout_ms);

void process_say(struct process *process, const char *line);
void process_close_stdin(struct process *process);
void process_signal(struct process *process, int signal);

/* Exit status, or 128 + signal. Fails the test when the process does not end in time. */
int process_wait(struct process *process, int timeout_ms);
bool process_is_running(struct process *process);

/* Everything said so far; valid until the next call on this process. */
const char *process_text(struct process *process, enum process_stream stream);

/* Kills what still runs, with its whole group. Takes NULL. */
void process_free(struct process *process);

/* Descriptors of BPF links that @pid has. */
size_t process_count_links(pid_t pid);
/* Until they are so many; running into the bound fails the test. */
void process_wait_links(pid_t pid, size_t count, int timeout_ms);

/* For a cmocka teardown: frees every process of this test program. */
int process_teardown(void **state);

/* Where the build is: $MON_BUILD, or build. */
const char *process_build_dir(void);

#endif
