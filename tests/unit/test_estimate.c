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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(estimates_agree_wherever_they_are_printed),
		cmocka_unit_test(totals_that_are_not_there_are_not_zero),
	};

	return cmocka_run_group_tests(tests, report_setup, report_teardown);
}
