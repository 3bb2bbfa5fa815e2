// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * `monbpf attach`: options become struct mon_config, the run's ticks become a view on stderr, and
 * its end the head of the report on stdout. Main thread; signals only write to the run's eventfd.
 */
#include "cli/cli.h"

#include "base/budget.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "base/text.h"
#include "capture/pins.h"
#include "cli/view.h"
#include "monitor/monitor.h"
#include "pipeline/spool.h"
#include "report/report.h"

#include <getopt.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>

#define GLOBS_MAX 1024
#define READER_TIMEOUT_DEFAULT_NS (60 * MON_NS_PER_S)

static const char help[] =
	"usage: monbpf attach -p PID|NAME... [OPTION]... [GLOB]...\n"
	"       monbpf attach -b PATH [OPTION]... [GLOB]...\n"
	"       monbpf attach [OPTION]... [GLOB]... -- COMMAND [ARG]...\n"
	"\n"
	"Watches functions of a running process and keeps what they did in an SQLite file, until\n"
	"Ctrl-C, the end of the target or --duration. GLOB is a function (parse_*), or LIB:GLOB of "
	"a\n"
	"library that is mapped (libc:mallo*). Without one: all of the executable, up to 1,000.\n"
	"\n"
	"  -p, --pid PID|NAME       a process, by number or unique name; repeatable, at most 64\n"
	"  -b, --binary PATH        every process that maps this file, now or later\n"
	"  -- COMMAND ARG...        started held, armed, let go; its exit status passes through\n"
	"  -s, --symbol GLOB        the same as GLOB\n"
	"  -x, --exclude GLOB       not these; repeatable\n"
	"  -o, --output FILE        the database (./monbpf.db); runs append to it\n"
	"  -d, --duration TIME      500ms, 30s, 5m, 1h\n"
	"  -c                       exact statistics only, no record of any call\n"
	"      --stats exact|counts counts: entries only, no durations, half the cost\n"
	"      --sample RULE        auto (default), 1/N, 25%, GLOB=1/N; repeatable, last match "
	"wins\n"
	"      --args N             keep the first N (0..6) integer arguments\n"
	"      --string K           argument K (1..6) is a string: keep its first bytes\n"
	"      --buffer K:L         argument K is a buffer, argument L its length; 3 of both at "
	"most\n"
	"      --capture-bytes N    so many bytes of each (64); the true length is kept too\n"
	"      --mode MODE          session, multi or perf; auto takes the first that works\n"
	"      --placement WHERE    auto: on a cheap instruction, if it is safe; symbol: on the "
	"first\n"
	"      --force-returns      return probes even where they could end the target\n"
	"      --memory-budget SIZE 64M by default, at least 24M\n"
	"      --ring-size SIZE     a power of two from 4K to 1G\n"
	"      --max-size SIZE      of the database, 4G by default, at least 1M\n"
	"      --spool-dir DIR      where calls wait while the database is out (FILE.spool)\n"
	"      --spool-max SIZE     at most so much of it, 1G by default, at least 4M\n"
	"      --max-overhead 0     no limit on the cost (the only value so far)\n"
	"      --breaker-failures N open after N failures in a row, 1..1000 (5)\n"
	"      --breaker-timeout T  probe the database after T (60s)\n"
	"      --durability LEVEL   normal, or full: nothing lost at power loss\n"
	"      --persist            pinned: if the monitor is killed, the same command goes on "
	"with the\n"
	"                           run, nothing missing that the ring had room for\n"
	"      --reader-timeout T   with --persist, keep no call after T without a monitor (1m); "
	"0: never\n"
	"      --pins DIR           where the pins are (/run/monbpf)\n"
	"      --strict             exit 7 when a call was lost\n"
	"  -v, --verbose            print the memory plan\n"
	"  -h, --help               this text\n"
	"\n"
	"exit: 0 ok, 1 runtime, 2 usage, 3 nothing matched, 4 permission, 5 target or output,\n"
	"      6 kernel, 7 loss with --strict\n";

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

static int usage(const char *what, const char *value)
{
	(void)fprintf(stderr, "monbpf attach: %s%s%s; try monbpf attach --help\n", what,
		      value ? " " : "", value ? MON_ESCAPED(value) : "");
	return MON_EXIT_USAGE;
}

static int failed(const struct mon_error *error)
{
	(void)fprintf(stderr, "monbpf attach: %s\n", error->text);
	return error->exit_code ? (int)error->exit_code : MON_EXIT_RUNTIME;
}

