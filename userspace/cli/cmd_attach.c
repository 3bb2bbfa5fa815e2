// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * `monbpf attach`: options become struct mon_config, the run's ticks become a view on stderr, and
 * its end the head of the report on stdout. Main thread; signals only write to the run's eventfd.
 */
#include "cli/cli.h"

#include "base/cleanup.h"
#include "base/log.h"
#include "base/text.h"
#include "bpf/policy.h"
#include "cli/attach_options.h"
#include "cli/view.h"
#include "monitor/monitor.h"
#include "report/report.h"

#include <signal.h>
#include <string.h>
#include <sys/wait.h>

#define GLOBS_MAX 1024
#define READER_TIMEOUT_DEFAULT_NS (60 * MON_NS_PER_S)

static struct mon_monitor *running; /* for the signal handler */

/*
 * A limit on the size of files shall fail a write, not end us. Not ignored: that would pass on to a
 * COMMAND, a handler does not.
 */
static void on_file_limit(int number)
{
	(void)number;
}

/* Ends the run; the second one in a hurry; the third one whatever it is doing. */
static void on_signal(int number)
{
	static volatile sig_atomic_t signals;

	if (++signals >= 2)
		(void)signal(number, SIG_DFL);
	if (running)
		mon_monitor_stop(running);
}

static int failed(const struct mon_error *error)
{
	(void)fprintf(stderr, "monbpf attach: %s\n", error->text);
	return error->exit_code ? (int)error->exit_code : MON_EXIT_RUNTIME;
}

/* With -b: what was looked at for hazards is what runs now. */
static void say_unseen(const struct mon_description *run)
{
	char unread[64] = "";

	if (run->unread)
		(void)snprintf(unread, sizeof(unread), ", and %u that this user may not look at",
			       run->unread);
	mon_log(MON_LOG_INFO,
		"processes that start later are watched unseen%s: a return probe could end one "
		"whose stacks move or switch, or that has a seccomp filter",
		unread);
}

/* Returns the number of the run. */
static uint32_t say_start(const struct mon_monitor *monitor, const struct mon_config *config)
{
	struct mon_description run;
	char budget[32], size[32], cpu[64] = "";

	mon_monitor_describe(monitor, &run);
	if (run.hazard && !config->force_returns)
		mon_log(MON_LOG_WARNING,
			"no return probes, so no durations: %s. A return probe could end the "
			"target; "
			"--force-returns takes the risk",
			run.hazard);
	else if (run.hazard)
		mon_log(MON_LOG_WARNING, "return probes are forced though %s", run.hazard);
	mon_log(MON_LOG_INFO, "watching %u function%s of %s, %s mode -> %s", run.function_count,
		run.function_count == 1 ? "" : "s", run.title, mon_mode_name(run.mode),
		MON_ESCAPED(run.output));
	if (config->binary && run.returns)
		say_unseen(&run);
	if (config->counts_only && run.returns)
		mon_log(MON_LOG_INFO,
			"calls are counted exactly, times are estimated from 1 call in %d and "
			"those that are kept (--stats counts)",
			MON_FOLLOW_N);
	else if (config->counts_only && (config->keep_none || run.mode != MON_MODE_SESSION))
		mon_log(MON_LOG_INFO, "entries only, no durations (--stats counts%s)",
			config->keep_none ? " and -c"
					  : "; with session mode they are known of some calls");
	if (run.max_overhead > 0)
		(void)snprintf(cpu, sizeof(cpu), "%.3g %% of %s CPU, ", 100 * run.max_overhead,
			       config->binary ? "one" : "the target's");
	else if (run.adopted)
		(void)snprintf(cpu, sizeof(cpu), "none on the target's CPU (taken over), ");
	else
		(void)snprintf(cpu, sizeof(cpu), "none on the target's CPU%s, ",
			       config->rule_count ? " (--sample fixes a rate)" : "");
	mon_log(MON_LOG_INFO, "limits: %s%s memory, %s database. Ctrl-C ends.", cpu,
		mon_format_bytes(budget, sizeof(budget), run.budget_bytes),
		mon_format_bytes(size, sizeof(size), run.size_max_bytes));
	if (run.adopted)
		mon_log(MON_LOG_INFO,
			"goes on with run %llu, begun by an earlier monitor: it watches what that "
			"one watched, whatever processes and globs are named now",
			(unsigned long long)run.run_id);
	else if (run.earlier_runs)
		mon_log(MON_LOG_INFO, "run %llu in %s, %llu earlier kept",
			(unsigned long long)run.run_id, MON_ESCAPED(run.output),
			(unsigned long long)run.earlier_runs);
	return (uint32_t)run.run_id;
}

