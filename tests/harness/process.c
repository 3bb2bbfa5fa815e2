/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Processes of a test. All of them are on one list, which the teardown and an exit handler empty;
 * PR_SET_PDEATHSIG covers the test program's own crash. Single-threaded.
 */
#include "tests/harness/process.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PIPE_BYTES (1 << 20)
#define TEXT_BYTES_MAX (16U << 20)

struct text {
	int fd;
	char *bytes; /* always terminated */
	size_t used;
	size_t size;
	size_t scanned; /* lines before it were handed out or passed over */
	char *line;	/* the copy handed out last */
};

struct process {
	struct process *next;
	pid_t pid;
	int input;
	int status;
	bool reaped;
	struct text texts[2];
};

static struct process *processes;

static long now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

const char *process_build_dir(void)
{
	const char *dir = getenv("MON_BUILD");

	return dir && *dir ? dir : "build";
}

static void free_all(void)
{
	while (processes)
		process_free(processes);
}

static void make_pipe(int ends[2])
{
	if (pipe2(ends, O_CLOEXEC) != 0)
		fail_msg("pipe: %s", strerror(errno));
	(void)fcntl(ends[0], F_SETPIPE_SZ, PIPE_BYTES);
}

static __attribute__((noreturn)) void child(pid_t parent, const int in[2], const int out[2],
					    const int err[2], const char *const argv[])
{
	sigset_t none;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(126);
	setpgid(0, 0);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	if (dup2(in[0], 0) < 0 || dup2(out[1], 1) < 0 || dup2(err[1], 2) < 0)
		_exit(126);
	execvp(argv[0], (char *const *)(uintptr_t)argv);
	dprintf(2, "%s: %s\n", argv[0], strerror(errno));
	_exit(127);
}

struct process *process_start(const char *const argv[])
{
	static bool once;
	struct process *process = calloc(1, sizeof(*process));
	pid_t parent = getpid();
	int in[2];
	int out[2];
	int err[2];

	assert_non_null(process);
	if (!once) {
		atexit(free_all);
		signal(SIGPIPE, SIG_IGN);
		once = true;
	}
	make_pipe(in);
	make_pipe(out);
	make_pipe(err);
	process->pid = fork();
	if (process->pid < 0)
		fail_msg("fork: %s", strerror(errno));
	if (process->pid == 0)
		child(parent, in, out, err, argv);
	(void)setpgid(process->pid, process->pid); /* whoever is first */
	close(in[0]);
	close(out[1]);
	close(err[1]);
	process->input = in[1];
	process->texts[PROCESS_STDOUT].fd = out[0];
	process->texts[PROCESS_STDERR].fd = err[0];
	for (int i = 0; i < 2; i++) {
		process->texts[i].bytes = calloc(1, 1);
		assert_non_null(process->texts[i].bytes);
		(void)fcntl(process->texts[i].fd, F_SETFL, O_NONBLOCK);
	}
	process->next = processes;
	processes = process;
	return process;
}

pid_t process_pid(const struct process *process)
{
	return process->pid;
}

/* Reads what is there; closes the stream at its end. */
static void drain(struct text *text)
{
	while (text->fd >= 0) {
		if (text->size - text->used < 4096) {
			size_t size = text->size ? text->size * 2 : 16384;

			if (size > TEXT_BYTES_MAX)
				fail_msg("a process said more than %u bytes", TEXT_BYTES_MAX);
			text->bytes = realloc(text->bytes, size);
			assert_non_null(text->bytes);
			text->size = size;
		}
		ssize_t got = read(text->fd, text->bytes + text->used, text->size - text->used - 1);

		if (got > 0) {
			text->used += (size_t)got;
		} else if (got == 0 || (errno != EAGAIN && errno != EINTR)) {
			close(text->fd);
			text->fd = -1;
		} else if (errno == EAGAIN) {
			break;
		}
		text->bytes[text->used] = '\0';
	}
}

static void drain_both(struct process *process)
{
	drain(&process->texts[PROCESS_STDOUT]);
	drain(&process->texts[PROCESS_STDERR]);
}

static void try_reap(struct process *process)
{
	if (!process->reaped && waitpid(process->pid, &process->status, WNOHANG) == process->pid)
		process->reaped = true;
}

/* Until something was said, a stream ended, or the time is over (false). */
static bool wait_for_words(struct process *process, long deadline_ms)
{
	struct pollfd fds[2];
	nfds_t count = 0;
	long left = deadline_ms - now_ms();

	for (int i = 0; i < 2; i++) {
		if (process->texts[i].fd >= 0)
			fds[count++] = (struct pollfd){process->texts[i].fd, POLLIN, 0};
	}
	if (left <= 0 || count == 0)
		return false;
	int ready = poll(fds, count, (int)left);

	drain_both(process);
	return ready > 0 || (ready < 0 && errno == EINTR);
}

