// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What the file holds of a run, read back: marks and credits after each new connection, and all of
 * a run when another process goes on with it. The file is not trusted: what does not fit together
 * is SQLITE_CORRUPT, never an index out of range.
 *
 * Memory for a resumed run is a name's worth for each function and a BLOB for each that returned;
 * the intervals themselves are read one by one. Used by the thread that starts the run, or the
 * writer.
 */
#include "pipeline/store_internal.h"

#include "base/cleanup.h"
#include "base/histogram.h"
#include "base/text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Of this run's functions; ?1 base, ?2 count. */
#define OF_RUN " WHERE function_id>=?1 AND function_id<?1+?2"

static int prepare(struct mon_store *store, const char *sql, int64_t first, int64_t second,
		   sqlite3_stmt **statement_out)
{
	int code = sqlite3_prepare_v2(store->db, sql, -1, statement_out, NULL);

	if (code == SQLITE_OK)
		code = sqlite3_bind_int64(*statement_out, 1, first);
	if (code == SQLITE_OK && sqlite3_bind_parameter_count(*statement_out) > 1)
		code = sqlite3_bind_int64(*statement_out, 2, second);
	return code;
}

/* @code: of the preparation or of what was done with a row; else the last step's. */
static int finish(sqlite3_stmt *statement, int code)
{
	if (code == SQLITE_OK)
		code = sqlite3_reset(statement);
	(void)sqlite3_finalize(statement);
	return code;
}

static int read_marks(struct mon_store *store, uint64_t *marks)
{
	sqlite3_stmt *statement = NULL;
	int code = prepare(store, "SELECT ring,position FROM mark WHERE run_id=?", store->run_id, 0,
			   &statement);

	while (code == SQLITE_OK && sqlite3_step(statement) == SQLITE_ROW) {
		int64_t ring = sqlite3_column_int64(statement, 0);

		if (ring >= 0 && ring < MON_STORE_RINGS_MAX)
			marks[ring] = sqlite3_column_int64(statement, 1);
	}
	return finish(statement, code);
}

static int read_credits(struct mon_store *store, uint64_t *credits)
{
	sqlite3_stmt *statement = NULL;
	int code = prepare(store, "SELECT function_id-?1,reason_id,count FROM ledger" OF_RUN,
			   store->function_base, store->function_count, &statement);

	memset(credits, 0, store->credit_bytes / 2);
	while (code == SQLITE_OK && sqlite3_step(statement) == SQLITE_ROW) {
		uint64_t function = sqlite3_column_int64(statement, 0);

		for (unsigned i = 0; i < MON_STORE_CREDITS; i++)
			if (sqlite3_column_int64(statement, 1) ==
			    (int64_t)mon_store_credit_reason[i])
				credits[function * MON_STORE_CREDITS + i] =
					sqlite3_column_int64(statement, 2);
	}
	return finish(statement, code);
}

/* All or nothing: a damaged file must not leave half of its numbers with us. */
int mon_store_read_back(struct mon_store *store)
{
	uint64_t marks[MON_STORE_RINGS_MAX] = {0};
	int64_t runs, rows, set_aside, task_next_id;
	int code = read_marks(store, marks);

	if (code == SQLITE_OK)
		code = mon_store_ask(store, "SELECT count(*) FROM run WHERE id=?", store->run_id,
				     &runs);
	/* A file that was cut back to before the run began may be sound and is not ours. */
	if (code == SQLITE_OK && runs != 1)
		code = SQLITE_CORRUPT;

	if (code == SQLITE_OK)
		code = read_credits(store, store->credits);
	if (code == SQLITE_OK)
		code = mon_store_ask(store,
				     "SELECT coalesce(sum(last_call-first_call+1),0) FROM batch"
				     " WHERE run_id=?",
				     store->run_id, &rows);
	if (code == SQLITE_OK)
		code = mon_store_ask(store, "SELECT count(*) FROM set_aside WHERE run_id=?",
				     store->run_id, &set_aside);
	if (code == SQLITE_OK)
		code = mon_store_ask(store, "SELECT coalesce(max(id),0)+1 FROM task", 0,
				     &task_next_id);
	if (code == SQLITE_OK) {
		memcpy(store->marks, marks, sizeof(marks));
		memcpy(store->credits_written, store->credits, store->credit_bytes / 2);
		store->stats.rows = store->rows_before + rows;
		store->stats.set_aside = store->set_aside_before + set_aside;
		store->task_next_id = task_next_id;
	}
	mon_store_forget(store);
	return code;
}

