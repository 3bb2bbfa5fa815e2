// SPDX-License-Identifier: GPL-2.0-or-later
#include "tests/harness/tool.h"

#include "tests/harness/process.h"
#include "tests/harness/scratch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

char *tool_output(const char *const argv[])
{
	struct process *process = process_start(argv);
	int status = process_wait(process, PROCESS_TIMEOUT_MS);
	char *text;

	if (status)
		fail_msg("%s: exit %d: %s", argv[0], status, process_text(process, PROCESS_STDERR));
	text = strdup(process_text(process, PROCESS_STDOUT));
	assert_non_null(text);
	process_free(process);
	return text;
}

char *tool_write(const char *dir, const char *name, const char *text)
{
	char *path = scratch_path(dir, name);
	FILE *file = fopen(path, "we");

	if (!file || fputs(text, file) < 0 || fclose(file))
		fail_msg("cannot write %s", path);
	return path;
}

char *tool_library(const char *dir, const char *name, const char *assembler)
{
	char *path = scratch_path(dir, name), *source;
	char source_name[256];

	(void)snprintf(source_name, sizeof(source_name), "%s.s", name);
	source = tool_write(dir, source_name, assembler);
	TOOL_RUN("gcc", "-nostdlib", "-shared", "-Wl,--build-id", "-Wl,-z,noexecstack", "-o", path,
		 source);
	free(source);
	return path;
}

char *tool_copy(const char *path, const char *dir, const char *name)
{
	char *copy = scratch_path(dir, name);

	TOOL_RUN("cp", "--", path, copy);
	return copy;
}

void assert_sentence(const struct mon_error *error, enum mon_exit exit_code, const char *part)
{
	size_t length = strnlen(error->text, sizeof(error->text));

	if (error->exit_code != exit_code || !length || length == sizeof(error->text) ||
	    strchr(error->text, '\n') || error->text[length - 1] == '.' ||
	    !strchr(error->text, ' ') || !strstr(error->text, part))
		fail_msg("exit code %d, expected %d and one sentence with \"%s\": \"%.*s\"",
			 error->exit_code, exit_code, part, (int)length, error->text);
}
