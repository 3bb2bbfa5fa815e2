// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Rows L of the fault matrix: the end of a run while the database is out or the disk hangs, output
 * that nobody can take, and names that are no text. L04 for arguments is in test_memory.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/harness/code.h"
#include "tests/harness/database.h"
#include "tests/harness/inject.h"
#include "tests/harness/monitor.h"
#include "tests/harness/scratch.h"
#include "tests/harness/target.h"
#include "tests/harness/tool.h"

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CALLS 20000l
#define CALLS_TEXT "20000"
#define DRAIN_MS 5000
#define ONE_MORE_MS 1500 /* the process's own end, and a machine that does other things */
#define HURRY_MS 3000
#define TERMINAL_BYTES (1 << 18)
/* Colours, a title, a line of one's own, a delete, the C1 form of an escape, a change of direction.
 */
#define HOSTILE "\033[31mred\033]0;t\007\n\177\302\233x\342\200\256"

static char *directory, *database, *spool;

static int setup(void **state)
{
	(void)state;
	directory = scratch_new();
	database = scratch_path(directory, "monbpf.db");
	spool = scratch_path(directory, "monbpf.db.spool");
	return 0;
}

static int teardown(void **state)
{
	int result = process_teardown(state);

	scratch_remove(directory);
	free(database);
	free(spool);
	return result;
}