void mon_run_resumed_clear(struct mon_run_resumed *resumed)
{
	const char *const texts[] = {resumed->run.host,	   resumed->run.boot_id,
				     resumed->run.kernel,  resumed->run.version,
				     resumed->run.command, resumed->run.options,
				     resumed->run.target};

	for (size_t i = 0; i < MON_ARRAY_COUNT(texts); i++)
		free((void *)texts[i]);
	for (size_t i = 0; resumed->sums && i < resumed->functions.function_count; i++)
		free(resumed->sums[i].histogram);
	free(resumed->sums);
	mon_function_set_clear(&resumed->functions);
	*resumed = (struct mon_run_resumed){0};
}

/* A copy, or NULL for NULL. */
static int copy_text(sqlite3_stmt *statement, int column, const char **text_out)
{
	const char *text = (const char *)sqlite3_column_text(statement, column);

	*text_out = text ? strdup(text) : NULL;
	if (*text_out || sqlite3_column_type(statement, column) == SQLITE_NULL)
		return SQLITE_OK;
	return SQLITE_NOMEM;
}

/* The same of a text that must be there. */
static int copy_name(sqlite3_stmt *statement, int column, char **text_out)
{
	int code = copy_text(statement, column, (const char **)text_out);

	return code == SQLITE_OK && !*text_out ? SQLITE_CORRUPT : code;
}

/* @found_out: whether the file has the run. */
static int read_run(struct mon_store *store, const char *uuid, struct mon_run_info *run,
		    bool *found_out)
{
	sqlite3_stmt *statement = NULL;
	int code = sqlite3_prepare_v2(store->db,
				      "SELECT id,part,started_mono_ns,started_wall_ns,host,boot_id,"
				      "kernel,version,command,options,target FROM run WHERE uuid=?"
				      " ORDER BY part DESC, id DESC LIMIT 1",
				      -1, &statement, NULL);
	const char **const texts[] = {&run->host,    &run->boot_id, &run->kernel, &run->version,
				      &run->command, &run->options, &run->target};

	if (code == SQLITE_OK)
		code = sqlite3_bind_text(statement, 1, uuid, -1, SQLITE_STATIC);
	*found_out = false;
	if (code == SQLITE_OK && sqlite3_step(statement) == SQLITE_ROW) {
		*found_out = true;
		(void)snprintf(run->uuid, sizeof(run->uuid), "%s", uuid);
		store->run_id = sqlite3_column_int64(statement, 0);
		run->part = sqlite3_column_int64(statement, 1);
		run->started_ns = sqlite3_column_int64(statement, 2);
		run->started_wall_ns = sqlite3_column_int64(statement, 3);
		for (size_t i = 0; code == SQLITE_OK && i < MON_ARRAY_COUNT(texts); i++)
			code = copy_text(statement, 4 + (int)i, texts[i]);
	}
	return finish(statement, code);
}

