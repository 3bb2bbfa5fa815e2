// SPDX-License-Identifier: GPL-2.0-or-later
/* A mistyped command or option: exit 2, and one sentence with the nearest, if one is near. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/error.h"
#include "cli/cli.h"
#include "cli/suggestion.h"
#include "tests/harness/stderr.h"

#include <stdio.h>
#include <string.h>

/* @words: a command line without "monbpf", parted by blanks. */
static void refused(const char *words, const char *sentence)
{
	char copy[256], *argv[16] = {(char *)"monbpf"}, *rest = NULL;
	int argc = 1, status;
	const char *said;

	(void)snprintf(copy, sizeof(copy), "%s", words);
	for (char *word = strtok_r(copy, " ", &rest); word; word = strtok_r(NULL, " ", &rest))
		argv[argc++] = word;
	listen_to_stderr();
	status = mon_cli_run(argc, argv);
	said = heard();
	if (status != MON_EXIT_USAGE || strncmp(said, sentence, strlen(sentence)) != 0 ||
	    strcmp(said + strlen(sentence), "\n") != 0)
		fail_msg("%s: exit %d, %s", words, status, said);
}

static void a_command(void **state)
{
	(void)state;
	refused("atach", "monbpf: there is no command 'atach'; did you mean attach? Try monbpf "
			 "--help");
	refused("xyzzy", "monbpf: there is no command 'xyzzy': try monbpf --help");
	refused("\x1b[2J", "monbpf: there is no command '\\x1b[2J': try monbpf --help");
}

static void an_option_of_each_command(void **state)
{
	(void)state;
	refused("attach -p 1 --smaple 1/10",
		"monbpf attach: there is no option --smaple; did you mean --sample? Try monbpf "
		"attach --help");
	refused("list --jsno",
		"monbpf list: there is no option --jsno; did you mean --json? Try monbpf list "
		"--help");
	refused("report --cvs",
		"monbpf report: there is no option --cvs; did you mean --csv? Try monbpf report "
		"--help");
	refused("status --imput=x",
		"monbpf status: there is no option --imput=x; did you mean --input? Try monbpf "
		"status --help");
	refused("detach --pinns",
		"monbpf detach: there is no option --pinns; did you mean --pins? Try monbpf "
		"detach --help");
	refused("doctor --jsn",
		"monbpf doctor: there is no option --jsn; did you mean --json? Try monbpf doctor "
		"--help");
	refused("spool drain d --ouput",
		"monbpf spool: there is no option --ouput; did you mean --output? Try monbpf "
		"spool --help");
}

/* Nothing near, a letter, hostile bytes, and more of them than any name has. */
static void nothing_is_made_up(void **state)
{
	char words[160] = "report --";

	(void)state;
	refused("report --zzzzz", "monbpf report: there is no option --zzzzz; try monbpf report "
				  "--help");
	refused("report -z", "monbpf report: there is no option -z; try monbpf report --help");
	refused("report --\x1b]0", "monbpf report: there is no option --\\x1b]0; try monbpf report "
				   "--help");
	memset(words + strlen(words), 'y', 140);
	listen_to_stderr();
	assert_int_equal(
		mon_cli_run(3, (char *[]){(char *)"monbpf", (char *)"report", words + 7, NULL}),
		MON_EXIT_USAGE);
	assert_non_null(strstr(heard(), "there is no option --yyy"));
}

static void a_value_where_none_is_taken(void **state)
{
	(void)state;
	refused("report --csv=1", "monbpf report: --csv takes no value; try monbpf report --help");
	refused("attach --persist=yes",
		"monbpf attach: --persist takes no value; try monbpf attach --help");
}

static void a_value_that_is_missing(void **state)
{
	(void)state;
	refused("status -i", "monbpf status: a value is missing after -i; try monbpf status "
			     "--help");
	refused("detach --run",
		"monbpf detach: a value is missing after --run; try monbpf detach --help");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_command),
		cmocka_unit_test(an_option_of_each_command),
		cmocka_unit_test(nothing_is_made_up),
		cmocka_unit_test(a_value_where_none_is_taken),
		cmocka_unit_test(a_value_that_is_missing),
	};

	return cmocka_run_group_tests_name("cli/suggestion", tests, NULL, NULL);
}