static long now_ms(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Records of what `spool check` finds to be sound. */
static long spool_records(void)
{
	struct monitor *check =
		monitor_start((const char *const[]){"spool", "check", spool, "--json", NULL});
	const char *at;
	long records;

	if (monitor_wait(check, PROCESS_TIMEOUT_MS))
		fail_msg("spool check: %s", monitor_stderr(check));
	at = strstr(monitor_stdout(check), "\"records\": ");
	assert_non_null(at);
	records = strtol(at + strlen("\"records\": "), NULL, 10);
	monitor_free(check);
	return records;
}

static void assert_quick_check(void)
{
	char *check = db_text(database, "PRAGMA quick_check");

	assert_string_equal(check, "ok");
	free(check);
}

static void L01_terminated_while_open(void **state)
{
	struct target *target = target_start("sequence", CALLS_TEXT, NULL);
	struct code *code = code_read(target_pid(target));
	struct monitor *monitor =
		monitor_attach(target, database, "--sample", "1", "--max-overhead", "0", "--args",
			       "1", "--breaker-timeout", "1h", "watched_*", NULL);
	struct process *inject =
		inject_start(monitor_pid(monitor), "pwrite64", "error=EIO", database);
	long began_ms, took_ms, records;
	char waits[64];
	int status;

	(void)state;
	target_go(target);
	assert_int_equal(target_done(target), CALLS);
	(void)monitor_wait_line(monitor, "monbpf: warning: breaker closed -> open",
				PROCESS_TIMEOUT_MS);
	monitor_assert_within_budget(monitor);
	began_ms = now_ms();
	process_signal(monitor_process(monitor), SIGTERM);
	status = monitor_wait(monitor, PROCESS_TIMEOUT_MS);
	took_ms = now_ms() - began_ms;
	inject_end(inject);
	records = spool_records();
	print_message("ended after %ld ms with %ld records in the spool\n", took_ms, records);
	assert_true(took_ms < DRAIN_MS + ONE_MORE_MS);
	assert_int_equal(status, 1);
	/* And what names the thread, the last counts, the end of the run. */
	assert_true(records > CALLS && records < CALLS + 10);
	assert_int_equal(monitor_count_lines(monitor, "breaker closed -> open"), 1);
	assert_quick_check();
	assert_int_equal(db_int(database, "SELECT complete FROM run"), 0);
	code_assert_unchanged(code);
	code_free(code);
	assert_int_equal(target_finish(target), 0);
	(void)snprintf(waits, sizeof(waits), "%ld records wait in", records);
	if (monitor_count_lines(monitor, waits) != 1)
		fail_msg("it does not say what waits where: %s", monitor_stderr(monitor));
}

static bool any_thread_is_in(pid_t pid, long call)
{
	char path[512], text[128];
	bool is_in = false;

	(void)snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	DIR *tasks = opendir(path);

	assert_non_null(tasks);
	for (struct dirent *task; !is_in && (task = readdir(tasks));) {
		(void)snprintf(path, sizeof(path), "/proc/%d/task/%s/syscall", (int)pid,
			       task->d_name);
		FILE *file = fopen(path, "re");

		if (file && fgets(text, sizeof(text), file))
			is_in = text[0] >= '0' && text[0] <= '9' && strtol(text, NULL, 10) == call;
		if (file)
			(void)fclose(file);
	}
	(void)closedir(tasks);
	return is_in;
}

static bool signal_is_pending(pid_t pid)
{
	unsigned long long pending = 0;
	char path[64], line[256];

	(void)snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	FILE *file = fopen(path, "re");

	assert_non_null(file);
	while (fgets(line, sizeof(line), file))
		if (sscanf(line, "ShdPnd: %llx", &pending) == 1)
			break;
	(void)fclose(file);
	return pending != 0;
}

/* The writer hangs in the disk for as long as this test can last. */
static void L02_second_interrupt(void **state)
{
	struct target *target = target_start("sequence", CALLS_TEXT, NULL);
	struct code *code = code_read(target_pid(target));
	struct monitor *monitor =
		monitor_attach(target, database, "--sample", "1", "--max-overhead", "0", "--args",
			       "1", "--durability", "full", "watched_*", NULL);
	struct process *inject =
		inject_start(monitor_pid(monitor), "fdatasync", "delay_enter=60000000", database);
	long began_ms, took_ms, records;
	int64_t rows;
	int status;

	(void)state;
	target_go(target);
	assert_int_equal(target_done(target), CALLS);
	for (int left_ms = PROCESS_TIMEOUT_MS;
	     !any_thread_is_in(monitor_pid(monitor), SYS_fdatasync); left_ms--) {
		assert_true(left_ms > 0);
		(void)poll(NULL, 0, 1);
	}
	process_signal(monitor_process(monitor), SIGINT);
	/* Two that wait are one. */
	for (int left_ms = PROCESS_TIMEOUT_MS; signal_is_pending(monitor_pid(monitor)); left_ms--) {
		assert_true(left_ms > 0);
		(void)poll(NULL, 0, 1);
	}
	began_ms = now_ms();
	process_signal(monitor_process(monitor), SIGINT);
	/* Its last words; the thread that strace holds is gone when strace is. */
	(void)monitor_wait_line(monitor, "monbpf attach: ", PROCESS_TIMEOUT_MS);
	took_ms = now_ms() - began_ms;
	inject_end(inject);
	status = monitor_wait(monitor, HURRY_MS);
	records = spool_records();
	rows = db_int(database, "SELECT count(*) FROM call");
	print_message("ended after %ld ms, %ld records in the spool, %lld rows\n", took_ms, records,
		      (long long)rows);
	assert_true(took_ms < HURRY_MS);
	assert_int_equal(status, 1);
	assert_true(rows + records >= CALLS);
	assert_quick_check();
	code_assert_unchanged(code);
	code_free(code);
	assert_int_equal(target_finish(target), 0);
}

static const char *const outputs[] = {">/dev/full", ">&-", ">&- 2>&- <&-"};
#define OUTPUTS (sizeof(outputs) / sizeof(outputs[0]))

/* argv of a shell that execs what follows with this output. */
static struct monitor *start_with_output(const char *output, const char *const argv[])
{
	char script[64];

	(void)snprintf(script, sizeof(script), "exec \"$@\" %s", output);
	return monitor_start_under((const char *const[]){"sh", "-c", script, "sh", NULL}, argv);
}

static void assert_fails(const char *output, const char *const argv[])
{
	struct monitor *monitor = start_with_output(output, argv);
	int status = monitor_wait(monitor, PROCESS_TIMEOUT_MS);

	if (status < 1 || status > 7)
		fail_msg("%s %s: exit %d: %s", argv[0], output, status, monitor_stderr(monitor));
	if (!strstr(output, "2>") && monitor_count_lines(monitor, "monbpf ") != 1)
		fail_msg("%s %s: not one sentence: %s", argv[0], output, monitor_stderr(monitor));
	monitor_free(monitor);
}

/* A file that was opened when 1 was free would be written into. */
static void assert_nothing_else_is_stdout(const struct monitor *monitor)
{
	char path[64], is[256];
	ssize_t length;

	(void)snprintf(path, sizeof(path), "/proc/%d/fd/1", (int)monitor_pid(monitor));
	length = readlink(path, is, sizeof(is) - 1);
	assert_true(length > 0);
	is[length] = '\0';
	assert_string_equal(is, "/dev/null");
}

/* The report at the end cannot be printed; the run itself is as whole as any. */
static void L03_attach_cannot_print(void **state)
{
	char pid[16];
	int status;

	(void)state;
	for (size_t i = 0; i < OUTPUTS; i++) {
		struct target *target = target_start("calls", "1000", NULL);

		(void)snprintf(pid, sizeof(pid), "%d", (int)target_pid(target));

		struct monitor *monitor = start_with_output(
			outputs[i],
			(const char *const[]){"attach", "-p", pid, "-o", database, "--sample", "1",
					      "--max-overhead", "0", "watched_*", NULL});
		char *socket = scratch_path(directory, "monbpf.db.sock");

		/* It listens when everything is armed; where it speaks depends. */
		for (int left_ms = PROCESS_TIMEOUT_MS; access(socket, F_OK); left_ms--) {
			assert_true(left_ms > 0);
			(void)poll(NULL, 0, 1);
		}
		if (i > 0)
			assert_nothing_else_is_stdout(monitor);
		target_go(target);
		assert_int_equal(target_done(target), 1000);
		db_wait_int(database, "SELECT count(*) FROM call", 2000);
		status = monitor_stop(monitor);
		if (status < 1 || status > 7)
			fail_msg("%s: exit %d: %s", outputs[i], status, monitor_stderr(monitor));
		assert_ledger_closed(database);
		assert_int_equal(db_int(database, "SELECT count(*) FROM call"), 2000);
		assert_int_equal(target_finish(target), 0);
		monitor_free(monitor);
		assert_int_equal(unlink(database), 0);
		free(socket);
	}
}

static void L03_others_cannot_print(void **state)
{
	struct target *target = target_start("calls", NULL);
	struct monitor *monitor =
		monitor_attach(target, database, "--sample", "1", "watched_*", NULL);
	char program[4096];
	const char *const commands[][8] = {
		{"status", "-i", database},
		{"status", "-i", database, "--json"},
		{"report", "-i", database},
		{"report", "-i", database, "--json"},
		{"report", "-i", database, "--csv"},
		{"list", "-b", target_path("calls", program, sizeof(program))},
		{"list", "-b", program, "--json"},
		{"doctor"},
		{"doctor", "--json"},
		{"spool", "check", spool},
		{"spool", "check", spool, "--json"},
	};

	(void)state;
	target_go(target);
	assert_int_equal(target_done(target), 23);
	db_wait_int(database, "SELECT count(*) FROM call", 46);
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		for (size_t k = 0; k < OUTPUTS; k++)
			assert_fails(outputs[k], commands[i]);
	monitor_end(monitor, 0);
	assert_ledger_closed(database);
	for (size_t i = 2; i < 5; i++)
		assert_fails(outputs[0], commands[i]);
	assert_quick_check();
	assert_int_equal(target_finish(target), 0);
}

/* Nothing that a terminal acts on, but the end of a line. */
static void assert_plain(const char *text, const char *what)
{
	for (const unsigned char *at = (const unsigned char *)text; *at; at++) {
		bool c1 = at[0] == 0xc2 && at[1] >= 0x80 && at[1] <= 0x9f;
		bool direction = at[0] == 0xe2 && at[1] == 0x80 && at[2] == 0xae;

		if ((*at < 0x20 && *at != '\n') || *at == 0x7f || c1 || direction)
			fail_msg("%s: byte 0x%02x at %td of: %s", what, *at,
				 at - (const unsigned char *)text, text);
	}
}

/* A run of a command from which nothing but text may come. */
static void say(int expected, const char *shown, const char *const argv[])
{
	struct monitor *monitor = monitor_start(argv);
	int status = monitor_wait(monitor, PROCESS_TIMEOUT_MS);

	if (status != expected)
		fail_msg("%s %s: exit %d: %s", argv[0], argv[1], status, monitor_stderr(monitor));
	assert_plain(monitor_stdout(monitor), argv[0]);
	assert_plain(monitor_stderr(monitor), argv[0]);
	/* The name was there to be escaped. */
	if (shown && !strstr(monitor_stdout(monitor), shown) &&
	    !strstr(monitor_stderr(monitor), shown))
		fail_msg("%s: no %s in: %s%s", argv[0], shown, monitor_stdout(monitor),
			 monitor_stderr(monitor));
	monitor_free(monitor);
}
#define SAY(expected, shown, ...) say(expected, shown, (const char *const[]){__VA_ARGS__, NULL})

struct hostile {
	char *folder, *program, *database, *spool, *missing;
};

/* The `calls` target, with escapes in the names of its folder, its file and one function. */
static struct hostile make_hostile(void)
{
	struct hostile hostile;
	char source[4096], symbol[256];

	hostile.folder = scratch_path(directory, "d" HOSTILE);
	assert_int_equal(mkdir(hostile.folder, 0700), 0);
	hostile.program = tool_copy(target_path("calls", source, sizeof(source)), hostile.folder,
				    "c\033[1m\007" HOSTILE);
	hostile.database = scratch_path(hostile.folder, "m" HOSTILE ".db");
	hostile.spool = scratch_path(hostile.folder, "m" HOSTILE ".db.spool");
	hostile.missing = scratch_path(hostile.folder, "none" HOSTILE);
	(void)snprintf(symbol, sizeof(symbol), "watched_call=watched_%s", HOSTILE);
	TOOL_RUN("objcopy", "--redefine-sym", symbol, hostile.program);
	assert_int_equal(chmod(hostile.program, 0700), 0);
	return hostile;
}

static void free_hostile(struct hostile *hostile)
{
	free(hostile->folder);
	free(hostile->program);
	free(hostile->database);
	free(hostile->spool);
	free(hostile->missing);
}

static void L04_escapes_in_names(void **state)
{
	static const char *const reports[] = {NULL,	   "--wide", "--all",
					      "--callers", "--json", "--csv"};
	static const char *const slowest[] = {NULL, "--json", "--csv"};
	struct hostile names = make_hostile();
	struct target *target = target_start_file(names.program, NULL);
	struct monitor *monitor =
		monitor_attach(target, names.database, "--sample", "1", "-v", "watched_*", NULL);
	char pid[16];

	(void)state;
	(void)snprintf(pid, sizeof(pid), "%d", (int)target_pid(target));
	target_go(target);
	assert_int_equal(target_done(target), 23);
	db_wait_int(names.database, "SELECT count(*) FROM call", 46);
	SAY(0, "c\\x1b[1m", "status", "-i", names.database);
	SAY(0, "c\\", "status", "-i", names.database, "--json");
	SAY(5, "\\x1b[31m", "attach", "-p", pid, "-o", names.database, "watched_*");
	SAY(0, NULL, "spool", "check", names.spool);
	monitor_end(monitor, 0);
	assert_plain(monitor_stderr(monitor), "attach");
	assert_plain(monitor_stdout(monitor), "attach");
	assert_true(monitor_count_lines(monitor, "c\\x1b[1m\\x07") > 0);
	assert_true(monitor_count_lines(monitor, "m\\x1b[31mred") > 0);
	assert_ledger_closed(names.database);
	SAY(0, "watched_\\x1b[31m", "list", "-p", pid, "watched_*");
	SAY(0, "watched_\\x1b[31m", "list", "-b", names.program, "watched_*");
	SAY(0, "watched_\\u001b[31m", "list", "-b", names.program, "watched_*", "--json");
	SAY(0, "watched_\\x1b[31m", "list", "-b", names.program, "watched_*", "--csv");
	SAY(0, "watched_\\x1b[31m", "list", "-b", names.program, "watched_*", "--wide");
	SAY(3, "c\\x1b[1m", "list", "-b", names.program, "zzz" HOSTILE);
	SAY(3, "c\\x1b[1m", "attach", "-p", pid, "-o", database, "zzz" HOSTILE);
	SAY(3, "\\x1b", "attach", "-p", pid, "-o", database, "watched_x" HOSTILE);
	SAY(5, "\\x1b[31m", "attach", "-p", "x" HOSTILE, "-o", database);
	SAY(5, "\\x1b[31m", "attach", "-b", names.missing, "-o", database);
	SAY(2, "\\x1b[31m", "attach", "-p", pid, "-d", HOSTILE);
	SAY(5, "\\x1b[31m", "list", "-b", names.missing);
	SAY(5, "\\x1b[31m", "report", "-i", names.missing);
	SAY(5, "\\x1b[31m", "status", "-i", names.missing);
	SAY(5, "\\x1b[31m", "spool", "check", names.missing);
	SAY(2, "\\x1b[31m", HOSTILE);
	for (size_t i = 0; i < sizeof(reports) / sizeof(reports[0]); i++)
		SAY(0, i == 4 ? "watched_\\u001b[31m" : "watched_\\x1b[31m", "report", "-i",
		    names.database, reports[i]);
	for (size_t i = 0; i < sizeof(slowest) / sizeof(slowest[0]); i++)
		SAY(0, i == 1 ? "watched_\\u001b[31m" : "watched_\\x1b[31m", "report", "-i",
		    names.database, "--slowest", "5", slowest[i]);
	SAY(0, "watched_\\x1b[31m", "report", "-i", names.database, "--function",
	    "watched_" HOSTILE);
	assert_int_equal(target_finish(target), 0);
	free_hostile(&names);
}

/* Reads a terminal until it says @until, or to its end. */
static bool read_terminal(int fd, char *text, size_t *used, const char *until)
{
	struct pollfd poller = {.fd = fd, .events = POLLIN};

	while (!until || !strstr(text, until)) {
		ssize_t got = poll(&poller, 1, PROCESS_TIMEOUT_MS) > 0
				      ? read(fd, text + *used, TERMINAL_BYTES - *used - 1)
				      : 0;

		if (got <= 0)
			return !until;
		*used += (size_t)got;
		text[*used] = '\0';
	}
	return true;
}

/* What the view itself says to a terminal: up so many lines, erase. Overwritten with blanks. */
static void blank_own_sequences(char *text)
{
	for (char *at = text; (at = strstr(at, "\033[")); at++) {
		size_t digits = strspn(at + 2, "0123456789");

		if (at[2 + digits] == 'A' && !strncmp(at + 2 + digits, "A\r\033[J", 5))
			memset(at, ' ', 2 + digits + 5);
	}
	for (char *at = text; (at = strchr(at, '\r')); at++)
		if (at[1] == '\n')
			*at = ' ';
}

static void L04_escapes_in_the_live_view(void **state)
{
	struct hostile names = make_hostile();
	struct target *target = target_start_file(names.program, "1000000");
	char *text = calloc(1, TERMINAL_BYTES);
	char program[4096], pid[16];
	size_t used = 0;
	int fd, status = 0;
	pid_t child;

	(void)state;
	assert_non_null(text);
	(void)snprintf(program, sizeof(program), "%s/monbpf", process_build_dir());
	(void)snprintf(pid, sizeof(pid), "%d", (int)target_pid(target));
	child = forkpty(&fd, NULL, NULL, &(struct winsize){.ws_row = 40, .ws_col = 200});
	assert_true(child >= 0);
	if (!child) {
		(void)execl(program, program, "attach", "-p", pid, "-o", names.database,
			    "watched_*", (char *)NULL);
		_exit(127);
	}
	assert_true(read_terminal(fd, text, &used, "watching 2 functions"));
	target_go(target);
	assert_true(read_terminal(fd, text, &used, "\033[J"));
	assert_int_equal(kill(child, SIGINT), 0);
	assert_true(read_terminal(fd, text, &used, NULL));
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	assert_non_null(strstr(text, "FUNCTION"));
	assert_non_null(strstr(text, "watched_\\x1b[31m"));
	assert_non_null(strstr(text, "\033["));
	blank_own_sequences(text);
	assert_plain(text, "the live view");
	(void)close(fd);
	(void)target_done(target);
	assert_int_equal(target_finish(target), 0);
	free_hostile(&names);
	free(text);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST(L01_terminated_while_open), TEST(L02_second_interrupt),
		TEST(L03_attach_cannot_print),	 TEST(L03_others_cannot_print),
		TEST(L04_escapes_in_names),	 TEST(L04_escapes_in_the_live_view),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests_name("fault/ends", tests, NULL, NULL);
}
