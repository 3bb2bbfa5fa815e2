// SPDX-License-Identifier: GPL-2.0-or-later
#include "tests/harness/loader.h"

#include "base/cleanup.h"
#include "capture/pins.h"

#include <bpf/bpf.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

/* In the loader: no assertion, it is not the test. */
static int load_and_pin(const struct loader *loader)
{
	struct mon_pins_identity identity = {.started_ns = 23, .armed_ns = 42, .target_count = 1};
	struct mon_pins_head *head = &identity.head;
	struct mon_capture *capture;
	struct mon_error error = {0};

	identity.targets[0].pid = loader->target;
	(void)snprintf(head->run_uuid, sizeof(head->run_uuid), "%s", loader->uuid);
	(void)snprintf(head->database, sizeof(head->database), "%s", loader->database);
	if (mon_capture_new(loader->options, &capture, &error) ||
	    mon_capture_attach(capture, loader->set, loader->target, &error) ||
	    mon_capture_pin(capture, loader->base, &identity, &error)) {
		(void)fprintf(stderr, "loader: %s\n", error.text);
		return -1;
	}
	return loader->then ? loader->then(capture) : 0;
}

pid_t loader_start(const struct loader *loader)
{
	pid_t parent = getpid(), pid;
	int ready[2];
	char byte;

	assert_int_equal(pipe(ready), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent || load_and_pin(loader) || write(ready[1], "", 1) != 1)
			_exit(1);
		for (;;)
			(void)pause();
	}
	(void)close(ready[1]);
	assert_int_equal(read(ready[0], &byte, 1), 1);
	(void)close(ready[0]);
	return pid;
}

void loader_kill(pid_t pid)
{
	int status;

	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

uint32_t loader_program(const char *base, const char *uuid)
{
	MON_CLOSE int fd = -1;
	struct bpf_prog_info info = {0};
	uint32_t bytes = sizeof(info);
	char path[PATH_MAX];

	(void)snprintf(path, sizeof(path), "%s/%s/program-entry", base, uuid);
	fd = bpf_obj_get(path);
	assert_true(fd >= 0);
	assert_int_equal(bpf_prog_get_info_by_fd(fd, &info, &bytes), 0);
	return info.id;
}

size_t loader_links(uint32_t program)
{
	uint32_t id = 0;
	size_t count = 0;

	while (!bpf_link_get_next_id(id, &id)) {
		struct bpf_link_info info = {0};
		uint32_t bytes = sizeof(info);
		int fd = bpf_link_get_fd_by_id(id);

		if (fd >= 0 && !bpf_link_get_info_by_fd(fd, &info, &bytes))
			count += info.prog_id == program;
		if (fd >= 0)
			(void)close(fd);
	}
	return count;
}

void loader_wait_unloaded(uint32_t program)
{
	for (int i = 0; i < 5000; i++) {
		int fd = bpf_prog_get_fd_by_id(program);

		if (fd < 0)
			return;
		(void)close(fd);
		(void)poll(NULL, 0, 1);
	}
	fail_msg("program %u is still loaded, with %zu links", program, loader_links(program));
}
