// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Rows of `call` are summed by function and frames in SQL, named here, and summed again by name:
 * two places of one caller are one way. A name is what the symbolizer finds, else the file's name
 * and the offset, else the address. In memory is one line for each way. Main thread only.
 */
#include "report/stacks.h"

#include "base/text.h"
#include "report/export.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define STACKS_SHOWN 10
#define FRAME_BYTES 12 /* docs/schema.md */

/* ?1 run, ?2 function or 0, ?3 since. */
static const char stacks_sql[] =
	"SELECT f.name, s.frames, sum(c.weight), count(*), sum(c.weight * c.duration_ns),"
	" CASE WHEN count(c.child_ns) = count(c.duration_ns)"
	" THEN sum(c.weight * (c.duration_ns - c.child_ns)) END, s.id IS NULL"
	" FROM call c JOIN function f ON f.id = c.function_id"
	" LEFT JOIN call_stack k ON k.call_id = c.id LEFT JOIN stack s ON s.id = k.stack_id"
	" WHERE c.id >= (SELECT min(first_call) FROM batch WHERE run_id = ?1)"
	" AND c.id <= (SELECT max(last_call) FROM batch WHERE run_id = ?1)"
	" AND f.run_id = ?1 AND (?2 = 0 OR c.function_id = ?2)"
	" AND c.start_ns + coalesce(c.duration_ns, 0) >= ?3"
	" GROUP BY f.id, s.frames";

/* One way to one function. */
struct way {
	char *text; /* "main;run;leaf" */
	uint64_t calls, kept, total_ns, self_ns;
	bool self_unknown; /* of some: calls inside them were not followed */
};

struct ways {
	struct way *rows;
	size_t count, room;
	uint64_t without; /* kept calls that have no stack */
	bool deeper;	  /* some have a caller's caller, in a file */
	int64_t caller;	  /* module of the first callers; 0: none known, -1: several */
	char remark[512]; /* why they end so early; "": they do not */
};

struct module_name {
	int64_t id;
	char *path, *build_id;
};

struct names {
	const struct mon_symbolizing *symbolizing;
	struct module_name *modules;
	size_t count;
};

static int out_of_memory(struct mon_error *error)
{
	return mon_error_set(error, MON_EXIT_RUNTIME, ENOMEM, "out of memory");
}

static void ways_clear(struct ways *ways)
{
	for (size_t i = 0; i < ways->count; i++)
		free(ways->rows[i].text);
	free(ways->rows);
	*ways = (struct ways){0};
}

static void names_clear(struct names *names)
{
	for (size_t i = 0; i < names->count; i++) {
		free(names->modules[i].path);
		free(names->modules[i].build_id);
	}
	free(names->modules);
	*names = (struct names){0};
}

static int read_modules(sqlite3 *database, struct names *names, struct mon_error *error)
{
	MON_STATEMENT sqlite3_stmt *statement = NULL;
	size_t room = 0;
	int result = mon_query_prepare(database, "SELECT id, path, build_id FROM module", NULL, 0,
				       &statement, error);

	while (!result && (result = mon_query_step(statement, error)) > 0) {
		struct module_name *module;

		result = 0;
		if (names->count == room) {
			room = room ? 2 * room : 64;
			module = reallocarray(names->modules, room, sizeof(*module));
			if (!module)
				return out_of_memory(error);
			names->modules = module;
		}
		module = &names->modules[names->count++];
		*module = (struct module_name){
			.id = sqlite3_column_int64(statement, 0),
			.path = strdup(mon_query_text(statement, 1)),
			.build_id = strdup(mon_query_text(statement, 2)),
		};
		if (!module->path || !module->build_id)
			return out_of_memory(error);
	}
	return result;
}

static uint64_t get_number(const uint8_t *bytes, int count)
{
	uint64_t number = 0;

	for (int i = count; i-- > 0;)
		number = number << 8 | bytes[i];
	return number;
}

