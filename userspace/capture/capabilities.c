// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What this process may do, read from /proc: the kernel's EPERM does not say which capability it
 * missed, and a user has to know.
 */
#include "capture/object.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/capability.h>
#include <stdio.h>

/* A newer header's; ours may be older than the kernel. */
#ifndef CAP_PERFMON
#define CAP_PERFMON 38
#endif
#ifndef CAP_BPF
#define CAP_BPF 39
#endif

/* All, when they cannot be read: then the kernel's own refusal decides. */
static uint64_t effective(void)
{
	MON_FCLOSE FILE *status = fopen("/proc/self/status", "re");
	uint64_t mask = UINT64_MAX;
	char line[256];

	while (status && fgets(line, sizeof(line), status))
		if (sscanf(line, "CapEff: %" SCNx64, &mask) == 1)
			break;
	return mask;
}

int mon_object_check_capabilities(bool perf, struct mon_error *error)
{
	uint64_t mask = effective();
	bool admin = mask >> CAP_SYS_ADMIN & 1;
	bool bpf = mask >> CAP_BPF & 1, perfmon = mask >> CAP_PERFMON & 1;

	if (admin)
		return 0;
	if (perf)
		return mon_error_set(error, MON_EXIT_PERMISSION, EPERM,
				     "perf mode needs the capability CAP_SYS_ADMIN: run it with "
				     "sudo");
	if (bpf && perfmon)
		return 0;
	return mon_error_set(error, MON_EXIT_PERMISSION, EPERM,
			     "missing the capability %s%s%s: run it with sudo",
			     bpf ? "" : "CAP_BPF", bpf || perfmon ? "" : " and ",
			     perfmon ? "" : "CAP_PERFMON");
}
