// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The screens and exports of `monbpf report`, on a database whose every function tells another
 * story.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/histogram.h"
#include "cli/cli.h"
#include "report/report.h"
#include "tests/harness/report.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sqlite3.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

/* Run 1 is short; run 3 is of 30 s: 13 functions, one half armed, one of entries only. */
static sqlite3 *open_fixture(void)
{
	sqlite3 *database = report_database();

	report_sql(
		database,
		"INSERT INTO run(id,uuid,part,target,started_mono_ns,started_wall_ns,ended_ns,"
		" end_reason,complete) VALUES"
		"(1,'a',0,'sleep (pid 7)',0,1763894000000000000,1000000000,'duration',0),"
		"(3,'b',0,'redis-server (pid 4242)',5,1763894642000000000,30000000000,"
		" 'interrupted',1);"
		"INSERT INTO module VALUES(1,'/usr/bin/redis-server','ab'),(2,'/lib/libc.so.6','');"
		"INSERT INTO function(id,run_id,module_id,symbol,name,aliases,offset,size,"
		" probe_offset,mode,note) VALUES"
		"(1,3,1,'call','call',NULL,4096,512,4097,'session',NULL),"
		"(2,3,1,'_Z6lookupv','lookup()','lookupAlias,other',8192,64,8192,'session',NULL),"
		"(3,3,2,'malloc','malloc',NULL,100,64,100,'session','stack switching: entries "
		"only'),"
		"(4,3,1,'half','half',NULL,9000,10,9000,'session',NULL);"
		"INSERT INTO function_total(function_id,wanted_ns,armed_ns,calls,returns,failed,"
		"total_ns,self_ns,min_ns,max_ns,histogram) VALUES"
		"(1,30000000000,30000000000,2943600,2943600,12,13100000000,10300000000,200,"
		" 41000000,NULL),"
		"(2,30000000000,30000000000,6043260,6043260,NULL,2140000000,2140000000,100,1900000,"
		" NULL),"
		"(3,30000000000,30000000000,500,0,NULL,NULL,NULL,NULL,NULL,NULL),"
		"(4,30000000000,15000000000,1000,1000,NULL,1000000,1000000,900,2100,NULL);"
		"WITH RECURSIVE n(i) AS (VALUES(10) UNION ALL SELECT i+1 FROM n WHERE i<18)"
		"INSERT INTO function(id,run_id,module_id,symbol,name,offset,probe_offset,mode)"
		" SELECT i,3,1,'small'||i,'small'||i,20000+i,20000+i,'session' FROM n;"
		"INSERT INTO function_total(function_id,wanted_ns,armed_ns,calls,returns,failed,"
		"total_ns,self_ns,min_ns,max_ns,histogram) SELECT "
		"id,30000000000,30000000000,1,1,NULL,300-id,300-id,"
		" 300-id,300-id,NULL FROM function WHERE id>=10;"
		"INSERT INTO ledger VALUES(1,1,3,NULL,NULL),(1,3,2943590,NULL,NULL),"
		" (1,9,7,2000000000,3000000000),(2,3,6043260,NULL,NULL),(3,3,500,NULL,NULL),"
		" (4,3,1000,NULL,NULL);"
		"INSERT INTO ledger SELECT id,3,1,NULL,NULL FROM function WHERE id>=10;"
		"INSERT INTO task VALUES(1,3,4242,4243,5,'io_thd \x1b[31m');"
		"INSERT INTO call VALUES"
		"(1,1000000000,41000000,1000000,1,NULL,1,0,1,0,-1,1,2,NULL,NULL,NULL,NULL),"
		"(2,2000000000,4000,0,1,NULL,1,0,100,0,0,3,4,NULL,NULL,NULL,NULL),"
		"(3,29000000000,300,0,2,1,1,1,1,0,0,NULL,NULL,NULL,NULL,NULL,NULL);"
		"INSERT INTO batch VALUES(1,3,1,3,1000000000,29000000300);"
		"INSERT INTO function_interval VALUES"
		"(1,0,1000000000,1000000000,2943500,2943500,NULL,4000000,4000000,41000000,NULL),"
		"(1,29000000000,1000000000,1000000000,100,100,NULL,400000,400000,9000,NULL),"
		"(2,29000000000,1000000000,1000000000,50,50,NULL,20000,20000,900,NULL);"
		"INSERT INTO coverage VALUES(4,0,15000000000,'until the limit was passed');"
		"INSERT INTO breaker_event VALUES(1,3,5000000000,'closed','open','disk full',13),"
		"(2,3,65000000000,'open','half-open','timer',NULL),"
		"(3,3,66000000000,'half-open','closed',NULL,NULL);"
		"INSERT INTO clock VALUES(3,0,1763894642000000000)");
	report_histogram(database, "function_total", 1, 4100, 2943600);
	report_histogram(database, "function_total", 2, 310, 6043260);
	report_histogram(database, "function_total", 4, 1000, 1000);
	report_histogram(database, "function_interval", 1, 4100, 100);
	return database;
}