/* Escaped, and without what has a meaning in a folded line. */
static void print_name(const char *name, FILE *out)
{
	char escaped[1024];

	(void)mon_escape(escaped, sizeof(escaped), name);
	for (char *at = escaped; *at; at++)
		if (*at == ';')
			*at = ':';
	(void)fputs(escaped, out);
}

/* @frame: module id and offset of where the call returns to: the call itself is before it. */
static void print_frame(const struct names *names, const uint8_t *frame, FILE *out)
{
	int64_t id = (int64_t)get_number(frame, 4);
	uint64_t offset = get_number(frame + 4, 8);
	const struct module_name *module = NULL;
	const char *name = NULL, *slash;
	char text[320];

	for (size_t i = 0; i < names->count && id; i++)
		if (names->modules[i].id == id)
			module = &names->modules[i];
	if (!module) {
		(void)fprintf(out, "0x%" PRIx64, offset);
		return;
	}
	if (names->symbolizing && offset)
		name = names->symbolizing->name(names->symbolizing->context, module->path,
						module->build_id, offset - 1);
	if (!name) {
		slash = strrchr(module->path, '/');
		(void)snprintf(text, sizeof(text), "%.255s+0x%" PRIx64,
			       slash ? slash + 1 : module->path, offset);
		name = text;
	}
	print_name(name, out);
}

/* What leads out of a file is a frame pointer that was none. */
static void look_at_depth(const uint8_t *frames, int bytes, struct ways *ways)
{
	int64_t caller = bytes >= FRAME_BYTES ? (int64_t)get_number(frames, 4) : 0;

	if (bytes >= 2 * FRAME_BYTES && get_number(frames + FRAME_BYTES, 4))
		ways->deeper = true;
	if (caller)
		ways->caller = !ways->caller || ways->caller == caller ? caller : -1;
}

static int add_way(const struct names *names, sqlite3_stmt *statement, struct ways *ways)
{
	const uint8_t *frames = sqlite3_column_blob(statement, 1);
	int bytes = frames ? sqlite3_column_bytes(statement, 1) : 0;
	struct way way = {
		.calls = mon_query_count(statement, 2),
		.kept = mon_query_count(statement, 3),
		.total_ns = mon_query_count(statement, 4),
		.self_ns = mon_query_count(statement, 5),
		.self_unknown = sqlite3_column_type(statement, 5) == SQLITE_NULL &&
				sqlite3_column_type(statement, 4) != SQLITE_NULL,
	};
	size_t size;
	FILE *out;

	if (sqlite3_column_int(statement, 6)) {
		ways->without += way.kept;
		return 0;
	}
	look_at_depth(frames, bytes, ways);
	if (ways->count == ways->room) {
		size_t room = ways->room ? 2 * ways->room : 64;
		struct way *rows = reallocarray(ways->rows, room, sizeof(*rows));

		if (!rows)
			return -ENOMEM;
		ways->rows = rows;
		ways->room = room;
	}
	out = open_memstream(&way.text, &size);
	if (!out)
		return -ENOMEM;
	for (int at = bytes / FRAME_BYTES * FRAME_BYTES; at > 0; at -= FRAME_BYTES) {
		print_frame(names, frames + at - FRAME_BYTES, out);
		(void)fputc(';', out);
	}
	print_name(mon_query_text(statement, 0), out);
	if (fclose(out)) {
		free(way.text);
		return -ENOMEM;
	}
	ways->rows[ways->count++] = way;
	return 0;
}

static int by_text(const void *left, const void *right)
{
	const struct way *a = left, *b = right;

	return strcmp(a->text, b->text);
}

static int by_time(const void *left, const void *right)
{
	const struct way *a = left, *b = right;

	if (a->total_ns != b->total_ns)
		return a->total_ns > b->total_ns ? -1 : 1;
	if (a->calls != b->calls)
		return a->calls > b->calls ? -1 : 1;
	return strcmp(a->text, b->text);
}

