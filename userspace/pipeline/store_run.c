// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A run and what it watches become rows: written once when a run begins, and once more for each
 * further part. Writer thread, or the one that starts the run.
 */
#include "pipeline/store_internal.h"

#include "base/budget.h"
#include "base/cleanup.h"
#include "base/text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Used a few times a run, with whatever statement it takes. */
static int run_once(struct mon_store *store, const char *sql, const char *const *texts,
		    size_t text_count, const int64_t *numbers, size_t number_count)
{
	sqlite3_stmt *statement = NULL;
	int code = sqlite3_prepare_v2(store->db, sql, -1, &statement, NULL);
	int slot = 1;

	for (size_t i = 0; code == SQLITE_OK && i < text_count; i++)
		code = sqlite3_bind_text(statement, slot++, texts[i], -1, SQLITE_STATIC);
	for (size_t i = 0; code == SQLITE_OK && i < number_count; i++)
		code = sqlite3_bind_int64(statement, slot++, numbers[i]);
	if (code == SQLITE_OK) {
		(void)sqlite3_step(statement);
		code = sqlite3_reset(statement);
	}
	(void)sqlite3_finalize(statement);
	return code;
}

static int insert_run(struct mon_store *store, const struct mon_run_info *run)
{
	const char *const texts[] = {run->uuid,	   run->host,	 run->boot_id, run->kernel,
				     run->version, run->command, run->options, run->target};
	const int64_t numbers[] = {run->part, (int64_t)run->started_ns, run->started_wall_ns};
	int code = run_once(store,
			    "INSERT INTO run(uuid,host,boot_id,kernel,version,command,options,"
			    "target,part,started_mono_ns,started_wall_ns)"
			    " VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11)",
			    texts, MON_ARRAY_COUNT(texts), numbers, MON_ARRAY_COUNT(numbers));

	if (code == SQLITE_OK)
		store->run_id = sqlite3_last_insert_rowid(store->db);
	return code;
}

static int insert_modules(struct mon_store *store, const struct mon_function_set *set, int64_t *ids)
{
	int code = SQLITE_OK;

	for (size_t i = 0; code == SQLITE_OK && i < set->module_count; i++) {
		const char *const texts[] = {set->modules[i].path, set->modules[i].build_id};
		sqlite3_stmt *find = NULL;

		code = run_once(store, "INSERT OR IGNORE INTO module(path,build_id) VALUES(?1,?2)",
				texts, 2, NULL, 0);
		if (code == SQLITE_OK)
			code = sqlite3_prepare_v2(store->db,
						  "SELECT id FROM module WHERE path=?1 AND "
						  "build_id=?2",
						  -1, &find, NULL);
		if (code == SQLITE_OK)
			code = sqlite3_bind_text(find, 1, texts[0], -1, SQLITE_STATIC);
		if (code == SQLITE_OK)
			code = sqlite3_bind_text(find, 2, texts[1], -1, SQLITE_STATIC);
		if (code == SQLITE_OK && sqlite3_step(find) == SQLITE_ROW)
			ids[i] = sqlite3_column_int64(find, 0);
		if (code == SQLITE_OK)
			code = sqlite3_reset(find);
		(void)sqlite3_finalize(find);
	}
	return code;
}

static void bind_text(sqlite3_stmt *statement, int slot, const char *text)
{
	if (text)
		(void)sqlite3_bind_text(statement, slot, text, -1, SQLITE_STATIC);
	else
		(void)sqlite3_bind_null(statement, slot);
}

static int insert_functions(struct mon_store *store, const struct mon_function_set *set,
			    const int64_t *modules, enum mon_mode mode)
{
	sqlite3_stmt *insert = NULL;
	int code =
		sqlite3_prepare_v2(store->db,
				   "INSERT INTO function(id,run_id,module_id,symbol,name,"
				   "aliases,offset,size,probe_offset,source,mode,cost_class,note,"
				   "failed_if)"
				   " VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14)",
				   -1, &insert, NULL);

	for (size_t i = 0; code == SQLITE_OK && i < set->function_count; i++) {
		const struct mon_function *function = &set->functions[i];

		(void)sqlite3_bind_int64(insert, 1, store->function_base + (int64_t)i);
		(void)sqlite3_bind_int64(insert, 2, store->run_id);
		(void)sqlite3_bind_int64(insert, 3, modules[function->module]);
		bind_text(insert, 4, function->symbol);
		bind_text(insert, 5, function->name);
		bind_text(insert, 6, function->aliases);
		(void)sqlite3_bind_int64(insert, 7, (int64_t)function->offset);
		if (function->size_bytes)
			(void)sqlite3_bind_int64(insert, 8, (int64_t)function->size_bytes);
		else
			(void)sqlite3_bind_null(insert, 8);
		(void)sqlite3_bind_int64(insert, 9, (int64_t)function->probe_offset);
		bind_text(insert, 10, function->source);
		bind_text(insert, 11, mon_mode_name(mode));
		bind_text(insert, 12, mon_cost_class_name(function->cost));
		bind_text(insert, 13, function->note);
		bind_text(insert, 14, function->failed_if);
		(void)sqlite3_step(insert);
		code = sqlite3_reset(insert);
	}
	(void)sqlite3_finalize(insert);
	return code;
}

