// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/attach_options.h"

#include "base/budget.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "base/text.h"
#include "capture/capture.h"
#include "capture/pins.h"
#include "cli/cli.h"
#include "cli/suggestion.h"
#include "control/governor.h"
#include "pipeline/breaker.h"
#include "pipeline/ring.h"
#include "pipeline/spool.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GLOBS_MAX 1024
#define OVERHEAD_PERCENT_MIN 0.1
#define OVERHEAD_PERCENT_MAX 1000
#define OVERHEAD_UNSET (-1)
#define READER_TIMEOUT_DEFAULT_NS (60 * MON_NS_PER_S)

static const char *globs[GLOBS_MAX], *excludes[GLOBS_MAX];

static int usage(const char *what, const char *value)
{
	(void)fprintf(stderr, "monbpf attach: %s%s%s; try monbpf attach --help\n", what,
		      value ? " " : "", value ? MON_ESCAPED(value) : "");
	return MON_EXIT_USAGE;
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

static int check_stacks(const struct mon_config *config)
{
	if (!config->stack_frames)
		return 0;
	if (config->keep_none)
		return usage("--stack wants records, which -c does not keep", NULL);
	if (!MON_RECORD_FITS(config->text_count, config->capture_bytes, config->stack_frames))
		return usage("stacks and captured arguments do not fit in one record of 2,048 "
			     "bytes: lower --stack-depth or --capture-bytes",
			     NULL);
	return 0;
}

static int set_pid(struct mon_attach_options *options, const char *value)
{
	struct mon_config *config = &options->config;

	if (config->target_count == MON_TARGETS_MAX)
		return usage("at most 64 processes can be watched at once", NULL);
	config->targets[config->target_count++] = value;
	return 0;
}

static int set_binary(struct mon_attach_options *options, const char *value)
{
	options->config.binary = value;
	return 0;
}

static int set_symbol(struct mon_attach_options *options, const char *value)
{
	if (options->config.glob_count == GLOBS_MAX)
		return usage("at most 1024 globs", NULL);
	globs[options->config.glob_count++] = value;
	return 0;
}

static int set_exclude(struct mon_attach_options *options, const char *value)
{
	if (options->config.exclude_count == GLOBS_MAX)
		return usage("at most 1024 excludes", NULL);
	excludes[options->config.exclude_count++] = value;
	return 0;
}

static int set_output(struct mon_attach_options *options, const char *value)
{
	if (!value[0])
		return usage("-o wants a file name", NULL);
	options->config.output = value;
	return 0;
}

static int set_duration(struct mon_attach_options *options, const char *value)
{
	uint64_t *duration_ns = &options->config.duration_ns;

	if (mon_parse_duration(value, duration_ns) || !*duration_ns)
		return usage("--duration wants a time like 500ms, 30s or 5m, not", value);
	return 0;
}

static int set_keep_none(struct mon_attach_options *options, const char *value)
{
	(void)value;
	options->config.keep_none = true;
	return 0;
}

static int set_stats(struct mon_attach_options *options, const char *value)
{
	options->config.counts_only = strcmp(value, "counts") == 0;
	if (!options->config.counts_only && strcmp(value, "exact") != 0)
		return usage("--stats is exact or counts, not", value);
	return 0;
}

static int set_sample(struct mon_attach_options *options, const char *value)
{
	struct mon_config *config = &options->config;
	struct mon_sample_rule *rule = &config->rules[config->rule_count];
	bool rounded;

	if (config->rule_count == MON_SAMPLE_RULES_MAX)
		return usage("at most 64 --sample rules", NULL);
	if (mon_sample_rule_parse(value, rule, &rounded))
		return usage("--sample wants auto, 1/N, 25% or GLOB=1/N, not", value);
	if (rounded)
		mon_log(MON_LOG_INFO, "--sample %s is rounded to 1/%u", MON_ESCAPED(value),
			rule->one_in);
	config->rule_count++;
	return 0;
}

static int add_rule(int result, const char *option, const char *wants, const char *value)
{
	char sentence[160];

	if (!result)
		return 0;
	if (result == -ENOSPC)
		(void)snprintf(sentence, sizeof(sentence), "at most %d rules of %s", MON_RULES_MAX,
			       option);
	else
		(void)snprintf(sentence, sizeof(sentence), "%s wants %s, not", option, wants);
	return usage(sentence, result == -ENOSPC ? NULL : value);
}

static int set_keep_slow(struct mon_attach_options *options, const char *value)
{
	return add_rule(mon_rules_add_slow(&options->config.slow, value), "--keep-slow",
			"a time up to 24h like 5ms, or GLOB=5ms", value);
}

static int set_failed(struct mon_attach_options *options, const char *value)
{
	return add_rule(mon_rules_add_failed(&options->config.failed, value), "--failed",
			"GLOB=ret<0, ret==0, ret!=0 or ret64<0", value);
}

static int set_keep_failed(struct mon_attach_options *options, const char *value)
{
	(void)value;
	options->config.keep_failed = true;
	return 0;
}

static int set_max_records(struct mon_attach_options *options, const char *value)
{
	return add_rule(
		mon_rules_add_cap(&options->config.caps, value, &options->config.records_per_s),
		"--max-records-per-sec",
		"N (all functions together) or GLOB=N (each that matches), up to 1e9", value);
}

static int set_args(struct mon_attach_options *options, const char *value)
{
	uint64_t number;

	if (mon_parse_number(value, 0, 6, &number))
		return usage("--args wants a number from 0 to 6, not", value);
	options->config.arg_count = (uint32_t)number;
	return 0;
}

static int set_string(struct mon_attach_options *options, const char *value)
{
	return add_text(&options->config, value, false);
}

static int set_buffer(struct mon_attach_options *options, const char *value)
{
	return add_text(&options->config, value, true);
}

static int set_capture_bytes(struct mon_attach_options *options, const char *value)
{
	uint64_t number;

	if (mon_parse_number(value, 1, MON_CAPTURE_BYTES_MAX(1), &number))
		return usage("--capture-bytes wants a number from 1 to 1910, not", value);
	options->config.capture_bytes = (uint32_t)number;
	return 0;
}

static int set_stack(struct mon_attach_options *options, const char *value)
{
	(void)value;
	if (!options->config.stack_frames)
		options->config.stack_frames = MON_STACK_FRAMES_DEFAULT;
	return 0;
}

static int set_stack_depth(struct mon_attach_options *options, const char *value)
{
	uint64_t number;

	if (mon_parse_number(value, 1, MON_STACK_FRAMES_MAX, &number))
		return usage("--stack-depth wants a number from 1 to 127, not", value);
	options->config.stack_frames = (uint32_t)number;
	return 0;
}

static int set_mode(struct mon_attach_options *options, const char *value)
{
	enum mon_mode *mode = &options->config.mode;

	for (*mode = 0; *mode < MON_MODES; (*mode)++)
		if (strcmp(value, mon_mode_name(*mode)) == 0)
			return 0;
	return usage("--mode is auto, session, multi or perf, not", value);
}

static int set_placement(struct mon_attach_options *options, const char *value)
{
	if (mon_placement_parse(value, &options->config.placement))
		return usage("--placement is auto or symbol, not", value);
	return 0;
}

static int set_force_returns(struct mon_attach_options *options, const char *value)
{
	(void)value;
	options->config.force_returns = true;
	return 0;
}

static int set_memory_budget(struct mon_attach_options *options, const char *value)
{
	uint64_t *bytes = &options->config.budget_bytes;

	if (mon_parse_size(value, bytes) || *bytes < MON_BUDGET_MIN_BYTES ||
	    *bytes > MON_BUDGET_MAX_BYTES)
		return usage("--memory-budget wants a size from 24M to 64G, not", value);
	return 0;
}

static int set_ring_size(struct mon_attach_options *options, const char *value)
{
	uint64_t *bytes = &options->config.ring_bytes;

	if (mon_parse_size(value, bytes) || *bytes < MON_RING_BYTES_MIN ||
	    *bytes > MON_RING_BYTES_MAX || (*bytes & (*bytes - 1)))
		return usage("--ring-size wants a power of two from 4K to 1G, not", value);
	return 0;
}

static int set_rings(struct mon_attach_options *options, const char *value)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	uint64_t rings, max = cpus < 1 || cpus > MON_RINGS_MAX ? MON_RINGS_MAX : (uint64_t)cpus;

	if (mon_parse_number(value, 1, max, &rings))
		return usage("--rings wants a number from 1 to 16 and no more than there are CPUs, "
			     "not",
			     value);
	options->config.rings = (uint32_t)rings;
	return 0;
}