static void merge(struct ways *ways)
{
	size_t kept = 0;

	if (!ways->count)
		return;
	qsort(ways->rows, ways->count, sizeof(*ways->rows), by_text);
	for (size_t i = 1; i < ways->count; i++) {
		struct way *into = &ways->rows[kept], *from = &ways->rows[i];

		if (strcmp(into->text, from->text) != 0) {
			ways->rows[++kept] = *from;
			continue;
		}
		into->calls += from->calls;
		into->kept += from->kept;
		into->total_ns += from->total_ns;
		into->self_ns += from->self_ns;
		into->self_unknown |= from->self_unknown;
		free(from->text);
	}
	ways->count = kept + 1;
}

/* Why all of them end so early, if they do. The C library begins programs and threads: it has none.
 */
static void explain_depth(const struct mon_report *report, const struct names *names,
			  struct ways *ways)
{
	const char *file = NULL, *slash;

	if (!ways->caller || ways->deeper || strstr(report->run.options, "stack_frames=1 "))
		return;
	for (size_t i = 0; i < names->count; i++)
		if (names->modules[i].id == ways->caller)
			file = names->modules[i].path;
	slash = file ? strrchr(file, '/') : NULL;
	file = slash ? slash + 1 : file;
	if (file && !strncmp(file, "libc.so", 7))
		return;
	(void)snprintf(ways->remark, sizeof(ways->remark),
		       "stacks end at the first caller: %s was built without frame pointers "
		       "(-fno-omit-frame-pointer keeps them)",
		       file ? MON_ESCAPED(file) : "the callers' code");
}

static int read_ways(const struct mon_report *report, struct ways *ways, struct mon_error *error)
{
	const int64_t values[] = {report->run.id, report->selected ? report->selected->id : 0,
				  report->options->since_set ? (int64_t)report->cut_ns : INT64_MIN};
	MON_CLEANUP(names_clear) struct names names = {.symbolizing = report->options->symbolizing};
	MON_STATEMENT sqlite3_stmt *statement = NULL;
	int result = read_modules(report->database, &names, error);

	if (!result)
		result = mon_query_prepare(report->database, stacks_sql, values, 3, &statement,
					   error);
	while (!result && (result = mon_query_step(statement, error)) > 0) {
		result = add_way(&names, statement, ways);
		if (result)
			return out_of_memory(error);
	}
	if (!result) {
		explain_depth(report, &names, ways);
		merge(ways);
	}
	return result;
}

/* --folded=time is by self time: where none is known there is nothing to draw. */
static int check_times(const struct mon_report *report, const struct ways *ways,
		       struct mon_error *error)
{
	if (report->options->folded != MON_FOLDED_TIME)
		return 0;
	for (size_t i = 0; i < ways->count; i++)
		if (ways->rows[i].self_unknown)
			return mon_error_set(error, MON_EXIT_NO_MATCH, ENODATA,
					     "run %" PRId64 " does not know what time calls took "
					     "themselves (returns were not all followed): "
					     "--folded is by calls",
					     report->run.id);
	return 0;
}

static void print_folded(const struct mon_report *report, const struct ways *ways)
{
	for (size_t i = 0; i < ways->count; i++) {
		const struct way *way = &ways->rows[i];
		uint64_t value =
			report->options->folded == MON_FOLDED_TIME ? way->self_ns : way->calls;

		if (value)
			(void)fprintf(report->out, "%s %" PRIu64 "\n", way->text, value);
	}
}

/* From the innermost to the outermost; the first is the function itself. */
static void print_way(const struct way *way, bool timed, FILE *out)
{
	const char *end = way->text + strlen(way->text), *at;
	char count[32], total[32], self[32];
	unsigned times = 0;
	bool first = true;

	do {
		at = memrchr(way->text, ';', (size_t)(end - way->text));
		at = at ? at + 1 : way->text;
		times++;
		/* A function that calls itself is one line. */
		if (!first && at - way->text > end - at &&
		    memcmp(at - (end - at) - 1, at, (size_t)(end - at)) == 0 &&
		    (at - (end - at) - 1 == way->text || at[-(end - at) - 2] == ';')) {
			end = at - 1;
			continue;
		}
		if (!first && times > 1)
			(void)fprintf(out, "    %.*s  (%u times)\n", (int)(end - at), at, times);
		else if (!first)
			(void)fprintf(out, "    %.*s\n", (int)(end - at), at);
		else if (timed)
			(void)fprintf(out, "\n%.*s  %s calls  total %s  self %s\n", (int)(end - at),
				      at, mon_format_count(count, sizeof(count), way->calls),
				      mon_format_ns(total, sizeof(total), way->total_ns),
				      way->self_unknown
					      ? "-"
					      : mon_format_ns(self, sizeof(self), way->self_ns));
		else
			(void)fprintf(out, "\n%.*s  %s calls\n", (int)(end - at), at,
				      mon_format_count(count, sizeof(count), way->calls));
		first = false;
		times = 0;
		end = at - 1;
	} while (at > way->text);
}