/* Modules in the order of their ids, which *@ids_out keeps for the functions to find theirs. */
static int read_modules(struct mon_store *store, struct mon_function_set *set, int64_t **ids_out)
{
	sqlite3_stmt *statement = NULL;
	int64_t count = 0;
	int code = mon_store_ask(store,
				 "SELECT count(DISTINCT module_id) FROM function WHERE run_id=?",
				 store->run_id, &count);

	if (code == SQLITE_OK) {
		set->modules = calloc(count + 1, sizeof(*set->modules));
		*ids_out = calloc(count + 1, sizeof(**ids_out));
		if (!set->modules || !*ids_out)
			code = SQLITE_NOMEM;
	}
	if (code == SQLITE_OK)
		code = prepare(store,
			       "SELECT id,path,build_id FROM module WHERE id IN"
			       " (SELECT module_id FROM function WHERE run_id=?) ORDER BY id",
			       store->run_id, 0, &statement);
	while (code == SQLITE_OK && (int64_t)set->module_count < count &&
	       sqlite3_step(statement) == SQLITE_ROW) {
		struct mon_module *module = &set->modules[set->module_count];
		const char *build_id = (const char *)sqlite3_column_text(statement, 2);

		(*ids_out)[set->module_count++] = sqlite3_column_int64(statement, 0);
		(void)snprintf(module->build_id, sizeof(module->build_id), "%s",
			       build_id ? build_id : "");
		code = copy_name(statement, 1, &module->path);
	}
	return finish(statement, code);
}

static int find_module(const struct mon_function_set *set, const int64_t *ids, int64_t id,
		       uint32_t *module_out)
{
	/* Functions of one module follow each other: the last one's is tried first. */
	for (size_t i = 0; i < set->module_count; i++) {
		size_t module = (*module_out + i) % set->module_count;

		if (ids[module] == id) {
			*module_out = (uint32_t)module;
			return SQLITE_OK;
		}
	}
	return SQLITE_CORRUPT;
}

static bool column_is(sqlite3_stmt *statement, int column, const char *text)
{
	const char *value = (const char *)sqlite3_column_text(statement, column);

	return value && text && strcmp(value, text) == 0;
}

static int read_function(sqlite3_stmt *statement, struct mon_function *function,
			 enum mon_mode *mode_out)
{
	int code = copy_name(statement, 2, &function->symbol);

	if (code == SQLITE_OK)
		code = copy_name(statement, 3, &function->name);
	if (code == SQLITE_OK)
		code = copy_text(statement, 4, (const char **)&function->aliases);
	if (code == SQLITE_OK)
		code = copy_text(statement, 11, (const char **)&function->note);
	function->offset = sqlite3_column_int64(statement, 5);
	function->size_bytes = sqlite3_column_int64(statement, 6);
	function->probe_offset = sqlite3_column_int64(statement, 7);
	if (column_is(statement, 8, "symtab"))
		function->source = "symtab";
	else if (column_is(statement, 8, "dynsym"))
		function->source = "dynsym";
	for (enum mon_mode mode = MON_MODE_AUTO; mode < MON_MODES; mode++)
		if (column_is(statement, 9, mon_mode_name(mode)))
			*mode_out = mode;
	for (enum mon_cost_class cost = MON_COST_UNKNOWN; cost <= MON_COST_SINGLE_STEP; cost++)
		if (column_is(statement, 10, mon_cost_class_name(cost)))
			function->cost = cost;
	for (unsigned i = 0; i < MON_FAILED_IFS; i++)
		if (column_is(statement, 12, mon_failed_if_name(i)))
			function->failed_if = mon_failed_if_name(i);
	return code;
}

static int read_functions(struct mon_store *store, struct mon_function_set *set,
			  struct mon_run_info *run)
{
	MON_FREE int64_t *modules = NULL;
	/* Whether returns are probed is the same for all of a run, and part of its options. */
	bool returns = !run->options || !strstr(run->options, "returns=no");
	sqlite3_stmt *statement = NULL;
	uint32_t module = 0;
	int64_t count = 0;
	int code = read_modules(store, set, &modules);