static void screens_are_as_expected(void **state)
{
	(void)state;
	sqlite3_close(open_fixture());
	report_golden("default", (struct mon_report_options){0});
	report_golden("wide", (struct mon_report_options){.wide = true, .all = true});
	report_golden("head", (struct mon_report_options){.head_only = true});
	report_golden("json", (struct mon_report_options){.format = MON_REPORT_JSON});
	report_golden("csv", (struct mon_report_options){.format = MON_REPORT_CSV});
	report_golden("function", (struct mon_report_options){.function = "call"});
	report_golden("callers", (struct mon_report_options){.callers = true});
	report_golden("slowest", (struct mon_report_options){.slowest = 2});
	report_golden("slowest-csv",
		      (struct mon_report_options){.slowest = 2, .format = MON_REPORT_CSV});
	report_golden("since",
		      (struct mon_report_options){.since_set = true, .since_ns = 500000000});
	report_golden("run1", (struct mon_report_options){.run = 1});
}

/* Oldest first, whatever order they were written in; how long is known of the end's only. */
static void calls_that_never_returned_are_told(void **state)
{
	sqlite3 *database = open_fixture();

	(void)state;
	report_golden("open-none", (struct mon_report_options){.open = true});
	report_sql(database,
		   "INSERT INTO call VALUES"
		   "(4,27700000000,NULL,NULL,1,NULL,1,0,1,32,NULL,5,6,NULL,NULL,NULL,NULL),"
		   "(5,3000000000,NULL,NULL,2,1,1,1,1,8,NULL,NULL,NULL,NULL,NULL,NULL,NULL),"
		   "(6,4000000000,NULL,NULL,1,NULL,1,0,1,16,NULL,NULL,NULL,NULL,NULL,NULL,NULL),"
		   "(7,5000000000,NULL,NULL,1,NULL,1,0,1,4,NULL,NULL,NULL,NULL,NULL,NULL,NULL),"
		   "(8,6000000000,NULL,NULL,1,NULL,1,0,1,2,NULL,NULL,NULL,NULL,NULL,NULL,NULL),"
		   "(9,7000000000,NULL,NULL,3,NULL,1,0,1,1,NULL,NULL,NULL,NULL,NULL,NULL,NULL);"
		   "INSERT INTO batch VALUES(2,3,4,9,3000000000,27700000000);"
		   "INSERT INTO ledger VALUES(1,6,1,NULL,NULL),(2,8,1,NULL,NULL),(1,8,2,NULL,NULL),"
		   " (1,7,1,NULL,NULL),(1,15,70,NULL,NULL)");
	sqlite3_close(database);
	report_golden("open", (struct mon_report_options){.open = true});
	report_golden("open-csv",
		      (struct mon_report_options){.open = true, .format = MON_REPORT_CSV});
	report_golden("open-function", (struct mon_report_options){
					       .open = true, .function = "lookup()", .wide = true});
	report_golden("open-head", (struct mon_report_options){.head_only = true});
}

static void function_is_found_by_any_of_its_names(void **state)
{
	static const char *const names[] = {"lookup()", "_Z6lookupv", "other", "look*",
					    "redis-server:lookup()"};
	struct mon_error error;

	(void)state;
	sqlite3_close(open_fixture());
	for (size_t i = 0; i < MON_ARRAY_COUNT(names); i++) {
		MON_FREE char *text = NULL;

		assert_int_equal(report_text((struct mon_report_options){.function = names[i]},
					     &text, &error),
				 0);
		assert_non_null(strstr(text, "function  lookup()\nsymbol    _Z6lookupv"));
	}

	MON_FREE char *text = NULL;
	MON_FREE char *none = NULL;

	assert_int_equal(
		report_text((struct mon_report_options){.function = "small*"}, &text, &error),
		-ENOENT);
	assert_int_equal(error.exit_code, MON_EXIT_NO_MATCH);
	assert_non_null(strstr(error.text, "9 functions match"));
	assert_int_equal(report_text((struct mon_report_options){.function = "nix"}, &none, &error),
			 -ENOENT);
	assert_non_null(strstr(error.text, "no function nix"));
}