static int set_max_size(struct mon_attach_options *options, const char *value)
{
	uint64_t *bytes = &options->config.size_max_bytes;

	if (mon_parse_size(value, bytes) || *bytes < MON_STORE_SIZE_MIN_BYTES)
		return usage("--max-size wants a size like 100M or 4G, at least 1M, not", value);
	return 0;
}

static int set_spool_dir(struct mon_attach_options *options, const char *value)
{
	if (!value[0])
		return usage("--spool-dir wants a directory", NULL);
	options->config.spool_path = value;
	return 0;
}

static int set_spool_max(struct mon_attach_options *options, const char *value)
{
	uint64_t *bytes = &options->config.spool_max_bytes;

	if (mon_parse_size(value, bytes) || *bytes < MON_SPOOL_MAX_BYTES_MIN)
		return usage("--spool-max wants a size like 64M or 1G, at least 4M, not", value);
	return 0;
}

static int set_max_overhead(struct mon_attach_options *options, const char *value)
{
	char *end = NULL;
	double percent = value[0] >= '0' && value[0] <= '9' ? strtod(value, &end) : -1;

	if (end && *end == '%')
		end++;
	if (!end || *end ||
	    !(percent == 0 || (percent >= OVERHEAD_PERCENT_MIN && percent <= OVERHEAD_PERCENT_MAX)))
		return usage("--max-overhead wants 0 (no limit) or 0.1% to 1000%, not", value);
	options->config.max_overhead = percent / 100;
	return 0;
}

