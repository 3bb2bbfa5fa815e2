// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Functions that were armed a share of the time, or of which only sampled calls were followed: what
 * is printed of them agrees, wherever it is printed.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "tests/harness/report.h"

#include <string.h>

/*
 * One that was armed half of its time and a fifth of the target's own: 1,000 counted calls are
 * 5,000. One of which a tenth of the calls was followed, and fewer came back than were counted. An
 * idle one, armed all the time, is no part of "armed".
 */
static sqlite3 *open_estimates(void)
{
	sqlite3 *database = report_database();

	report_sql(
		database,
		"INSERT INTO run(id,uuid,part,target,started_mono_ns,started_wall_ns,ended_ns,"
		" end_reason,complete,overhead_limit,probe_cost_ns,own_cpu_ns) VALUES"
		"(1,'a',1,'sleep (pid 7)',0,1763894000000000000,10000000000,'duration',1,0.1,"
		" 100000000,1000000000);"
		"INSERT INTO module VALUES(1,'/usr/bin/sleep','ab');"
		"INSERT INTO "
		"function(id,run_id,module_id,symbol,name,offset,size,probe_offset,mode)"
		" VALUES(1,1,1,'share','share',0,16,0,'session'),"
		"(2,1,1,'sampled','sampled',16,16,16,'session'),"
		"(3,1,1,'idle','idle',32,16,32,'session'),"
		"(4,1,1,'whole','whole',48,16,48,'session');"
		"INSERT INTO function_total VALUES"
		"(1,10000000000,5000000000,1000,1000,10,1000000,500000,900,2100,NULL,0,"
		" 1000000000,200000000),"
		"(2,10000000000,10000000000,2000,1600,8,3200000,NULL,1000,9000,NULL,1,NULL,NULL),"
		"(3,10000000000,10000000000,0,0,NULL,NULL,NULL,NULL,NULL,NULL,0,NULL,NULL),"
		"(4,10000000000,10000000000,1000,1000,NULL,3000000,3000000,3000,3000,NULL,0,NULL,"
		" NULL);"
		"INSERT INTO ledger VALUES(1,1,10,NULL,NULL),(1,3,990,NULL,NULL),"
		"(2,1,499,NULL,NULL),(2,3,1501,NULL,NULL),(4,1,1000,NULL,NULL);"
		"INSERT INTO task VALUES(1,1,7,7,5,'sleep');"
		"INSERT INTO call VALUES"
		"(1,1000000000,1000,NULL,1,NULL,1,0,100,128,0,NULL,NULL,NULL,NULL,NULL,NULL),"
		"(2,2000000000,50000,0,4,NULL,1,0,1,0,0,NULL,NULL,NULL,NULL,NULL,NULL);"
		"INSERT INTO batch VALUES(1,1,1,2,1000000000,2000050000);"
		/* A long one armed all along; a short one; one armed too shortly to tell a rate. */
		"INSERT INTO function_interval VALUES"
		"(1,0,4000000000,4000000000,500,500,NULL,500000,250000,2100,NULL),"
		"(1,5000000000,1000000000,990000000,490,490,NULL,490000,245000,2100,NULL),"
		"(1,7000000000,1000000000,10000000,10,10,NULL,10000,5000,2100,NULL)");
	report_histogram(database, "function_total", 1, 1000, 1000);
	report_histogram(database, "function_total", 2, 2000, 1600);
	return database;
}