static void expect_error(const char *path, uint32_t run, enum mon_exit exit_code, const char *part)
{
	MON_FREE char *text = NULL;
	struct mon_error error;

	assert_true(report_text((struct mon_report_options){.path = path, .run = run}, &text,
				&error) < 0);
	if (error.exit_code != exit_code || !strstr(error.text, part))
		fail_msg("exit %d: %s", error.exit_code, error.text);
	assert_string_equal(text, "");
}

static void what_cannot_be_read_is_said(void **state)
{
	sqlite3 *database = open_fixture();

	(void)state;
	expect_error("build/nothing.db", 0, MON_EXIT_UNAVAILABLE, "run monbpf attach first");
	expect_error("/dev/null", 0, MON_EXIT_UNAVAILABLE, "is not a file");
	expect_error("Makefile", 0, MON_EXIT_UNAVAILABLE, "not a database of monbpf");
	expect_error(NULL, 2, MON_EXIT_NO_MATCH, "--run 3  redis-server");
	report_sql(database, "PRAGMA user_version=2");
	expect_error(NULL, 0, MON_EXIT_UNAVAILABLE, "newer");
	report_sql(database, "PRAGMA application_id=7");
	expect_error(NULL, 0, MON_EXIT_UNAVAILABLE, "not a database of monbpf");
	sqlite3_close(database);
	sqlite3_close(report_database());
	expect_error(NULL, 0, MON_EXIT_NO_MATCH, "no run yet");
}

/* A database of somebody else may hold anything under our names. */
static void hostile_values_do_no_harm(void **state)
{
	sqlite3 *database = open_fixture();

	(void)state;
	report_sql(
		database,
		"UPDATE function_total SET calls='many', total_ns=x'00ff', armed_ns=1,"
		" wanted_ns=9223372036854775807, max_ns=-5, histogram=zeroblob(3000000);"
		"UPDATE function SET name=x'ff1b5b', note='n\"o,' || char(10) || char(27),"
		" mode='\\' WHERE id=1; UPDATE run SET started_wall_ns=9223372036854775807,"
		" ended_ns='x', target=char(27)||'[2J'; UPDATE call SET duration_ns="
		"9223372036854775807, weight='x', task_id=99, start_ns=9223372036854775807;"
		"INSERT INTO call_text VALUES(1,-9,'x',zeroblob(3000000)),(1,2,1.5,'\xff\x1b'),"
		"(1,3,-1,x'ff1b5b');"
		"UPDATE ledger SET count=-1; UPDATE breaker_event SET at_ns='x', to_state=x'ff'");
	sqlite3_close(database);
	for (int i = 0; i < 12; i++) {
		struct mon_report_options options = {
			.format = (enum mon_report_format)(i % 3),
			.wide = true,
			.all = true,
			.callers = i / 3 == 1,
			.slowest = i / 3 == 2 ? 5 : 0,
			.function = i / 3 == 3 ? "lookup()" : NULL,
		};
		MON_FREE char *text = NULL;
		struct mon_error error;

		(void)report_text(options, &text, &error);
		assert_null(strchr(text, '\033'));
		if (options.format == MON_REPORT_JSON)
			assert_null(strchr(text, '\xff'));
	}
}

/* As text where it is text, else in hexadecimal; how long it was; and no escape as it came. */
static void captured_texts_are_shown(void **state)
{
	static const struct {
		enum mon_report_format format;
		const char *parts[8];
	} cases[] = {
		{MON_REPORT_TABLE,
		 {"ARGUMENTS  CAPTURED",
		  "1: \"\\x1b[31mred\\x0a\", 2: \"caf\xc3\xa9\"... of 80000000",
		  "1: unreadable, 2: 0x00ff... of 18446744073709551615, 3: \"\"",
		  "1       1         0  -          -\n"}},
		{MON_REPORT_CSV,
		 {",call_id,captured\n",
		  ",1,\"1: \"\"\\x1b[31mred\\x0a\"\", 2: \"\"caf\xc3\xa9\"\"... of 80000000\"\n",
		  ",3,\n"}},
		{MON_REPORT_JSON,
		 {"\"captured\": [{\"slot\": 1, \"true_bytes\": 9, \"text\": "
		  "\"\\u001b[31mred\\u000a\"},"
		  " {\"slot\": 2, \"true_bytes\": 80000000, \"text\": \"caf\xc3\xa9\"}]",
		  "\"captured\": [{\"slot\": 1, \"true_bytes\": null, \"text\": null},"
		  " {\"slot\": 2, \"true_bytes\": 18446744073709551615, \"hex\": \"00ff\"},"
		  " {\"slot\": 3, \"true_bytes\": 0, \"text\": \"\"}]",
		  "\"captured\": null"}},
	};
	sqlite3 *database = open_fixture();

	(void)state;
	report_sql(database, "INSERT INTO call_text VALUES(1,1,9,x'1b5b33316d7265640a'),"
			     "(1,2,80000000,x'636166c3a9'),(2,1,NULL,x''),(2,2,-1,x'00ff'),"
			     "(2,3,0,x'')");
	sqlite3_close(database);
	for (size_t i = 0; i < MON_ARRAY_COUNT(cases); i++) {
		MON_FREE char *text = NULL;
		struct mon_error error;

		assert_int_equal(report_text((struct mon_report_options){.slowest = 3,
									 .wide = true,
									 .format = cases[i].format},
					     &text, &error),
				 0);
		for (size_t part = 0; cases[i].parts[part]; part++)
			if (!strstr(text, cases[i].parts[part]))
				fail_msg("not there: %s\n%s", cases[i].parts[part], text);
	}
}

