/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * dlcalls [N] [late]: N calls into libtarget.so, which lies beside the program and is opened
 * before "ready", or only after the first line.
 */
#include <dlfcn.h>

#include "target.h"

static int (*open_library(void))(int)
{
	char path[4096];
	ssize_t length = readlink("/proc/self/exe", path, sizeof(path) - 32);

	if (length < 0)
		exit(1);
	path[length] = '\0';
	strcpy(strrchr(path, '/') + 1, "libtarget.so");
	void *library = dlopen(path, RTLD_NOW);
	if (library == NULL) {
		fprintf(stderr, "%s\n", dlerror());
		exit(1);
	}
	int (*call)(int);
	*(void **)&call = dlsym(library, "library_call");
	if (call == NULL)
		exit(1);
	return call;
}

int main(int argc, char **argv)
{
	long calls = target_number(argc, argv, 1, TARGET_CALLS_DEFAULT);
	bool late = argc > 2 && strcmp(argv[2], "late") == 0;
	int (*call)(int) = late ? NULL : open_library();

	target_ready();
	if (late)
		call = open_library();
	for (long i = 0; i < calls; i++)
		call((int)i);
	target_end(calls);
	return 0;
}