static void estimates_agree_wherever_they_are_printed(void **state)
{
	static const char view_sql[] =
		"SELECT group_concat(function || ' ' || calls_estimated || ' ' ||"
		" total_ns_estimated, ', ') FROM functions";
	sqlite3 *database = open_estimates();
	sqlite3_stmt *view = NULL;
	MON_FREE char *text = NULL;
	struct mon_error error;

	(void)state;
	report_golden("estimates", (struct mon_report_options){.wide = true});
	report_golden("estimates-csv", (struct mon_report_options){.format = MON_REPORT_CSV});
	report_golden("estimates-share", (struct mon_report_options){.function = "share"});
	report_golden("estimates-sampled", (struct mon_report_options){.function = "sampled"});
	report_golden("estimates-histogram",
		      (struct mon_report_options){.function = "share", .format = MON_REPORT_CSV});
	report_golden("estimates-callers", (struct mon_report_options){.callers = true});
	report_golden("estimates-slowest",
		      (struct mon_report_options){.slowest = 5, .format = MON_REPORT_CSV});
	/* The view says the same as the table. */
	assert_int_equal(sqlite3_prepare_v2(database, view_sql, -1, &view, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_step(view), SQLITE_ROW);
	assert_string_equal((const char *)sqlite3_column_text(view, 0),
			    "share 5000 5000000, sampled 2000 4000000, whole 1000 3000000");
	sqlite3_finalize(view);
	/* With one more followed call there are enough for quantiles. */
	report_sql(database, "UPDATE ledger SET count=500 WHERE function_id=2 AND reason_id=1");
	sqlite3_close(database);
	assert_int_equal(report_text((struct mon_report_options){0}, &text, &error), 0);
	assert_non_null(strstr(text, "~2.00us  ~1.99us"));
}

/* Kept calls are committed before the first totals: nothing was counted yet, which is not 0. */
static void totals_that_are_not_there_are_not_zero(void **state)
{
	sqlite3 *database = open_estimates();
	MON_FREE char *text = NULL;
	MON_FREE char *csv = NULL;
	struct mon_error error;

	(void)state;
	report_sql(database, "DELETE FROM function_total");
	sqlite3_close(database);
	assert_int_equal(report_text((struct mon_report_options){0}, &text, &error), 0);
	assert_non_null(strstr(text, "\ntotals are not written yet, 1,509 kept, 0 lost\n"));
	assert_null(strstr(text, "0 calls"));
	assert_non_null(strstr(text, "ledger   - = stored 1,509"));
	assert_int_equal(
		report_text((struct mon_report_options){.format = MON_REPORT_CSV}, &csv, &error),
		0);
	assert_non_null(strstr(csv, "\nshare,share,,,"));
}

/*
 * A minute, of which --since asks for the last 20 s. Function 1 was armed for the first 2 s, then
 * for 0.1 s of each 5 from 10 s on: in the 20 s four times, and called in two of those. While it
 * was armed the target got two thirds done. Function 2 had no window, 3 had one and was not called,
 * 4 was armed all the time and called in one second.
 */
static sqlite3 *open_windows(void)
{
	sqlite3 *database = report_database();

	report_sql(
		database,
		"INSERT INTO run(id,uuid,part,target,started_mono_ns,started_wall_ns,ended_ns,"
		" end_reason,complete,overhead_limit,probe_cost_ns,own_cpu_ns) VALUES"
		"(1,'a',1,'sleep (pid 7)',0,1763894000000000000,60000000000,'duration',1,0.1,"
		" 100000000,1000000000);"
		"INSERT INTO module VALUES(1,'/usr/bin/sleep','ab');"
		"INSERT INTO "
		"function(id,run_id,module_id,symbol,name,offset,size,probe_offset,mode)"
		" VALUES(1,1,1,'windows','windows',0,16,0,'session'),"
		"(2,1,1,'shut','shut',16,16,16,'session'),"
		"(3,1,1,'quiet','quiet',32,16,32,'session'),"
		"(4,1,1,'whole','whole',48,16,48,'session');"
		"INSERT INTO function_total VALUES"
		"(1,60000000000,3000000000,2200,2200,NULL,2200000,2200000,900,2100,NULL,0,"
		" 30000000000,1000000000),"
		"(2,60000000000,2000000000,500,500,NULL,500000,500000,900,2100,NULL,0,NULL,NULL),"
		"(3,60000000000,1000000000,7,7,NULL,7000,7000,900,2100,NULL,0,NULL,NULL),"
		"(4,60000000000,60000000000,2000,2000,NULL,2000000,2000000,900,2100,NULL,0,NULL,"
		" NULL);"
		"INSERT INTO ledger VALUES(1,3,2200,NULL,NULL),(2,3,500,NULL,NULL),"
		"(3,3,7,NULL,NULL),(4,3,2000,NULL,NULL);"
		"WITH RECURSIVE n(i) AS (VALUES(10) UNION ALL SELECT i+5 FROM n WHERE i<55)"
		"INSERT INTO coverage SELECT 1,i*1000000000,i*1000000000+100000000,'window' FROM n;"
		"INSERT INTO coverage VALUES(1,0,2000000000,'until the limit was passed'),"
		"(2,0,2000000000,'until the limit was passed'),"
		/* Half of it is in the time that is asked for. */
		"(3,39500000000,40500000000,'window');"
		"INSERT INTO function_interval VALUES"
		"(1,0,1000000000,1000000000,2000,2000,NULL,2000000,2000000,2100,NULL),"
		"(1,50000000000,1000000000,100000000,100,100,NULL,100000,100000,2100,NULL),"
		"(1,55000000000,1000000000,100000000,100,100,NULL,100000,100000,2100,NULL),"
		"(2,0,1000000000,1000000000,500,500,NULL,500000,500000,2100,NULL),"
		"(4,0,1000000000,1000000000,1000,1000,NULL,1000000,1000000,2100,NULL),"
		"(4,52000000000,1000000000,1000000000,1000,1000,NULL,1000000,1000000,2100,NULL)");
	return database;
}

static const struct mon_report_options last_20_s = {
	.since_set = true, .since_ns = 20000000000, .format = MON_REPORT_CSV};

/* calls_estimated and calls_per_s of `windows`. */
static void assert_windows(const char *expected)
{
	MON_FREE char *text = NULL;
	struct mon_error error;

	assert_int_equal(report_text(last_20_s, &text, &error), 0);
	if (!strstr(text, expected))
		fail_msg("%s is not in %s", expected, text);
}

static void what_windows_saw_is_scaled_to_the_time_that_is_asked_for(void **state)
{
	/* 200 calls in 0.4 s of 20, at two thirds of the speed. */
	static const char right[] = "\nwindows,windows,750,";
	sqlite3 *database = open_windows();

	(void)state;
	report_golden("since-windows",
		      (struct mon_report_options){.since_set = true, .since_ns = 20000000000});
	report_golden("since-windows-csv", last_20_s);
	report_golden("since-shut", (struct mon_report_options){.since_set = true,
								.since_ns = 20000000000,
								.function = "shut"});
	assert_windows(right);
	/* A window that is open, or whose row was lost with the end: the total has it. */
	report_sql(database, "DELETE FROM coverage WHERE from_ns=55000000000");
	assert_windows(right);
	/* The total of a further part has what was armed before it, too. */
	report_sql(database, "INSERT INTO coverage VALUES(1,55000000000,55100000000,'window');"
			     "DELETE FROM coverage WHERE from_ns<30000000000;"
			     "UPDATE run SET part=2");
	assert_windows(right);
	sqlite3_close(database);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(estimates_agree_wherever_they_are_printed),
		cmocka_unit_test(totals_that_are_not_there_are_not_zero),
		cmocka_unit_test(what_windows_saw_is_scaled_to_the_time_that_is_asked_for),
	};

	return cmocka_run_group_tests(tests, report_setup, report_teardown);
}