/* The most that can be captured, each byte of it escaped: valid JSON, no crash. */
static void captured_texts_are_not_cut_in_json(void **state)
{
	sqlite3 *database = open_fixture();
	MON_FREE char *text = NULL;
	struct mon_error error;
	size_t escapes = 0;

	(void)state;
	report_sql(database, "WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i+1 FROM n WHERE "
			     "i<9) INSERT INTO call_text SELECT 1,i,NULL,"
			     "CAST(replace(hex(zeroblob(2048/2)),'0',char(27)) AS BLOB) FROM n");
	sqlite3_close(database);
	assert_int_equal(
		report_text((struct mon_report_options){.slowest = 1, .format = MON_REPORT_JSON},
			    &text, &error),
		0);
	for (const char *at = text; (at = strstr(at, "\\u001b")); at++)
		escapes++;
	assert_true(escapes >= 7 * 2048); /* and in the thread's name */
	assert_non_null(strstr(text, "\\u001b\"}]}"));
}

static void open_ledger_is_said_after_the_end_only(void **state)
{
	sqlite3 *database = open_fixture();
	MON_FREE char *ended = NULL;
	MON_FREE char *running = NULL;
	MON_FREE char *sql = NULL;
	struct mon_error error;

	(void)state;
	report_sql(database, "UPDATE ledger SET count=count-1 WHERE function_id=2");
	assert_int_equal(report_text((struct mon_report_options){0}, &ended, &error), 0);
	assert_non_null(strstr(ended, "the ledger does not close: lookup() was called 6,043,260"));
	assert_true(asprintf(&sql, "UPDATE run SET ended_ns=NULL, started_wall_ns=%" PRId64,
			     mon_clock_wall() - 30000000000) > 0);
	report_sql(database, sql);
	sqlite3_close(database);
	assert_int_equal(report_text((struct mon_report_options){0}, &running, &error), 0);
	assert_null(strstr(running, "does not close"));
	assert_non_null(strstr(running, "still running"));
}

/* A loss that an earlier process saw has no times when it never grew again: not "0ns". */
static void when_calls_were_lost_may_be_unknown(void **state)
{
	sqlite3 *database = open_fixture();
	MON_FREE char *text = NULL;
	struct mon_error error;

	(void)state;
	report_sql(database, "INSERT INTO ledger VALUES(2,14,5,NULL,NULL)");
	sqlite3_close(database);
	assert_int_equal(report_text((struct mon_report_options){0}, &text, &error), 0);
	assert_non_null(strstr(text, "! lookup(): lost 5 calls (killed)\n"));
	assert_non_null(strstr(text, "! call: lost 7 calls (ring_full) between 2.00s and 3.00s\n"));
}

/*
 * While a run lives, what was not called lately has an old total. Its rate is of the whole time all
 * the same, and nothing of it is in the last seconds.
 */
