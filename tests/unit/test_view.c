// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/view.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "tests/harness/stderr.h"

#include <stdio.h>
#include <string.h>

static const struct mon_view_row rows[] = {
	{.name = "lookupKey",
	 .function = 4,
	 .one_in = 100,
	 .calls_per_s = 201442.4,
	 .self_per_s = 71.2e6,
	 .p50_ns = 310,
	 .p99_ns = 890,
	 .max_ns = 1900000},
	{.name = "call",
	 .function = 0,
	 .one_in = 1,
	 .calls_per_s = 2,
	 .p50_ns = 4100,
	 .p99_ns = 22000,
	 .max_ns = 41000000,
	 .open = {.count = 1, .tid = 4242, .oldest_ns = 10 * MON_NS_PER_S}},
	{.name = "never\033[2J", .function = 1, .one_in = 0},
};

static struct mon_view view(void)
{
	return (struct mon_view){
		.at_ns = 12300 * MON_NS_PER_MS,
		.elapsed_ns = 12 * MON_NS_PER_S,
		.calls_per_s = 201444,
		.kept_per_s = 2016,
		.lost = 1234,
		.file_bytes = 1782580,
		.breaker = MON_BREAKER_CLOSED,
		.ring_used = 0.021,
		.memory_bytes = 21ull << 20,
		.memory_limit_bytes = 64ull << 20,
		.rows_shown = rows,
		.row_count = MON_ARRAY_COUNT(rows),
		.function_count = MON_ARRAY_COUNT(rows),
		.open_known = true,
		.open = {{.row = &rows[1], .comm = "redis-server"}},
		.open_count = 1,
	};
}

#define FIGURES "00:00:12  201,444 calls/s  kept 2,016/s  db 1.70M  lost 1,234  breaker closed"
#define MORE "memory 21.0M/64.0M  ring 2 %  queue 0 %  spool 0"
#define OLDEST "! call: 1 call open for 2.30s in tid 4242 (redis-server)\n"
#define SCREEN                                                                         \
	FIGURES "\n" MORE "\n\n"                                                       \
		"FUNCTION      CALLS/s     P50     P99     MAX  SELF/s  OPEN  KEPT\n"  \
		"lookupKey     201,442   310ns   890ns  1.90ms  71.2ms     0  1/100\n" \
		"call                2  4.10us  22.0us  41.0ms     0ns     1  1/1\n"   \
		"never\\x1b[2J        0       -       -       -       -     0  none\n" OLDEST

static void a_line_each_ten_seconds_elsewhere(void **state)
{
	struct mon_live *live = mon_live_new(false);
	struct mon_view now = view();

	(void)state;
	listen_to_stderr();
	mon_live_show(&now, live);
	now.elapsed_ns += 9 * MON_NS_PER_S;
	mon_live_show(&now, live); /* too early */
	now.elapsed_ns += MON_NS_PER_S;
	now.open_count = 0;
	mon_live_show(&now, live);
	mon_live_free(live);
	assert_string_equal(heard(),
			    FIGURES "  " MORE "\n" OLDEST "00:00:22" /* and the rest of the line */
				    "  201,444 calls/s  kept 2,016/s  db 1.70M  lost "
				    "1,234  breaker closed  " MORE "\n");
}

static void a_terminal_shows_a_screen(void **state)
{
	struct mon_live *live = mon_live_new(true);
	const struct mon_view now = view();

	(void)state;
	listen_to_stderr();
	mon_live_show(&now, live);
	mon_live_free(live);
	mon_log(MON_LOG_INFO, "ended");
	assert_string_equal(heard(), SCREEN "ended\n");
}

/* A line of the log takes the screen away and brings it back below itself. */
static void lines_scroll_above_the_screen(void **state)
{
	struct mon_live *live = mon_live_new(true);
	struct mon_view now = view();

	(void)state;
	listen_to_stderr();
	mon_log(MON_LOG_INFO, "before");
	mon_live_show(&now, live);
	mon_log(MON_LOG_INFO, "between");
	now.row_count = 1;
	now.open_count = 0;
	mon_live_show(&now, live);
	mon_log(MON_LOG_INFO, "after");
	mon_live_free(live);
	assert_string_equal(heard(),
			    "before\n" SCREEN "\033[8A\r\033[Jbetween\n" SCREEN "\033[8A\r\033[J"
#define SMALL                                                                    \
	FIGURES "\n" MORE "\n\n"                                                 \
		"FUNCTION   CALLS/s    P50    P99     MAX  SELF/s  OPEN  KEPT\n" \
		"lookupKey  201,442  310ns  890ns  1.90ms  71.2ms     0  1/100\n"
			    SMALL "\033[5A\r\033[Jafter\n" SMALL);
}

static void no_memory_for_a_view_is_no_view(void **state)
{
	const struct mon_view now = view();

	(void)state;
	listen_to_stderr();
	mon_live_show(&now, NULL);
	assert_string_equal(heard(), "");
}

/* As many as the view names, whatever the threads call themselves. */
static void each_oldest_call_has_a_line(void **state)
{
	struct mon_live *live = mon_live_new(false);
	struct mon_view now = view();

	(void)state;
	now.open[1] = (struct mon_view_open){.row = &rows[1], .comm = "\033[2J\n"};
	now.open_count = 2;
	listen_to_stderr();
	mon_live_show(&now, live);
	mon_live_free(live);
	assert_non_null(strstr(heard(), OLDEST
			       "! call: 1 call open for 2.30s in tid 4242 (\\x1b[2J\\x0a)\n"));
}

static void without_return_probes_nobody_knows_what_is_open(void **state)
{
	struct mon_live *live = mon_live_new(true);
	struct mon_view now = view();

	(void)state;
	now.open_known = false;
	now.open_count = 0;
	listen_to_stderr();
	mon_live_show(&now, live);
	mon_live_free(live);
	assert_non_null(strstr(heard(), "lookupKey     201,442   310ns   890ns  1.90ms  71.2ms"
					"     -  1/100\n"));
}

/* 24 lines of 80 characters are assumed when the terminal does not tell: nothing wraps. */
static void many_long_names_stay_inside_the_terminal(void **state)
{
	static struct mon_view_row many[MON_VIEW_ROWS_MAX];
	struct mon_live *live = mon_live_new(true);
	struct mon_view now = view();
	unsigned lines = 0, column = 0;
	char name[300];

	(void)state;
	memset(name, 'x', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	for (size_t i = 0; i < MON_ARRAY_COUNT(many); i++)
		many[i] = (struct mon_view_row){.name = name, .calls_per_s = 1e15};
	now.rows_shown = many;
	now.row_count = now.function_count = MON_ARRAY_COUNT(many);
	listen_to_stderr();
	mon_live_show(&now, live);
	mon_live_free(live);
	for (const char *at = heard(); *at; at++) {
		column = *at == '\n' ? 0 : column + 1;
		lines += *at == '\n';
		assert_true(column <= 80);
	}
	assert_true(lines > 10 && lines < 24);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_line_each_ten_seconds_elsewhere),
		cmocka_unit_test(a_terminal_shows_a_screen),
		cmocka_unit_test(lines_scroll_above_the_screen),
		cmocka_unit_test(no_memory_for_a_view_is_no_view),
		cmocka_unit_test(each_oldest_call_has_a_line),
		cmocka_unit_test(without_return_probes_nobody_knows_what_is_open),
		cmocka_unit_test(many_long_names_stay_inside_the_terminal),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
