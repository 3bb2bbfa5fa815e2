// SPDX-License-Identifier: GPL-2.0-or-later
#include "capture/link.h"

#include "base/cleanup.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <linux/bpf.h>
#include <linux/perf_event.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>

/* Kernel ABI that the distribution's header may lack. */
#define ATTACH_TYPE_MULTI 48   /* BPF_TRACE_UPROBE_MULTI, 89ae89f53d20 */
#define ATTACH_TYPE_SESSION 57 /* BPF_TRACE_UPROBE_SESSION, d920179b3d4c */
#define MULTI_RETURN 1u	       /* BPF_F_UPROBE_MULTI_RETURN */

#define PMU_DIRECTORY "/sys/bus/event_source/devices/uprobe/"

/* union bpf_attr for BPF_LINK_CREATE of uprobe_multi kind. */
struct multi_attr {
	uint32_t program_fd;
	uint32_t target_fd;
	uint32_t attach_type;
	uint32_t flags;
	uint64_t path;
	uint64_t offsets;
	uint64_t ref_ctr_offsets;
	uint64_t cookies;
	uint32_t count;
	uint32_t multi_flags;
	uint32_t pid;
	uint32_t reserved;
};

int mon_link_multi(int program_fd, enum mon_link_kind kind, const char *path,
		   const uint64_t *offsets, const uint64_t *cookies, uint32_t count, pid_t pid)
{
	struct multi_attr attr = {
		.program_fd = (uint32_t)program_fd,
		.attach_type = kind == MON_LINK_SESSION ? ATTACH_TYPE_SESSION : ATTACH_TYPE_MULTI,
		.path = (uintptr_t)path,
		.offsets = (uintptr_t)offsets,
		.cookies = (uintptr_t)cookies,
		.count = count,
		.multi_flags = kind == MON_LINK_MULTI_RETURN ? MULTI_RETURN : 0,
		.pid = pid > 0 ? (uint32_t)pid : 0,
	};
	long fd = syscall(SYS_bpf, BPF_LINK_CREATE, &attr, sizeof(attr));

	return fd < 0 ? -errno : (int)fd;
}

/* One number out of a file of sysfs, after @prefix. */
static int read_number(const char *path, const char *prefix, uint32_t *number_out)
{
	MON_FCLOSE FILE *file = fopen(path, "re");
	char line[64];
	size_t skip = strlen(prefix);

	if (!file)
		return -errno;
	if (!fgets(line, sizeof(line), file) || strncmp(line, prefix, skip) ||
	    sscanf(line + skip, "%u", number_out) != 1)
		return -EINVAL;
	return 0;
}

int mon_link_perf(int program_fd, bool at_return, const char *path, uint64_t offset,
		  uint64_t cookie, pid_t pid)
{
	struct perf_event_attr attr = {.size = sizeof(attr)};
	LIBBPF_OPTS(bpf_link_create_opts, options, .perf_event.bpf_cookie = cookie);
	uint32_t type, bit;
	MON_CLOSE int event = -1;
	int result;

	result = read_number(PMU_DIRECTORY "type", "", &type);
	if (!result)
		result = read_number(PMU_DIRECTORY "format/retprobe", "config:", &bit);
	if (result)
		return result;
	if (bit > 63)
		return -EINVAL;
	attr.type = type;
	attr.config = at_return ? 1ull << bit : 0;
	attr.config1 = (uintptr_t)path; /* uprobe_path */
	attr.config2 = offset;		/* probe_offset */
	event = (int)syscall(SYS_perf_event_open, &attr, pid > 0 ? pid : -1, pid > 0 ? -1 : 0, -1,
			     PERF_FLAG_FD_CLOEXEC);
	if (event < 0)
		return -errno;
	/* The link keeps the event. */
	return bpf_link_create(program_fd, event, BPF_PERF_EVENT, &options);
}

int mon_link_tracepoint(int program_fd)
{
	return bpf_link_create(program_fd, 0, BPF_TRACE_RAW_TP, NULL);
}

int mon_link_iterator(int program_fd, pid_t pid)
{
	union bpf_iter_link_info which = {.task = {.pid = (uint32_t)pid}};
	LIBBPF_OPTS(bpf_link_create_opts, options, .iter_info = &which,
		    .iter_info_len = sizeof(which));

	return bpf_link_create(program_fd, 0, BPF_TRACE_ITER, pid ? &options : NULL);
}