static int set_census(struct mon_attach_options *options, const char *value)
{
	(void)value;
	options->census = true;
	return 0;
}

static int set_breaker_failures(struct mon_attach_options *options, const char *value)
{
	uint64_t number;

	if (mon_parse_number(value, 1, MON_BREAKER_FAILURES_MAX, &number))
		return usage("--breaker-failures wants 1 to 1000, not", value);
	options->config.breaker_failures = (uint32_t)number;
	return 0;
}

static int set_breaker_timeout(struct mon_attach_options *options, const char *value)
{
	uint64_t *timeout_ns = &options->config.breaker_timeout_ns;

	if (mon_parse_duration(value, timeout_ns) || !*timeout_ns)
		return usage("--breaker-timeout wants a time like 60s, not", value);
	return 0;
}

static int set_durability(struct mon_attach_options *options, const char *value)
{
	bool full = strcmp(value, "full") == 0;

	if (!full && strcmp(value, "normal") != 0)
		return usage("--durability is normal or full, not", value);
	options->config.durability = full ? MON_DURABILITY_FULL : MON_DURABILITY_NORMAL;
	return 0;
}

static int set_print(struct mon_attach_options *options, const char *value)
{
	(void)value;
	options->config.print = true;
	return 0;
}

static int set_persist(struct mon_attach_options *options, const char *value)
{
	(void)value;
	options->config.persist = true;
	return 0;
}

static int set_reader_timeout(struct mon_attach_options *options, const char *value)
{
	uint64_t *timeout_ns = &options->config.reader_timeout_ns;

	if (strcmp(value, "0") == 0) {
		*timeout_ns = 0;
		return 0;
	}
	if (mon_parse_duration(value, timeout_ns) || *timeout_ns < MON_NS_PER_S ||
	    *timeout_ns > MON_READER_TIMEOUT_MAX_NS)
		return usage("--reader-timeout wants 0 or a time from 1s to 24h, not", value);
	return 0;
}