static void print_text(const struct mon_report *report, const struct ways *ways)
{
	size_t shown =
		report->options->all || ways->count < STACKS_SHOWN ? ways->count : STACKS_SHOWN;
	char text[32];

	for (size_t i = 0; i < shown; i++)
		print_way(&ways->rows[i], ways->rows[i].total_ns > 0, report->out);
	if (!ways->count)
		(void)fputs("\nno stacks: monbpf attach --stack keeps them\n", report->out);
	else if (ways->without)
		(void)fprintf(report->out, "\n%s kept call%s without a stack: not returned\n",
			      mon_format_count(text, sizeof(text), ways->without),
			      ways->without == 1 ? "" : "s");
	if (ways->remark[0])
		(void)fprintf(report->out, "\n%s\n", ways->remark);
	if (ways->count && mon_report_any_scaled(report))
		(void)fputs("\ncalls and times are of the time that functions were armed\n",
			    report->out);
	if (shown < ways->count)
		(void)fprintf(report->out, "\n%zu more: --all\n", ways->count - shown);
}

static void print_json(const struct mon_report *report, const struct ways *ways)
{
	(void)fputs("\"stacks\": [", report->out);
	for (size_t i = 0; i < ways->count; i++) {
		const struct way *way = &ways->rows[i];
		const char *separator = "";
		char *rest = way->text, *frame;

		(void)fprintf(report->out,
			      "%s\n  {\"calls\": %" PRIu64 ", \"kept\": %" PRIu64
			      ", \"total_ns\": %" PRIu64 ", \"self_ns\": ",
			      i ? "," : "", way->calls, way->kept, way->total_ns);
		if (way->self_unknown)
			(void)fputs("null", report->out);
		else
			(void)fprintf(report->out, "%" PRIu64, way->self_ns);
		(void)fputs(", \"frames\": [", report->out);
		while ((frame = strsep(&rest, ";"))) {
			(void)fputs(separator, report->out);
			mon_export_json_string(frame, report->out);
			separator = ", ";
		}
		(void)fputs("]}", report->out);
	}
	(void)fprintf(report->out,
		      "%s],\n\"without_stack\": %" PRIu64 ", \"remark\": ", ways->count ? "\n" : "",
		      ways->without);
	if (ways->remark[0])
		mon_export_json_string(ways->remark, report->out);
	else
		(void)fputs("null", report->out);
	(void)fputc('\n', report->out);
}

int mon_stacks_print(struct mon_report *report, struct mon_error *error)
{
	MON_CLEANUP(ways_clear) struct ways ways = {0};
	int result = read_ways(report, &ways, error);
	if (!result)
		result = check_times(report, &ways, error);

	if (result)
		return result;
	if (report->options->folded && !ways.count)
		return mon_error_set(error, MON_EXIT_NO_MATCH, ENOENT,
				     "run %" PRId64 " has no stacks; monbpf attach --stack keeps "
				     "them",
				     report->run.id);
	if (report->options->folded) {
		print_folded(report, &ways);
		return 0;
	}
	if (ways.count)
		qsort(ways.rows, ways.count, sizeof(*ways.rows), by_time);
	if (report->options->format == MON_REPORT_JSON)
		print_json(report, &ways);
	else
		print_text(report, &ways);
	return 0;
}