/* Its exit status is ours, so its end is waited for, unwatched by now. -1: there is no command. */
static int wait_for_command(void)
{
	int status = mon_monitor_wait_command(running, false);

	if (status != -1)
		return status;
	(void)fflush(stdout);
	if (mon_monitor_command_pid(running))
		mon_log(MON_LOG_INFO,
			"the command (pid %d) goes on unwatched; its end is waited for",
			(int)mon_monitor_command_pid(running));
	return mon_monitor_wait_command(running, true);
}

static void say_foreign(const struct mon_outcome_of_run *outcome)
{
	char cost[32];

	if (outcome->foreign_cost_ns)
		mon_log(MON_LOG_INFO,
			"%llu calls of processes that are not watched (foreign); their traps cost "
			"those about %s",
			(unsigned long long)outcome->foreign_hits,
			mon_format_ns(cost, sizeof(cost), outcome->foreign_cost_ns));
	else
		mon_log(MON_LOG_INFO, "%llu calls of processes that are not watched (foreign)",
			(unsigned long long)outcome->foreign_hits);
}

static int run(const struct mon_config *config, bool strict)
{
	const struct sigaction file_limit = {.sa_handler = on_file_limit, .sa_flags = SA_RESTART};
	struct sigaction action = {.sa_handler = on_signal}, hangup = {0};
	struct mon_report_options report = {.path = config->output, .head_only = true};
	struct mon_outcome_of_run outcome = {0};
	struct mon_error error = {0};
	struct mon_live *live;
	int status, result;

	(void)sigaction(SIGXFSZ, &file_limit, NULL);
	result = mon_monitor_new(config, &running, &error);
	if (result)
		return failed(&error);
	(void)sigemptyset(&action.sa_mask);
	(void)sigaction(SIGINT, &action, NULL);
	(void)sigaction(SIGTERM, &action, NULL);
	/* nohup(1) starts us with SIGHUP ignored, and means it. */
	if (sigaction(SIGHUP, NULL, &hangup) == 0 && hangup.sa_handler != SIG_IGN)
		(void)sigaction(SIGHUP, &action, NULL);
	(void)signal(SIGPIPE, SIG_IGN);
	report.run = say_start(running, config);
	/* Lines of calls and a screen that is drawn over do not go together on one terminal. */
	live = mon_live_new(isatty(STDERR_FILENO) && !(config->print && isatty(STDOUT_FILENO)));
	result = mon_monitor_run(running, mon_live_show, live, &outcome, &error);
	mon_live_free(live);
	(void)signal(SIGINT, SIG_DFL);
	(void)signal(SIGTERM, SIG_DFL);
	if (hangup.sa_handler != SIG_IGN)
		(void)signal(SIGHUP, SIG_DFL);
	if (outcome.foreign_hits)
		say_foreign(&outcome);
	if (outcome.missed)
		mon_log(MON_LOG_WARNING,
			"the kernel missed %llu hits, of functions it does not tell",
			(unsigned long long)outcome.missed);
	if (outcome.sum.unbalanced)
		mon_log(MON_LOG_WARNING,
			"the books do not balance: %llu calls, %llu accounted for, in %u functions",
			(unsigned long long)outcome.sum.calls,
			(unsigned long long)outcome.sum.accounted, outcome.sum.unbalanced);
	if (outcome.printed.not_printed)
		mon_log(MON_LOG_WARNING, "%llu lines were not printed (stdout %s); they are in %s",
			(unsigned long long)outcome.printed.not_printed,
			outcome.printed.closed ? "was closed" : "is slow",
			MON_ESCAPED(config->output));
	if (!result) {
		mon_log(MON_LOG_INFO, "ended: %s", outcome.reason);
		result = mon_report_print(&report, config->print ? stderr : stdout, &error);
	}
	status = wait_for_command();
	mon_monitor_free(running);
	running = NULL;
	if (result)
		return failed(&error);
	if (status != -1)
		return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
	return strict && outcome.sum.lost ? MON_EXIT_LOSS : MON_EXIT_OK;
}

int mon_cli_attach(int argc, char **argv)
{
	static struct mon_attach_options options;
	int result = mon_attach_options_parse(argc, argv, &options);

	if (result)
		return result;
	if (options.help) {
		(void)fputs(mon_attach_help, stdout);
		return fflush(stdout) ? MON_EXIT_RUNTIME : MON_EXIT_OK;
	}
	if (options.census)
		return mon_cli_census(&options.config);
	return run(&options.config, options.strict);
}
