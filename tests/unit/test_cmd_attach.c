// SPDX-License-Identifier: GPL-2.0-or-later
/* Options of `attach` that are refused before anything is looked at: exit 2 and one sentence. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/error.h"
#include "cli/cli.h"
#include "control/rules.h"
#include "tests/harness/stderr.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* @options in one string, parted by blanks. */
static void refused(const char *options, const char *sentence)
{
	char words[256], *argv[32] = {(char *)"attach", (char *)"-p", (char *)"1"}, *rest = NULL;
	const char *said;
	int argc = 3, status;

	(void)snprintf(words, sizeof(words), "%s", options);
	for (char *word = strtok_r(words, " ", &rest); word; word = strtok_r(NULL, " ", &rest))
		argv[argc++] = word;
	listen_to_stderr();
	status = mon_cli_attach(argc, argv);
	said = heard();
	if (status != MON_EXIT_USAGE || !strstr(said, sentence))
		fail_msg("%s: exit %d, %s", options, status, said);
}

static void arguments_to_capture(void **state)
{
	(void)state;
	refused("--string 0", "--string wants an argument from 1 to 6, not 0;");
	refused("--string 7", "not 7;");
	refused("--string 1:2", "not 1:2;");
	refused("--string 11", "not 11;");
	refused("--string -1", "not -1;");
	refused("--buffer 1", "--buffer wants K:L, two arguments from 1 to 6, not 1;");
	refused("--buffer 1:", "not 1:;");
	refused("--buffer 1:7", "not 1:7;");
	refused("--buffer 2:2", "not 2:2;");
	refused("--buffer 1:22", "not 1:22;");
	refused("--string 1 --buffer 1:2", "one argument is captured once");
	refused("--string 1 --string 2 --buffer 3:4 --string 5",
		"at most 3 of --string and --buffer together");
	refused("--string 1 -c", "which -c does not keep");
}

static void bytes_to_capture(void **state)
{
	(void)state;
	refused("--capture-bytes 64", "--capture-bytes wants --string or --buffer");
	refused("--string 1 --capture-bytes 0", "wants a number from 1 to 1910, not 0;");
	refused("--string 1 --capture-bytes 1911", "not 1911;");
	refused("--string 1 --capture-bytes 64K", "not 64K;");
	refused("--string 1 --string 2 --capture-bytes 943",
		"2 captured arguments leave room for --capture-bytes 942 at most");
	refused("--capture-bytes 623 --string 1 --string 2 --buffer 3:4",
		"3 captured arguments leave room for --capture-bytes 622 at most");
}

static void kept_calls(void **state)
{
	(void)state;
	refused("--keep-slow 5",
		"--keep-slow wants a time up to 24h like 5ms, or GLOB=5ms, not 5;");
	refused("--keep-slow f=0ms", "not f=0ms;");
	refused("--failed f=ret>0", "--failed wants GLOB=ret<0, ret==0, ret!=0 or ret64<0, not");
	refused("--keep-failed", "--keep-failed wants --failed GLOB=EXPR");
	refused("--keep-slow 5ms --stats counts", "which --stats counts does not follow");
	refused("--stats counts --failed ret<0 --keep-failed",
		"which --stats counts does not follow");
	refused("--keep-slow f=5ms -c", "want records, which -c does not keep");
	refused("--failed ret<0 --keep-failed -c", "want records, which -c does not keep");
	refused("--max-records-per-sec x", "wants N (all functions together) or GLOB=N");
	refused("--max-records-per-sec f=1000000001", "not f=1000000001;");
}

/* One more than there is room for. */
static void too_many_rules(void **state)
{
	char *argv[2 * MON_RULES_MAX + 6] = {(char *)"attach", (char *)"-p", (char *)"1"};
	int argc = 3;

	(void)state;
	for (int i = 0; i <= MON_RULES_MAX; i++) {
		argv[argc++] = (char *)"--keep-slow";
		argv[argc++] = (char *)"5ms";
	}
	listen_to_stderr();
	assert_int_equal(mon_cli_attach(argc, argv), MON_EXIT_USAGE);
	assert_non_null(strstr(heard(), "at most 64 rules of --keep-slow;"));
}

static void stacks_to_keep(void **state)
{
	(void)state;
	refused("--stack -c", "--stack wants records, which -c does not keep");
	refused("--stack-depth 0", "wants a number from 1 to 127, not 0;");
	refused("--stack-depth 128", "not 128;");
	refused("--stack --string 1 --capture-bytes 1900", "do not fit in one record");
}

static void what_does_nothing(void **state)
{
	(void)state;
	refused("-c --sample 1/10", "want records, which -c does not keep");
	refused("-c --args 2", "want records, which -c does not keep");
	refused("-c --max-records-per-sec 5", "want records, which -c does not keep");
	refused("--reader-timeout 5s", "--reader-timeout and --pins want --persist");
	refused("--pins /run/other", "--reader-timeout and --pins want --persist");
}

static void several_rings(void **state)
{
	(void)state;
	refused("--rings 0", "--rings wants a number from 1 to 16 and no more than there are CPUs,"
			     " not 0;");
	refused("--rings 17", "not 17;");
	refused("--rings 2x", "not 2x;");
	refused("--rings -1", "not -1;");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(arguments_to_capture), cmocka_unit_test(stacks_to_keep),
		cmocka_unit_test(bytes_to_capture),	cmocka_unit_test(kept_calls),
		cmocka_unit_test(too_many_rules),	cmocka_unit_test(several_rings),
		cmocka_unit_test(what_does_nothing),
	};

	return cmocka_run_group_tests_name("cli/cmd_attach", tests, NULL, NULL);
}