	if (code == SQLITE_OK)
		code = mon_store_ask(store, "SELECT count(*) FROM function WHERE run_id=?",
				     store->run_id, &count);
	if (code == SQLITE_OK)
		code = mon_store_ask(store,
				     "SELECT coalesce(min(id),0) FROM function WHERE run_id=?",
				     store->run_id, &store->function_base);
	if (code == SQLITE_OK && count >= MON_FUNCTION_NONE)
		code = SQLITE_CORRUPT;
	if (code == SQLITE_OK) {
		set->functions = calloc(count + 1, sizeof(*set->functions));
		code = set->functions ? SQLITE_OK : SQLITE_NOMEM;
	}
	if (code == SQLITE_OK)
		code = prepare(store,
			       "SELECT id,module_id,symbol,name,aliases,offset,size,probe_offset,"
			       "source,mode,cost_class,note,failed_if FROM function WHERE run_id=? "
			       "ORDER BY id",
			       store->run_id, 0, &statement);
	while (code == SQLITE_OK && (int64_t)set->function_count < count &&
	       sqlite3_step(statement) == SQLITE_ROW) {
		struct mon_function *function = &set->functions[set->function_count];

		/* The cookie is id - base: a hole would give one function the calls of another. */
		if (sqlite3_column_int64(statement, 0) !=
		    store->function_base + (int64_t)set->function_count)
			code = SQLITE_CORRUPT;
		set->function_count++;
		function->returns = returns;
		if (code == SQLITE_OK)
			code = find_module(set, modules, sqlite3_column_int64(statement, 1),
					   &module);
		function->module = module;
		if (code == SQLITE_OK)
			code = read_function(statement, function, &run->mode);
	}
	return finish(statement, code);
}

static int keep_histogram(struct mon_function_sum *sum, const uint64_t *counts)
{
	uint8_t blob[MON_HISTOGRAM_BLOB_MAX];
	size_t length = mon_histogram_encode(counts, blob);

	if (!length)
		return SQLITE_OK;
	sum->histogram = malloc(length);
	if (!sum->histogram)
		return SQLITE_NOMEM;
	memcpy(sum->histogram, blob, length);
	sum->histogram_bytes = length;
	return SQLITE_OK;
}

static int add_counts(sqlite3_stmt *statement, int column, uint64_t *counts)
{
	const uint8_t *blob = sqlite3_column_blob(statement, column);
	int bytes = sqlite3_column_bytes(statement, column);

	return blob && mon_histogram_decode(blob, bytes, counts) ? SQLITE_CORRUPT : SQLITE_OK;
}

/*
 * Intervals of an earlier part are in another file. The totals of this one have the same sum, but
 * for what came between the last interval and the last total.
 */
static const char sum_of_intervals[] =
	"SELECT function_id-?1,start_ns+length_ns,calls,returns,failed,total_ns,self_ns,armed_ns,"
	"histogram FROM function_interval" OF_RUN " ORDER BY function_id";
static const char sum_of_totals[] =
	"SELECT function_id-?1,(SELECT coalesce(max(start_ns+length_ns),(SELECT max(at_ns) FROM"
	" clock JOIN function ON function.run_id=clock.run_id WHERE function.id=?1),0) FROM"
	" function_interval" OF_RUN "),calls,returns,failed,total_ns,self_ns,armed_ns,histogram"
	" FROM function_total" OF_RUN " ORDER BY function_id";

static int read_sums(struct mon_store *store, struct mon_run_resumed *resumed)
{
	uint64_t counts[MON_HISTOGRAM_BUCKETS] = {0};
	struct mon_function_sum *last = NULL;
	sqlite3_stmt *statement = NULL;
	mon_ns end_ns = 0;
	int code = prepare(store, resumed->run.part > 1 ? sum_of_totals : sum_of_intervals,
			   store->function_base, store->function_count, &statement);

	while (code == SQLITE_OK && sqlite3_step(statement) == SQLITE_ROW) {
		struct mon_function_sum *sum = &resumed->sums[sqlite3_column_int64(statement, 0)];
		mon_ns row_end_ns = sqlite3_column_int64(statement, 1);

		if (last && sum != last) {
			code = keep_histogram(last, counts);
			memset(counts, 0, sizeof(counts));
		}
		last = sum;
		if (row_end_ns > end_ns)
			end_ns = row_end_ns;
		sum->calls += sqlite3_column_int64(statement, 2);
		sum->returns += sqlite3_column_int64(statement, 3);
		sum->failed += sqlite3_column_int64(statement, 4);
		sum->total_ns += sqlite3_column_int64(statement, 5);
		sum->self_ns += sqlite3_column_int64(statement, 6);
		sum->armed_ns += sqlite3_column_int64(statement, 7);
		if (code == SQLITE_OK)
			code = add_counts(statement, 8, counts);
	}
	if (code == SQLITE_OK && last)
		code = keep_histogram(last, counts);
	resumed->last_interval_end_ns = resumed->run.started_ns + end_ns;
	return finish(statement, code);
}