static int set_pins(struct mon_attach_options *options, const char *value)
{
	if (value[0] != '/')
		return usage("--pins wants an absolute path, not", value);
	options->config.pins_path = value;
	return 0;
}

static int set_strict(struct mon_attach_options *options, const char *value)
{
	(void)value;
	options->strict = true;
	return 0;
}

static int set_verbose(struct mon_attach_options *options, const char *value)
{
	(void)options;
	(void)value;
	mon_log_set_verbose(true);
	return 0;
}

static int set_help(struct mon_attach_options *options, const char *value)
{
	(void)value;
	options->help = true;
	return 0;
}

/* In the order of the help. */
static const struct row {
	const char *name; /* NULL: only the letter */
	char letter;	  /* 0: none */
	bool value;
	int (*set)(struct mon_attach_options *options, const char *value);
} rows[] = {
	{"pid", 'p', true, set_pid},
	{"binary", 'b', true, set_binary},
	{"symbol", 's', true, set_symbol},
	{"exclude", 'x', true, set_exclude},
	{"output", 'o', true, set_output},
	{"duration", 'd', true, set_duration},
	{NULL, 'c', false, set_keep_none},
	{"print", 0, false, set_print},
	{"stats", 0, true, set_stats},
	{"sample", 0, true, set_sample},
	{"keep-slow", 0, true, set_keep_slow},
	{"failed", 0, true, set_failed},
	{"keep-failed", 0, false, set_keep_failed},
	{"max-records-per-sec", 0, true, set_max_records},
	{"args", 0, true, set_args},
	{"string", 0, true, set_string},
	{"buffer", 0, true, set_buffer},
	{"capture-bytes", 0, true, set_capture_bytes},
	{"stack", 0, false, set_stack},
	{"stack-depth", 0, true, set_stack_depth},
	{"mode", 0, true, set_mode},
	{"placement", 0, true, set_placement},
	{"force-returns", 0, false, set_force_returns},
	{"memory-budget", 0, true, set_memory_budget},
	{"ring-size", 0, true, set_ring_size},
	{"rings", 0, true, set_rings},
	{"max-size", 0, true, set_max_size},
	{"spool-dir", 0, true, set_spool_dir},
	{"spool-max", 0, true, set_spool_max},
	{"max-overhead", 0, true, set_max_overhead},
	{"census", 0, false, set_census},
	{"breaker-failures", 0, true, set_breaker_failures},
	{"breaker-timeout", 0, true, set_breaker_timeout},
	{"durability", 0, true, set_durability},
	{"persist", 0, false, set_persist},
	{"reader-timeout", 0, true, set_reader_timeout},
	{"pins", 0, true, set_pins},
	{"strict", 0, false, set_strict},
	{"verbose", 'v', false, set_verbose},
	{"help", 'h', false, set_help},
};

#define ROWS MON_ARRAY_COUNT(rows)
#define LONG_ONLY 256 /* what getopt says for row i without a letter: LONG_ONLY + i */

static void describe_rows(struct option longs[ROWS + 1], char shorts[2 * ROWS + 2])
{
	size_t used = 0;

	*shorts++ = ':'; /* a missing value is told apart */
	for (size_t i = 0; i < ROWS; i++) {
		if (rows[i].letter) {
			*shorts++ = rows[i].letter;
			if (rows[i].value)
				*shorts++ = ':';
		}
		if (rows[i].name)
			longs[used++] = (struct option){
				.name = rows[i].name,
				.has_arg = rows[i].value ? required_argument : no_argument,
				.val = rows[i].letter ? rows[i].letter : LONG_ONLY + (int)i,
			};
	}
	*shorts = '\0';
	longs[used] = (struct option){0};
}

static const struct row *find_row(int said)
{
	for (size_t i = 0; i < ROWS; i++)
		if (said == (rows[i].letter ? rows[i].letter : LONG_ONLY + (int)i))
			return &rows[i];
	return NULL;
}