int mon_store_count_functions(struct mon_store *store, size_t count, struct mon_error *error)
{
	uint64_t credits = count * MON_STORE_CREDITS;

	mon_budget_free_bytes(store->options.budget, MON_BUDGET_TOTALS, store->credits,
			      store->credit_bytes);
	store->credit_bytes = 2 * credits * sizeof(*store->credits);
	store->credits =
		mon_budget_calloc(store->options.budget, MON_BUDGET_TOTALS, store->credit_bytes);
	if (!store->credits)
		return mon_error_set(error, MON_EXIT_RUNTIME, ENOMEM,
				     "out of memory for %zu functions; raise --memory-budget or "
				     "watch fewer",
				     count);
	store->credits_written = store->credits + credits;
	store->function_count = count;
	return 0;
}

int mon_store_write_run(struct mon_store *store, const struct mon_run_info *run,
			const struct mon_function_set *set)
{
	MON_FREE int64_t *modules = calloc(set->module_count + 1, sizeof(*modules));
	int code = modules ? SQLITE_OK : SQLITE_NOMEM;

	if (code == SQLITE_OK)
		code = mon_store_ask(store, "SELECT coalesce(max(id),0)+1 FROM function", 0,
				     &store->function_base);
	if (code == SQLITE_OK)
		code = insert_run(store, run);
	if (code == SQLITE_OK)
		code = insert_modules(store, set, modules);
	if (code == SQLITE_OK)
		code = insert_functions(store, set, modules, run->mode);
	if (code == SQLITE_OK)
		code = mon_store_run(store, MON_STORE_CLOCK, "iii", store->run_id, INT64_C(0),
				     (int64_t)run->started_wall_ns);
	return code;
}

int mon_store_refuse_run(struct mon_store *store, int code, struct mon_error *error)
{
	int result = mon_store_failed(store, code);

	store->run_id = 0;
	mon_store_disconnect(store, true);
	return mon_error_set(error, MON_EXIT_UNAVAILABLE, -result, "cannot write %s: %s",
			     MON_ESCAPED(store->file.path), store->error_text);
}

void mon_store_drop_run(struct mon_store *store)
{
	const char *const texts[] = {store->run.host,	 store->run.boot_id, store->run.kernel,
				     store->run.version, store->run.command, store->run.options,
				     store->run.target};

	for (size_t i = 0; i < MON_ARRAY_COUNT(texts); i++)
		free((void *)texts[i]);
	store->run = (struct mon_run_info){0};
}

int mon_store_keep_run(struct mon_store *store, const struct mon_run_info *run,
		       const struct mon_function_set *set)
{
	const char **const texts[] = {&store->run.host,	   &store->run.boot_id, &store->run.kernel,
				      &store->run.version, &store->run.command, &store->run.options,
				      &store->run.target};
	const char *const from[] = {run->host,	  run->boot_id, run->kernel, run->version,
				    run->command, run->options, run->target};
	bool complete = true;

	mon_store_drop_run(store);
	store->run = *run;
	for (size_t i = 0; i < MON_ARRAY_COUNT(texts); i++) {
		*texts[i] = from[i] ? strdup(from[i]) : NULL;
		complete = complete && (*texts[i] || !from[i]);
	}
	if (!store->run.part)
		store->run.part = 1;
	store->functions = *set;
	store->started_ns = run->started_ns;
	store->stats.part = store->run.part;
	return complete ? SQLITE_OK : SQLITE_NOMEM;
}

int mon_store_begin(struct mon_store *store, const struct mon_run_info *run,
		    const struct mon_function_set *set, struct mon_error *error)
{
	int code = mon_store_count_functions(store, set->function_count, error);

	if (code)
		return code;
	code = mon_store_keep_run(store, run, set);
	if (code == SQLITE_OK)
		code = mon_store_execute(store, "BEGIN IMMEDIATE");
	if (code == SQLITE_OK)
		code = mon_store_write_run(store, &store->run, set);
	if (code == SQLITE_OK)
		code = mon_store_execute(store, "COMMIT");
	if (code != SQLITE_OK)
		return mon_store_refuse_run(store, code, error);
	store->stats.run_id = store->run_id;
	/* Until now a file that we made went away with us; now there is something in it. */
	store->file.created = false;
	return 0;
}