/* Returns the number of the run. */
static uint32_t say_start(const struct mon_monitor *monitor, const struct mon_config *config)
{
	struct mon_description run;
	char budget[32], size[32];

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
	if (config->counts_only && run.returns)
		mon_log(MON_LOG_INFO,
			"calls are counted exactly, times are estimated from the sampled calls "
			"(--stats counts)");
	else if (config->counts_only && (config->keep_none || run.mode != MON_MODE_SESSION))
		mon_log(MON_LOG_INFO, "entries only, no durations (--stats counts%s)",
			config->keep_none ? " and -c"
					  : "; with session mode they are known of sampled calls");
	mon_log(MON_LOG_INFO, "limits: %s memory, %s database. Ctrl-C ends.",
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
	live = mon_live_new(isatty(STDERR_FILENO));
	result = mon_monitor_run(running, mon_live_show, live, &outcome, &error);
	mon_live_free(live);
	(void)signal(SIGINT, SIG_DFL);
	(void)signal(SIGTERM, SIG_DFL);
	if (hangup.sa_handler != SIG_IGN)
		(void)signal(SIGHUP, SIG_DFL);
	if (outcome.foreign_hits)
		mon_log(MON_LOG_INFO, "%llu calls of processes that are not watched (foreign)",
			(unsigned long long)outcome.foreign_hits);
	if (outcome.missed)
		mon_log(MON_LOG_WARNING,
			"the kernel missed %llu hits, of functions it does not tell",
			(unsigned long long)outcome.missed);
	if (outcome.sum.unbalanced)
		mon_log(MON_LOG_WARNING,
			"the books do not balance: %llu calls, %llu accounted for, in %u functions",
			(unsigned long long)outcome.sum.calls,
			(unsigned long long)outcome.sum.accounted, outcome.sum.unbalanced);
	if (!result) {
		mon_log(MON_LOG_INFO, "ended: %s", outcome.reason);
		result = mon_report_print(&report, stdout, &error);
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

static void join_words(int argc, char **argv, char *text, size_t size)
{
	size_t used = (size_t)snprintf(text, size, "monbpf");

	for (int i = 0; i < argc && used < size; i++)
		used += (size_t)snprintf(text + used, size - used, " %s", MON_ESCAPED(argv[i]));
}

/* K of --string, K:L of --buffer. */
static int add_text(struct mon_config *config, const char *text, bool buffer)
{
	struct mon_text_choice choice = {0};
	bool valid = text[0] >= '1' && text[0] <= '6';

	if (buffer)
		valid = valid && text[1] == ':' && text[2] >= '1' && text[2] <= '6' && !text[3] &&
			text[2] != text[0];
	else
		valid = valid && !text[1];
	if (!valid)
		return usage(buffer ? "--buffer wants K:L, two arguments from 1 to 6, not"
				    : "--string wants an argument from 1 to 6, not",
			     text);
	choice.argument = (uint8_t)(text[0] - '0');
	if (buffer)
		choice.length_argument = (uint8_t)(text[2] - '0');
	for (uint32_t i = 0; i < config->text_count; i++)
		if (config->texts[i].argument == choice.argument)
			return usage("one argument is captured once; twice was asked for:", text);
	if (config->text_count == MON_TEXTS_MAX)
		return usage("at most 3 of --string and --buffer together", NULL);
	config->texts[config->text_count++] = choice;
	return 0;
}

static int check_texts(struct mon_config *config)
{
	uint32_t most = config->text_count ? MON_CAPTURE_BYTES_MAX(config->text_count) : 0;
	char sentence[160];

	if (!config->text_count)
		return config->capture_bytes
			       ? usage("--capture-bytes wants --string or --buffer", NULL)
			       : 0;
	if (config->keep_none)
		return usage("--string and --buffer want records, which -c does not keep", NULL);
	if (!config->capture_bytes)
		config->capture_bytes = MON_CAPTURE_BYTES_DEFAULT;
	if (config->capture_bytes <= most)
		return 0;
	(void)snprintf(sentence, sizeof(sentence),
		       "%u captured arguments leave room for --capture-bytes %u at most",
		       config->text_count, most);
	return usage(sentence, NULL);
}

int mon_cli_attach(int argc, char **argv)
{
	enum {
		STATS = 256,
		SAMPLE,
		ARGS,
		STRING,
		BUFFER,
		CAPTURE,
		MODE,
		PLACEMENT,
		FORCE,
		BUDGET,
		RING,
		SIZE,
		SPOOL,
		SPOOL_MAX,
		OVERHEAD,
		FAILURES,
		TIMEOUT,
		DURABILITY,
		PERSIST,
		READER_TIMEOUT,
		PINS,
		STRICT
	};
	static const struct option long_options[] = {
		{"pid", required_argument, NULL, 'p'},
		{"binary", required_argument, NULL, 'b'},
		{"symbol", required_argument, NULL, 's'},
		{"exclude", required_argument, NULL, 'x'},
		{"output", required_argument, NULL, 'o'},
		{"duration", required_argument, NULL, 'd'},
		{"stats", required_argument, NULL, STATS},
		{"sample", required_argument, NULL, SAMPLE},
		{"args", required_argument, NULL, ARGS},
		{"string", required_argument, NULL, STRING},
		{"buffer", required_argument, NULL, BUFFER},
		{"capture-bytes", required_argument, NULL, CAPTURE},
		{"mode", required_argument, NULL, MODE},
		{"placement", required_argument, NULL, PLACEMENT},
		{"force-returns", no_argument, NULL, FORCE},
		{"memory-budget", required_argument, NULL, BUDGET},
		{"ring-size", required_argument, NULL, RING},
		{"max-size", required_argument, NULL, SIZE},
		{"spool-dir", required_argument, NULL, SPOOL},
		{"spool-max", required_argument, NULL, SPOOL_MAX},
		{"max-overhead", required_argument, NULL, OVERHEAD},
		{"breaker-failures", required_argument, NULL, FAILURES},
		{"breaker-timeout", required_argument, NULL, TIMEOUT},
		{"durability", required_argument, NULL, DURABILITY},
		{"persist", no_argument, NULL, PERSIST},
		{"reader-timeout", required_argument, NULL, READER_TIMEOUT},
		{"pins", required_argument, NULL, PINS},
		{"strict", no_argument, NULL, STRICT},
		{"verbose", no_argument, NULL, 'v'},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	static const char *globs[GLOBS_MAX], *excludes[GLOBS_MAX];
	static char command_line[8192];
	static struct mon_config config;
	bool strict = false, rounded;
	uint64_t number;
	int option, result, command_at = 0;

	config = (struct mon_config){.output = "./monbpf.db",
				     .globs = globs,
				     .excludes = excludes,
				     .command_line = command_line,
				     .pins_path = MON_PINS_DIRECTORY,
				     .reader_timeout_ns = READER_TIMEOUT_DEFAULT_NS,
				     .owner_uid = mon_cli_owner_uid(),
				     .owner_gid = mon_cli_owner_gid()};
	join_words(argc, argv, command_line, sizeof(command_line));
	for (int i = 1; i < argc && !command_at; i++)
		if (strcmp(argv[i], "--") == 0)
			command_at = i + 1;
	if (command_at == argc)
		return usage("a command is missing after", "--");
	if (command_at) /* its options are its own */
		argc = command_at - 1;
	optind = 0;
	while ((option = getopt_long(argc, argv, ":p:b:s:x:o:d:cvh", long_options, NULL)) != -1) {
		switch (option) {
		case 'p':
			if (config.target_count == MON_TARGETS_MAX)
				return usage("at most 64 processes can be watched at once", NULL);
			config.targets[config.target_count++] = optarg;
			break;
		case 'b':
			config.binary = optarg;
			break;
		case 's':
			if (config.glob_count == GLOBS_MAX)
				return usage("at most 1024 globs", NULL);
			globs[config.glob_count++] = optarg;
			break;
		case 'x':
			if (config.exclude_count == GLOBS_MAX)
				return usage("at most 1024 excludes", NULL);
			excludes[config.exclude_count++] = optarg;
			break;
		case 'o':
			config.output = optarg;
			break;
		case 'd':
			if (mon_parse_duration(optarg, &config.duration_ns) || !config.duration_ns)
				return usage("--duration wants a time like 500ms, 30s or 5m, not",
					     optarg);
			break;
		case 'c':
			config.keep_none = true;
			break;
		case STATS:
			if (strcmp(optarg, "exact") != 0 && strcmp(optarg, "counts") != 0)
				return usage("--stats is exact or counts, not", optarg);
			config.counts_only = strcmp(optarg, "counts") == 0;
			break;
		case SAMPLE:
			if (config.rule_count == MON_SAMPLE_RULES_MAX)
				return usage("at most 64 --sample rules", NULL);
			if (mon_sample_rule_parse(optarg, &config.rules[config.rule_count],
						  &rounded))
				return usage("--sample wants auto, 1/N, 25% or GLOB=1/N, not",
					     optarg);
			if (rounded)
				mon_log(MON_LOG_INFO, "--sample %s is rounded to 1/%u",
					MON_ESCAPED(optarg),
					config.rules[config.rule_count].one_in);
			config.rule_count++;
			break;
		case ARGS:
			if (mon_parse_number(optarg, 0, 6, &number))
				return usage("--args wants a number from 0 to 6, not", optarg);
			config.arg_count = (uint32_t)number;
			break;
		case STRING:
		case BUFFER:
			result = add_text(&config, optarg, option == BUFFER);
			if (result)
				return result;
			break;
		case CAPTURE:
			if (mon_parse_number(optarg, 1, MON_CAPTURE_BYTES_MAX(1), &number))
				return usage("--capture-bytes wants a number from 1 to 1910, not",
					     optarg);
			config.capture_bytes = (uint32_t)number;
			break;
		case MODE:
			for (config.mode = 0; config.mode < MON_MODES; config.mode++)
				if (strcmp(optarg, mon_mode_name(config.mode)) == 0)
					break;
			if (config.mode == MON_MODES)
				return usage("--mode is auto, session, multi or perf, not", optarg);
			break;
		case PLACEMENT:
			if (mon_placement_parse(optarg, &config.placement))
				return usage("--placement is auto or symbol, not", optarg);
			break;
		case FORCE:
			config.force_returns = true;
			break;
		case BUDGET:
			if (mon_parse_size(optarg, &config.budget_bytes) ||
			    config.budget_bytes < MON_BUDGET_MIN_BYTES ||
			    config.budget_bytes > MON_BUDGET_MAX_BYTES)
				return usage("--memory-budget wants a size from 24M to 64G, not",
					     optarg);
			break;
		case RING:
			if (mon_parse_size(optarg, &config.ring_bytes) ||
			    config.ring_bytes < MON_RING_BYTES_MIN ||
			    config.ring_bytes > MON_RING_BYTES_MAX ||
			    (config.ring_bytes & (config.ring_bytes - 1)))
				return usage("--ring-size wants a power of two from 4K to 1G, not",
					     optarg);
			break;
		case SIZE:
			if (mon_parse_size(optarg, &config.size_max_bytes) ||
			    config.size_max_bytes < MON_STORE_SIZE_MIN_BYTES)
				return usage("--max-size wants a size like 100M or 4G, not",
					     optarg);
			break;
		case SPOOL:
			if (!optarg[0])
				return usage("--spool-dir wants a directory", NULL);
			config.spool_path = optarg;
			break;
		case SPOOL_MAX:
			if (mon_parse_size(optarg, &config.spool_max_bytes) ||
			    config.spool_max_bytes < MON_SPOOL_MAX_BYTES_MIN)
				return usage("--spool-max wants a size like 64M or 1G, at least "
					     "4M, not",
					     optarg);
			break;
		case OVERHEAD:
			if (strcmp(optarg, "0") != 0 && strcmp(optarg, "0%") != 0)
				return usage("--max-overhead knows only 0 (no limit) so far, not",
					     optarg);
			break;
		case FAILURES:
			if (mon_parse_number(optarg, 1, MON_BREAKER_FAILURES_MAX, &number))
				return usage("--breaker-failures wants 1 to 1000, not", optarg);
			config.breaker_failures = (uint32_t)number;
			break;
		case TIMEOUT:
			if (mon_parse_duration(optarg, &config.breaker_timeout_ns) ||
			    !config.breaker_timeout_ns)
				return usage("--breaker-timeout wants a time like 60s, not",
					     optarg);
			break;
		case DURABILITY:
			if (strcmp(optarg, "normal") != 0 && strcmp(optarg, "full") != 0)
				return usage("--durability is normal or full, not", optarg);
			config.durability = strcmp(optarg, "full") == 0 ? MON_DURABILITY_FULL
									: MON_DURABILITY_NORMAL;
			break;
		case PERSIST:
			config.persist = true;
			break;
		case READER_TIMEOUT:
			if (strcmp(optarg, "0") == 0)
				config.reader_timeout_ns = 0;
			else if (mon_parse_duration(optarg, &config.reader_timeout_ns) ||
				 config.reader_timeout_ns < MON_NS_PER_S ||
				 config.reader_timeout_ns > MON_READER_TIMEOUT_MAX_NS)
				return usage(
					"--reader-timeout wants 0 or a time from 1s to 24h, not",
					optarg);
			break;
		case PINS:
			if (optarg[0] != '/')
				return usage("--pins wants an absolute path, not", optarg);
			config.pins_path = optarg;
			break;
		case STRICT:
			strict = true;
			break;
		case 'v':
			mon_log_set_verbose(true);
			break;
		case 'h':
			(void)fputs(help, stdout);
			return fflush(stdout) ? MON_EXIT_RUNTIME : MON_EXIT_OK;
		case ':':
			return usage("a value is missing after", argv[optind - 1]);
		default:
			return usage("there is no option", argv[optind - 1]);
		}
	}
	if (command_at)
		config.command = argv + command_at;
	for (; optind < argc; optind++) {
		if (config.glob_count == GLOBS_MAX)
			return usage("at most 1024 globs", NULL);
		globs[config.glob_count++] = argv[optind];
	}
	if (!config.target_count && !config.binary && !config.command && !config.persist)
		return usage("name a process with -p, a file with -b, or a command after --", NULL);
	if ((config.target_count > 0) + (config.binary != NULL) + (config.command != NULL) > 1)
		return usage("-p, -b and a command exclude each other", NULL);
	if (!config.output[0])
		return usage("-o wants a file name", NULL);
	result = check_texts(&config);
	if (result)
		return result;
	return run(&config, strict);
}