static const char *next_line(struct text *text, const char *prefix)
{
	for (;;) {
		char *start = text->bytes + text->scanned;
		char *end = text->used > text->scanned
				    ? memchr(start, '\n', text->used - text->scanned)
				    : NULL;
		if (!end)
			return NULL;
		text->scanned = (size_t)(end + 1 - text->bytes);
		if (strncmp(start, prefix, strlen(prefix)) == 0) {
			free(text->line);
			text->line = strndup(start, (size_t)(end - start));
			return text->line;
		}
	}
}

const char *process_try_line(struct process *process, enum process_stream stream,
			     const char *prefix, int timeout_ms)
{
	long deadline_ms = now_ms() + timeout_ms;

	for (;;) {
		drain_both(process);
		const char *line = next_line(&process->texts[stream], prefix);

		if (line || process->texts[stream].fd < 0 || !wait_for_words(process, deadline_ms))
			return line ? line : next_line(&process->texts[stream], prefix);
	}
}

const char *process_wait_line(struct process *process, enum process_stream stream,
			      const char *prefix, int timeout_ms)
{
	const char *line = process_try_line(process, stream, prefix, timeout_ms);

	if (!line) {
		try_reap(process);
		fail_msg("no line \"%s\" within %d ms from pid %d (%s); stdout: %s; stderr: %s",
			 prefix, timeout_ms, (int)process->pid,
			 process->reaped ? "ended" : "running",
			 process->texts[PROCESS_STDOUT].bytes,
			 process->texts[PROCESS_STDERR].bytes);
	}
	return line;
}

void process_say(struct process *process, const char *line)
{
	if (process->input < 0 || dprintf(process->input, "%s\n", line) < 0)
		fail_msg("cannot write to pid %d: %s", (int)process->pid, strerror(errno));
}

void process_close_stdin(struct process *process)
{
	if (process->input >= 0)
		close(process->input);
	process->input = -1;
}

void process_signal(struct process *process, int signal)
{
	try_reap(process);
	if (!process->reaped && kill(process->pid, signal) != 0)
		fail_msg("kill %d: %s", (int)process->pid, strerror(errno));
}

bool process_is_running(struct process *process)
{
	try_reap(process);
	return !process->reaped;
}

int process_wait(struct process *process, int timeout_ms)
{
	long deadline_ms = now_ms() + timeout_ms;

	while (process_is_running(process)) {
		/* Streams first: they end with the process. A child may hold them, hence the step.
		 */
		long step_ms = now_ms() + 50;

		if (now_ms() >= deadline_ms)
			fail_msg("pid %d did not end within %d ms; stderr: %s", (int)process->pid,
				 timeout_ms, process->texts[PROCESS_STDERR].bytes);
		if (!wait_for_words(process, step_ms < deadline_ms ? step_ms : deadline_ms))
			(void)poll(NULL, 0, 1);
	}
	drain_both(process);
	if (WIFSIGNALED(process->status))
		return 128 + WTERMSIG(process->status);
	return WEXITSTATUS(process->status);
}

const char *process_text(struct process *process, enum process_stream stream)
{
	drain_both(process);
	return process->texts[stream].bytes;
}

void process_free(struct process *process)
{
	if (!process)
		return;
	for (struct process **link = &processes; *link; link = &(*link)->next) {
		if (*link == process) {
			*link = process->next;
			break;
		}
	}
	/* The group first: its leader's pid cannot be reused before it is reaped. */
	if (!process->reaped) {
		(void)kill(-process->pid, SIGKILL);
		(void)kill(process->pid, SIGKILL);
		(void)waitpid(process->pid, &process->status, 0);
	}
	process_close_stdin(process);
	for (int i = 0; i < 2; i++) {
		if (process->texts[i].fd >= 0)
			close(process->texts[i].fd);
		free(process->texts[i].bytes);
		free(process->texts[i].line);
	}
	free(process);
}

int process_teardown(void **state)
{
	(void)state;
	free_all();
	return 0;
}

size_t process_count_links(pid_t pid)
{
	char path[64], text[64];
	const struct dirent *entry;
	size_t count = 0;
	DIR *directory;

	(void)snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	directory = opendir(path);
	assert_non_null(directory);
	while ((entry = readdir(directory))) {
		ssize_t length =
			readlinkat(dirfd(directory), entry->d_name, text, sizeof(text) - 1);

		if (length < 0)
			continue;
		text[length] = '\0';
		count += strstr(text, "bpf_link") != NULL || strstr(text, "bpf-link") != NULL;
	}
	(void)closedir(directory);
	return count;
}

void process_wait_links(pid_t pid, size_t count, int timeout_ms)
{
	long deadline_ms = now_ms() + timeout_ms;
	size_t seen;

	while ((seen = process_count_links(pid)) != count) {
		if (now_ms() >= deadline_ms)
			fail_msg("process %d has %zu links, not %zu", (int)pid, seen, count);
		(void)poll(NULL, 0, 5);
	}
}