static void a_live_run_is_told_as_of_now(void **state)
{
	sqlite3 *database = open_fixture();
	MON_FREE char *text = NULL;
	MON_FREE char *since = NULL;
	struct mon_error error;

	(void)state;
	report_sql(database, "UPDATE run SET ended_ns=NULL, wanted_ns=30000000000;"
			     "UPDATE function_total SET wanted_ns=4000000000, armed_ns=4000000000,"
			     " calls=60 WHERE function_id=1;"
			     /* Windows since then, in which it was not called. */
			     "UPDATE function_total SET wanted_ns=4000000000, armed_ns=2000000000"
			     " WHERE function_id=4;"
			     "DELETE FROM coverage; INSERT INTO coverage VALUES"
			     "(4,0,2000000000,'until the limit was passed'),"
			     "(4,20000000000,21000000000,'window');"
			     "DELETE FROM function_interval");
	sqlite3_close(database);
	assert_int_equal(
		report_text((struct mon_report_options){.format = MON_REPORT_CSV}, &text, &error),
		0);
	assert_non_null(strstr(text, "\ncall,call,2,"));
	assert_non_null(strstr(text, ",60,60,2943600,30000000000,30000000000,"));
	assert_non_null(strstr(text, ",1000,10000,1000,30000000000,3000000000,"));
	assert_int_equal(
		report_text((struct mon_report_options){.since_set = true, .since_ns = 5000000000},
			    &since, &error),
		0);
	assert_non_null(strstr(since, "\n0 calls counted in the last 5.00s\n"));
	assert_non_null(strstr(since, "! half: not armed in 5.00s: its calls are not known\n"));
	assert_null(strstr(since, "call  "));
}

static void a_further_part_says_where_the_earlier_rows_are(void **state)
{
	static const struct {
		const char *value, *expected;
	} cases[] = {
		{"'.damaged-1'", ".damaged-1\n"},
		{"'moved or removed'",
		 "part 2: earlier rows are in a file that was moved or removed\n"},
		{"NULL", "part 2: earlier rows are in a file that was lost\n"},
		{"'.'||char(27)", ".\\x1b\n"},
	};
	sqlite3 *database = open_fixture();
	MON_FREE char *first = NULL;
	struct mon_error error;

	(void)state;
	assert_int_equal(report_text((struct mon_report_options){0}, &first, &error), 0);
	assert_null(strstr(first, "earlier rows"));
	report_sql(database, "UPDATE run SET part=2");
	for (size_t i = 0; i < MON_ARRAY_COUNT(cases); i++) {
		MON_FREE char *text = NULL, *sql = NULL;

		assert_true(asprintf(&sql, "INSERT OR REPLACE INTO meta VALUES('earlier_part',%s)",
				     cases[i].value) > 0);
		report_sql(database, sql);
		assert_int_equal(report_text((struct mon_report_options){0}, &text, &error), 0);
		assert_non_null(strstr(text, cases[i].expected));
	}
	sqlite3_close(database);
}

