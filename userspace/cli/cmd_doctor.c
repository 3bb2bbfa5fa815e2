// SPDX-License-Identifier: GPL-2.0-or-later
/* `monbpf doctor`: what works here, found by making a link of each kind. Main thread. */
#include "cli/cli.h"

#include "base/error.h"
#include "capture/capture.h"

#include <stdio.h>
#include <string.h>

static void say(const char *what, int result, const char *why)
{
	(void)printf("%-12s %s%s%s\n", what, result ? "no" : "yes", result ? ": " : "",
		     result ? (why ? why : strerror(-result)) : "");
}

int mon_cli_doctor(int argc, char **argv)
{
	struct mon_features features;
	struct mon_error error = {0};
	enum mon_mode mode;

	if (argc > 1) {
		bool asked = strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0;

		(void)fputs(
			"usage: monbpf doctor\n\n"
			"Prints what this kernel and this user can do. Attaches to itself only.\n",
			asked ? stdout : stderr);
		return asked ? MON_EXIT_OK : MON_EXIT_USAGE;
	}
	if (mon_features_detect(&features, &error)) {
		(void)fprintf(stderr, "monbpf doctor: %s\n", error.text);
		return error.exit_code ? (int)error.exit_code : MON_EXIT_RUNTIME;
	}
	say("ring buffer", features.ring, features.ring_why);
	say("kernel BTF", features.btf, features.btf_why);
	say("session", features.session, features.session_why);
	say("multi", features.multi, features.multi_why);
	say("perf", features.perf, features.perf_why);
	if (mon_features_choose(&features, MON_MODE_AUTO, &mode, &error)) {
		(void)fprintf(stderr, "monbpf doctor: %s\n", error.text);
		return error.exit_code ? (int)error.exit_code : MON_EXIT_KERNEL;
	}
	(void)printf("attach would use %s mode\n", mon_mode_name(mode));
	return fflush(stdout) ? MON_EXIT_UNAVAILABLE : MON_EXIT_OK;
}