static int parse_rows(int argc, char **argv, struct mon_attach_options *options)
{
	struct option longs[ROWS + 1];
	char shorts[2 * ROWS + 2];
	int said, result = 0;

	describe_rows(longs, shorts);
	optind = 0;
	while (!result && !options->help &&
	       (said = getopt_long(argc, argv, shorts, longs, NULL)) != -1) {
		const struct row *row = find_row(said);

		if (said == ':')
			return usage("a value is missing after", argv[optind - 1]);
		if (!row)
			return mon_cli_no_option("attach", argv[optind - 1], longs);
		result = row->set(options, optarg);
	}
	for (; !result && !options->help && optind < argc; optind++)
		result = set_symbol(options, argv[optind]);
	return result;
}

/* Whoever says how many calls to keep is not to get fewer. */
static bool is_rate_fixed(const struct mon_config *config)
{
	for (size_t i = 0; i < config->rule_count; i++)
		if (!config->rules[i].automatic)
			return true;
	return false;
}

/* A slow or failed call is known as such when it returns, and kept as a record. */
static int check_kept(const struct mon_config *config)
{
	if (config->keep_failed && !config->failed.count)
		return usage("--keep-failed wants --failed GLOB=EXPR, which says what a failure is",
			     NULL);
	if (!config->keep_failed && !config->slow.count)
		return 0;
	if (config->counts_only)
		return usage("--keep-slow and --keep-failed want the return of every call, which "
			     "--stats counts does not follow",
			     NULL);
	if (config->keep_none)
		return usage("--keep-slow and --keep-failed want records, which -c does not keep",
			     NULL);
	return 0;
}

/* What the options are together. */
static int check(struct mon_config *config)
{
	if (!config->target_count && !config->binary && !config->command && !config->persist)
		return usage("name a process with -p, a file with -b, or a command after --", NULL);
	if ((config->target_count > 0) + (config->binary != NULL) + (config->command != NULL) > 1)
		return usage("-p, -b and a command exclude each other", NULL);
	if (config->max_overhead < 0)
		config->max_overhead = is_rate_fixed(config) ? 0 : MON_GOVERNOR_LIMIT_DEFAULT;
	if (config->keep_none && (config->rule_count || config->arg_count ||
				  config->records_per_s || config->caps.count))
		return usage("--sample, --args and --max-records-per-sec want records, which -c "
			     "does not keep",
			     NULL);
	if (!config->persist && (config->reader_timeout_ns != READER_TIMEOUT_DEFAULT_NS ||
				 strcmp(config->pins_path, MON_PINS_DIRECTORY) != 0))
		return usage("--reader-timeout and --pins want --persist", NULL);
	if (config->print && config->keep_none)
		return usage("--print wants records, which -c does not keep", NULL);
	if (check_kept(config))
		return MON_EXIT_USAGE;
	return check_texts(config) ?: check_stacks(config);
}

int mon_attach_options_parse(int argc, char **argv, struct mon_attach_options *options_out)
{
	static char command_line[8192];
	int result, command_at = 0;

	*options_out = (struct mon_attach_options){
		.config = {.output = "./monbpf.db",
			   .globs = globs,
			   .excludes = excludes,
			   .command_line = command_line,
			   .max_overhead = OVERHEAD_UNSET,
			   .pins_path = MON_PINS_DIRECTORY,
			   .reader_timeout_ns = READER_TIMEOUT_DEFAULT_NS,
			   .owner_uid = mon_cli_owner_uid(),
			   .owner_gid = mon_cli_owner_gid()},
	};
	join_words(argc, argv, command_line, sizeof(command_line));
	for (int i = 1; i < argc && !command_at; i++)
		if (strcmp(argv[i], "--") == 0)
			command_at = i + 1;
	if (command_at == argc)
		return usage("a command is missing after", "--");
	if (command_at) { /* its options are its own */
		options_out->config.command = argv + command_at;
		argc = command_at - 1;
	}
	result = parse_rows(argc, argv, options_out);
	if (result || options_out->help)
		return result;
	if (options_out->census && options_out->config.command)
		return usage("--census counts in a process that runs (-p, -b), not in a command",
			     NULL);
	return check(&options_out->config);
}