/* A run without an end: its monitor lives as long as it holds the lock. */
static void a_killed_run_is_told_from_a_running_one(void **state)
{
	sqlite3 *database = open_fixture();
	MON_FREE char *lock_path = NULL;
	MON_FREE char *running = NULL;
	MON_FREE char *killed = NULL;
	MON_FREE char *lately = NULL;
	MON_FREE char *sql = NULL;
	MON_FREE char *followed = NULL;
	struct mon_error error;
	MON_CLOSE int lock = -1;

	(void)state;
	report_sql(database, "UPDATE run SET ended_ns=NULL"); /* long ago */
	assert_true(asprintf(&lock_path, "%s-lock", report_path) > 0);
	lock = open(lock_path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_true(lock >= 0);
	assert_int_equal(flock(lock, LOCK_EX), 0);
	assert_int_equal(report_text((struct mon_report_options){0}, &running, &error), 0);
	assert_non_null(strstr(running, "still running"));
	assert_int_equal(flock(lock, LOCK_UN), 0);
	assert_int_equal(report_text((struct mon_report_options){0}, &killed, &error), 0);
	assert_non_null(strstr(killed, "incomplete: its monitor was killed"));
	/* However lately it wrote; and one may look who may not write. */
	assert_true(asprintf(&sql, "UPDATE run SET started_wall_ns=%" PRId64 " WHERE id=3",
			     mon_clock_wall() - 30000000000) > 0);
	report_sql(database, sql);
	assert_int_equal(fchmod(lock, 0444), 0);
	assert_int_equal(report_text((struct mon_report_options){0}, &lately, &error), 0);
	assert_non_null(strstr(lately, "incomplete: its monitor was killed"));
	assert_int_equal(flock(lock, LOCK_EX), 0);
	report_sql(database, "INSERT INTO run(id,uuid,part,started_mono_ns,started_wall_ns)"
			     " VALUES(99,'later',0,0,0)");
	assert_int_equal(report_text((struct mon_report_options){.run = 1}, &followed, &error), 0);
	assert_non_null(strstr(followed, "incomplete: its end was never written"));
	sqlite3_close(database);
	assert_int_equal(unlink(lock_path), 0);
}

/* Times of sampled calls are estimates and say so; what is not known is a dash; calls are exact. */
static void estimated_times(void **state)
{
	sqlite3 *database = open_fixture();
	MON_FREE char *text = NULL;
	MON_FREE char *callers = NULL;
	MON_FREE char *json = NULL;
	struct mon_error error;

	(void)state;
	report_sql(database,
		   "UPDATE function_total SET estimated=1, self_ns=NULL WHERE function_id=1;"
		   "UPDATE call SET flags=192, child_ns=NULL, caller_id=NULL WHERE id=3");
	assert_int_equal(report_text((struct mon_report_options){.all = true}, &text, &error), 0);
	assert_non_null(strstr(text, "2,943,600   98,120   ~13.1s        -  ~4.45us"));
	assert_non_null(strstr(text, "\n~ estimates: not every call was followed to its return\n"));
	assert_int_equal(
		report_text((struct mon_report_options){.callers = true}, &callers, &error), 0);
	assert_non_null(strstr(callers, "\n?       lookup()"));
	assert_int_equal(
		report_text((struct mon_report_options){.format = MON_REPORT_JSON}, &json, &error),
		0);
	assert_non_null(strstr(json, "\"self_ns\": null"));
	assert_non_null(strstr(json, "\"times_estimated\": true"));
	sqlite3_close(database);
}

/* A file of minor 0 has no such column. */
static void a_file_of_before(void **state)
{
	sqlite3 *database = open_fixture();
	MON_FREE char *text = NULL;
	MON_FREE char *old = NULL;
	struct mon_error error;

	(void)state;
	assert_int_equal(report_text((struct mon_report_options){0}, &text, &error), 0);
	report_sql(database, "DROP VIEW functions; DROP VIEW unbalanced;"
			     "ALTER TABLE function_total DROP COLUMN estimated");
	assert_int_equal(report_text((struct mon_report_options){0}, &old, &error), 0);
	assert_string_equal(old, text);
	sqlite3_close(database);
}

static void reads_while_another_writes(void **state)
{
	sqlite3 *database = open_fixture();
	MON_FREE char *text = NULL;
	struct mon_error error;

	(void)state;
	report_sql(database, "PRAGMA journal_mode=WAL");
	report_sql(database, "UPDATE function_total SET calls=77 WHERE function_id=3");
	report_sql(database,
		   "BEGIN IMMEDIATE; UPDATE function_total SET calls=78 WHERE function_id=3");
	assert_int_equal(report_text((struct mon_report_options){.all = true}, &text, &error), 0);
	assert_non_null(strstr(text, "  77  "));
	report_sql(database, "COMMIT; PRAGMA journal_mode=DELETE");
	sqlite3_close(database);
}

/* A reader that takes its time; each time it takes something, a writer needs its WAL emptied. */
static ssize_t take(void *cookie, const char *text, size_t size)
{
	int code = sqlite3_wal_checkpoint_v2(cookie, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);

	(void)text;
	assert_int_equal(code, SQLITE_OK);
	return (ssize_t)size;
}

static void a_pager_does_not_hold_up_the_writer(void **state)
{
	sqlite3 *database = open_fixture();
	MON_FCLOSE FILE *out = fopencookie(database, "w", (cookie_io_functions_t){.write = take});
	const struct mon_report_options options = {.path = report_path};
	struct mon_error error = {0};

	(void)state;
	assert_non_null(out);
	setbuf(out, NULL);
	report_sql(database, "PRAGMA journal_mode=WAL");
	report_sql(database, "UPDATE function_total SET calls=77 WHERE function_id=3");
	assert_int_equal(mon_report_print(&options, out, &error), 0);
	report_sql(database, "PRAGMA journal_mode=DELETE");
	sqlite3_close(database);
}

static void L03_full_output_is_an_error(void **state)
{
	MON_FCLOSE FILE *full = fopen("/dev/full", "we");
	struct mon_report_options options = {.path = report_path};
	struct mon_error error = {0};

	(void)state;
	sqlite3_close(open_fixture());
	assert_non_null(full);
	assert_int_equal(mon_report_print(&options, full, &error), -EIO);
	assert_int_equal(error.exit_code, MON_EXIT_UNAVAILABLE);
}

static int command(const char *first, const char *second)
{
	char words[3][64] = {"report"};
	char *argv[] = {words[0], words[1], second ? words[2] : NULL, NULL};

	(void)snprintf(words[1], sizeof(words[1]), "%s", first);
	(void)snprintf(words[2], sizeof(words[2]), "%s", second ? second : "");
	return mon_cli_report(second ? 3 : 2, argv);
}

static void wrong_usage_exits_2(void **state)
{
	(void)state;
	assert_int_equal(command("--nonsense", NULL), MON_EXIT_USAGE);
	assert_int_equal(command("--run", "x"), MON_EXIT_USAGE);
	assert_int_equal(command("--run", NULL), MON_EXIT_USAGE);
	assert_int_equal(command("--slowest", "0"), MON_EXIT_USAGE);
	assert_int_equal(command("--since", "soon"), MON_EXIT_USAGE);
	assert_int_equal(command("--json", "--csv"), MON_EXIT_USAGE);
	assert_int_equal(command("--open", "--callers"), MON_EXIT_USAGE);
	assert_int_equal(command("--stacks", "--csv"), MON_EXIT_USAGE);
	assert_int_equal(command("--folded", "--json"), MON_EXIT_USAGE);
	assert_int_equal(command("--folded=x", NULL), MON_EXIT_USAGE);
	assert_int_equal(command("file.db", NULL), MON_EXIT_USAGE);
	assert_int_equal(command("-i", "build/nothing.db"), MON_EXIT_UNAVAILABLE);
}

/* One name for each file offset; what it is asked must be before where the call returns to. */
static const char *name_place(void *context, const char *path, const char *build_id,
			      uint64_t offset)
{
	int *asked = context;

	++*asked;
	if (strcmp(path, "/usr/bin/redis-server") != 0 || strcmp(build_id, "ab") != 0)
		return NULL;
	switch (offset) {
	case 0xff:
		return "main";
	case 0x1ff:
	case 0x2ff:
		return "serve<a;b>";
	case 0x3ff:
		return "re\x1b[31m\ncurse";
	default:
		return NULL;
	}
}

#define FRAME(module, offset) module "000000" offset "000000000000"

/* Ways that differ in an address only are one; names cannot break a line; damage does no harm. */
static void ways_are_summed_by_name(void **state)
{
	sqlite3 *database = open_fixture();
	int asked = 0;
	const struct mon_symbolizing symbolizing = {.name = name_place, .context = &asked};

	(void)state;
	report_sql(
		database,
		"INSERT INTO stack VALUES"
		"(1,3,x'" FRAME("01", "0002") FRAME("01", "0001") FRAME(
			"02",
			"3412") "'),"
				"(2,3,x'" FRAME("01", "0003") FRAME("01", "0001") FRAME(
					"02",
					"3412") "'),"
						/* The same again, from before the table of known
						   ones was emptied. */
						"(3,3,x'" FRAME("01", "0003") FRAME("01", "0001") FRAME(
							"02",
							"3412") "'),"
								/* Without a module; of one that is
								   not there; cut short; recursive.
								 */
								"(4,3,x'" FRAME("00", "efbe") FRAME(
									"63",
									"0001") "00'),"
										"(5,3,x'0102'),"
										"(6,3,x'" FRAME(
											"01",
											"0004") FRAME("01",
												      "0004")
											FRAME("01", "0004") FRAME(
												"0"
												"1",
												"00"
												"0"
												"5") "'), (7,3,'text');"
												     "DELETE FROM call;"
												     "WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i+1 FROM n WHERE i<9)"
												     "INSERT INTO call SELECT i,1000000000*i,1000*i,100*i,1+(i=6),NULL,1,0,10,0,0,"
												     "NULL,NULL,NULL,NULL,NULL,NULL FROM n;"
												     "UPDATE batch SET last_call=9;"
												     "INSERT INTO call_stack VALUES(1,1),(2,2),(3,3),(4,4),(5,5),(6,6),(7,6),(8,7)");
	report_golden("stacks",
		      (struct mon_report_options){.stacks = true, .symbolizing = &symbolizing});
	report_golden("stacks-json", (struct mon_report_options){.stacks = true,
								 .format = MON_REPORT_JSON,
								 .symbolizing = &symbolizing});
	report_golden("folded", (struct mon_report_options){.folded = MON_FOLDED_CALLS,
							    .symbolizing = &symbolizing});
	report_golden("folded-time", (struct mon_report_options){.folded = MON_FOLDED_TIME,
								 .function = "call",
								 .symbolizing = &symbolizing});
	assert_true(asked > 0);
	report_golden("folded-unnamed", (struct mon_report_options){.folded = MON_FOLDED_CALLS});
	assert_int_equal(sqlite3_close(database), SQLITE_OK);
}

/* Without frame pointers all that is known is who called; what the next one leads to is no code. */
static void stacks_that_end_at_once_are_explained(void **state)
{
	static const char one[] = FRAME("01", "0002"), other[] = FRAME("01", "0003");
	static const struct {
		const char *second, *options, *part;
	} rows[] = {
		{"", "stack_frames=64 x", "redis-server was built without frame pointers"},
		{FRAME("00", "efbe"), "", "redis-server was built without frame pointers"},
		{FRAME("01", "0001"), "stack_frames=64 x", NULL},
		{"", "stack_frames=1 x", NULL},
	};
	struct mon_error error;

	(void)state;
	for (size_t i = 0; i < MON_ARRAY_COUNT(rows); i++) {
		sqlite3 *database = open_fixture();
		MON_FREE char *text = NULL;
		char sql[512];

		(void)snprintf(sql, sizeof(sql),
			       "UPDATE run SET options='%s'; INSERT INTO stack VALUES(1,3,x'%s'),"
			       "(2,3,x'%s%s'); INSERT INTO call_stack SELECT id, 1+id%%2 FROM call",
			       rows[i].options, one, other, rows[i].second);
		report_sql(database, sql);
		assert_int_equal(
			report_text((struct mon_report_options){.stacks = true}, &text, &error), 0);
		if (!strstr(text, "redis-server+0x200"))
			fail_msg("no stack: %s", text);
		if (rows[i].part ? !strstr(text, rows[i].part)
				 : strstr(text, "frame pointers") != NULL)
			fail_msg("row %zu: %s", i, text);
		assert_int_equal(sqlite3_close(database), SQLITE_OK);
	}
}

static void a_run_without_stacks_says_so(void **state)
{
	sqlite3 *database = open_fixture();
	MON_FREE char *text = NULL;
	struct mon_error error;

	(void)state;
	assert_int_equal(
		report_text((struct mon_report_options){.folded = MON_FOLDED_CALLS}, &text, &error),
		-ENOENT);
	assert_int_equal(error.exit_code, MON_EXIT_NO_MATCH);
	assert_non_null(strstr(error.text, "has no stacks"));
	assert_string_equal(text, "");
	free(text);
	assert_int_equal(report_text((struct mon_report_options){.stacks = true}, &text, &error),
			 0);
	assert_non_null(strstr(text, "no stacks: monbpf attach --stack keeps them"));
	assert_int_equal(sqlite3_close(database), SQLITE_OK);
}

/* Each ```sql block of docs/schema.md runs on the fixture. */
static void documented_queries_run(void **state)
{
	MON_FREE char *text = report_file("docs/schema.md");
	sqlite3 *database = open_fixture();
	unsigned blocks = 0;

	(void)state;
	assert_non_null(text);
	for (char *at = text; (at = strstr(at, "\n```sql"));) {
		char *end = (at = strchr(at + 1, '\n')) ? strstr(at, "```") : NULL;

		assert_non_null(end);
		*end = '\0';
		report_sql(database, at);
		at = end + 3;
		blocks++;
	}
	assert_true(blocks >= 6);
	sqlite3_close(database);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(screens_are_as_expected),
		cmocka_unit_test(calls_that_never_returned_are_told),
		cmocka_unit_test(function_is_found_by_any_of_its_names),
		cmocka_unit_test(what_cannot_be_read_is_said),
		cmocka_unit_test(hostile_values_do_no_harm),
		cmocka_unit_test(captured_texts_are_shown),
		cmocka_unit_test(captured_texts_are_not_cut_in_json),
		cmocka_unit_test(open_ledger_is_said_after_the_end_only),
		cmocka_unit_test(when_calls_were_lost_may_be_unknown),
		cmocka_unit_test(a_live_run_is_told_as_of_now),
		cmocka_unit_test(a_further_part_says_where_the_earlier_rows_are),
		cmocka_unit_test(a_killed_run_is_told_from_a_running_one),
		cmocka_unit_test(estimated_times),
		cmocka_unit_test(a_file_of_before),
		cmocka_unit_test(reads_while_another_writes),
		cmocka_unit_test(a_pager_does_not_hold_up_the_writer),
		cmocka_unit_test(L03_full_output_is_an_error),
		cmocka_unit_test(wrong_usage_exits_2),
		cmocka_unit_test(ways_are_summed_by_name),
		cmocka_unit_test(stacks_that_end_at_once_are_explained),
		cmocka_unit_test(a_run_without_stacks_says_so),
		cmocka_unit_test(documented_queries_run),
	};

	return cmocka_run_group_tests(tests, report_setup, report_teardown);
}
