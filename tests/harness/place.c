// SPDX-License-Identifier: GPL-2.0-or-later
#include "tests/harness/place.h"

#include "tests/harness/process.h"
#include "tests/harness/scratch.h"

#include <stdlib.h>

char *directory, *database;

int place_setup(void **state)
{
	(void)state;
	directory = scratch_new();
	database = scratch_path(directory, "monbpf.db");
	return 0;
}

int place_teardown(void **state)
{
	int result = process_teardown(state);

	scratch_remove(directory);
	free(database);
	return result;
}