static int read_reasons(struct mon_store *store, struct mon_run_resumed *resumed)
{
	sqlite3_stmt *statement = NULL;
	int code = prepare(store, "SELECT function_id-?1,reason_id,count FROM ledger" OF_RUN,
			   store->function_base, store->function_count, &statement);

	while (code == SQLITE_OK && sqlite3_step(statement) == SQLITE_ROW) {
		uint64_t reason = sqlite3_column_int64(statement, 1);

		if (reason < MON_REASON_COUNT)
			resumed->sums[sqlite3_column_int64(statement, 0)].by_reason[reason] =
				sqlite3_column_int64(statement, 2);
	}
	return finish(statement, code);
}

/* The rest of a resume, once the run is found and its functions are counted. */
static int go_on(struct mon_store *store, struct mon_run_resumed *resumed)
{
	int code = mon_store_read_back(store);

	if (code == SQLITE_OK)
		code = read_sums(store, resumed);
	if (code == SQLITE_OK)
		code = read_reasons(store, resumed);
	return code;
}

int mon_store_resume(struct mon_store *store, const char *uuid, struct mon_run_resumed *resumed_out,
		     struct mon_error *error)
{
	MON_CLEANUP(mon_run_resumed_clear) struct mon_run_resumed resumed = {0};
	bool found = false;
	int code = read_run(store, uuid, &resumed.run, &found);

	if (code == SQLITE_OK && !found)
		return mon_error_set(error, MON_EXIT_UNAVAILABLE, ENOENT,
				     "%s has no run %s to go on with; start a new one",
				     MON_ESCAPED(store->file.path), MON_ESCAPED(uuid));
	if (code == SQLITE_OK)
		code = read_functions(store, &resumed.functions, &resumed.run);
	if (code == SQLITE_OK) {
		resumed.sums = calloc(resumed.functions.function_count + 1, sizeof(*resumed.sums));
		code = resumed.sums ? SQLITE_OK : SQLITE_NOMEM;
	}
	if (code != SQLITE_OK)
		return mon_store_refuse_run(store, code, error);
	code = mon_store_count_functions(store, resumed.functions.function_count, error);
	if (code) {
		store->run_id = 0;
		return code;
	}
	code = mon_store_keep_run(store, &resumed.run, &resumed.functions);
	if (code == SQLITE_OK)
		code = go_on(store, &resumed);
	if (code != SQLITE_OK)
		return mon_store_refuse_run(store, code, error);
	store->stats.run_id = store->run_id;
	store->stats.earlier_runs--;
	*resumed_out = resumed;
	resumed = (struct mon_run_resumed){0};
	return 0;
}

int mon_store_reopen_run(struct mon_store *store)
{
	int64_t changed;
	int code = mon_store_ask(store,
				 "UPDATE run SET ended_ns=NULL,end_reason=NULL,"
				 "target_status=NULL,complete=0 WHERE id=?",
				 store->run_id, &changed);

	return code == SQLITE_OK ? 0 : mon_store_failed(store, code);
}

uint64_t mon_store_mark(const struct mon_store *store, uint32_t ring)
{
	return ring < MON_STORE_RINGS_MAX ? store->marks[ring] : 0;
}
