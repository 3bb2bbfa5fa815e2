// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Records become rows. 50 rows go in one INSERT, with statements that were prepared once; nothing
 * is allocated here and a row costs eleven binds. Writer thread.
 *
 * Exactly once: a batch and its marks are one transaction, and a record that ends at or before its
 * ring's mark is skipped. So a batch may be pushed again after any failure. Credits are counted
 * while rows are bound and go into `ledger` in that transaction too.
 *
 * Tried and dropped: an INSERT of 200 rows (no faster), explicit row ids (the same).
 */
#include "pipeline/store_internal.h"

#include "base/crash.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>

#define CALL_COLUMNS                                                                      \
	"start_ns,duration_ns,child_ns,function_id,caller_id,task_id,depth,weight,flags," \
	"ret,arg1,arg2,arg3,arg4,arg5,arg6"
#define CALL_COLUMN_COUNT 16
#define CALL_VALUES "(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)"
#define FIVE(text) text "," text "," text "," text "," text
#define TEN(text) FIVE(text) "," FIVE(text)

_Static_assert(MON_STORE_ROWS_PER_STATEMENT == 50, "FIVE(TEN())");

/* Columns by name: a file of a later minor has more of them. */
static const char *const sql[MON_STORE_STATEMENTS] = {
	[MON_STORE_BEGIN] = "BEGIN IMMEDIATE",
	[MON_STORE_COMMIT] = "COMMIT",
	[MON_STORE_CALL] = "INSERT INTO call(" CALL_COLUMNS ") VALUES" CALL_VALUES,
	[MON_STORE_CALLS] = "INSERT INTO call(" CALL_COLUMNS ") VALUES" FIVE(TEN(CALL_VALUES)),
	[MON_STORE_CALL_TEXT] =
		"INSERT INTO call_text(call_id,slot,true_bytes,value) VALUES(?,?,?,?)",
	[MON_STORE_STACK] = "INSERT INTO stack(run_id,frames) VALUES(?,?)",
	[MON_STORE_CALL_STACK] = "INSERT INTO call_stack(call_id,stack_id) VALUES(?,?)",
	[MON_STORE_MODULE] = "INSERT OR IGNORE INTO module(path,build_id) VALUES(?,?)",
	[MON_STORE_MODULE_FIND] = "SELECT id FROM module WHERE path=? AND build_id=?",
	[MON_STORE_MAPPING] =
		"INSERT INTO mapping(run_id,pid,start,end,offset,module_id) VALUES(?,?,?,?,?,?)",
	[MON_STORE_MAPPING_GONE] =
		"DELETE FROM mapping WHERE run_id=?1 AND pid=?2 AND start<?4 AND end>?3",
	[MON_STORE_MAPPING_FIND] =
		"SELECT p.start,p.end,p.offset,p.module_id FROM mapping p JOIN module m"
		" ON m.id=p.module_id WHERE p.run_id=?1 AND p.pid=?2 AND p.start<=?3"
		" AND (?4 IS NULL OR m.path=?4) ORDER BY p.start DESC LIMIT 1",
	[MON_STORE_TASK] = "INSERT INTO task(id,run_id,pid,tid,born_ns,comm) VALUES(?,?,?,?,?,?)"
			   " ON CONFLICT(id) DO UPDATE SET comm=excluded.comm",
	[MON_STORE_TASK_FIND] =
		"SELECT id FROM task WHERE run_id=? AND pid=? AND tid=? AND born_ns=?",
	[MON_STORE_SET_ASIDE] =
		"INSERT INTO set_aside(run_id,ring,position,why,record) VALUES(?,?,?,?,?)",
	[MON_STORE_BATCH] =
		"INSERT INTO batch(run_id,first_call,last_call,from_ns,to_ns) VALUES(?,?,?,?,?)",
	[MON_STORE_MARK] = "INSERT OR REPLACE INTO mark(run_id,ring,position) VALUES(?,?,?)",
	[MON_STORE_CLOCK] = "INSERT OR REPLACE INTO clock(run_id,at_ns,wall_ns) VALUES(?,?,?)",
	[MON_STORE_TOTAL] =
		"INSERT INTO function_total(function_id,wanted_ns,armed_ns,calls,returns,failed,"
		"total_ns,self_ns,min_ns,max_ns,histogram,estimated,wanted_own_ns,armed_own_ns)"
		" VALUES(?,?,?,?,?,?,?,?,?,?,?,?,nullif(?,0),nullif(?,0)) ON CONFLICT"
		" DO UPDATE SET wanted_ns=excluded.wanted_ns, armed_ns=excluded.armed_ns,"
		" calls=excluded.calls, returns=excluded.returns, failed=excluded.failed,"
		" total_ns=excluded.total_ns, self_ns=excluded.self_ns, min_ns=excluded.min_ns,"
		" max_ns=excluded.max_ns, histogram=coalesce(excluded.histogram,histogram),"
		" estimated=max(excluded.estimated,coalesce(estimated,0)),"
		" wanted_own_ns=excluded.wanted_own_ns, armed_own_ns=excluded.armed_own_ns",
	[MON_STORE_COVERAGE] =
		"INSERT OR REPLACE INTO coverage(function_id,from_ns,to_ns,why) VALUES(?,?,?,?)",
	/* Parts in ten thousand: no type of ours is a fraction. */
	[MON_STORE_OVERHEAD] = "UPDATE run SET overhead_limit=?2/10000.0, probe_cost_ns=?3,"
			       " own_cpu_ns=?4 WHERE id=?1",
	[MON_STORE_WANTED] = "UPDATE run SET wanted_ns=?2 WHERE id=?1",
	[MON_STORE_INTERVAL] =
		"INSERT OR REPLACE INTO function_interval(function_id,start_ns,length_ns,armed_ns,"
		"calls,returns,failed,total_ns,self_ns,max_ns,histogram)"
		" VALUES(?,?,?,?,?,?,?,?,?,?,?)",
	[MON_STORE_LEDGER] =
		"INSERT INTO ledger(function_id,reason_id,count,from_ns,to_ns) VALUES(?,?,?,?,?)"
		" ON CONFLICT DO UPDATE"
		" SET count=excluded.count, from_ns=coalesce(from_ns,excluded.from_ns),"
		" to_ns=coalesce(excluded.to_ns,to_ns)",
	/* A transition has no other identity than its time, and a tick may be written again. */
	[MON_STORE_TRANSITION] =
		"INSERT INTO breaker_event(run_id,at_ns,from_state,to_state,cause,error_code)"
		" SELECT ?1,?2,?3,?4,?5,?6 WHERE NOT EXISTS(SELECT 1 FROM breaker_event"
		" WHERE run_id=?1 AND at_ns=?2 AND to_state=?4)",
	[MON_STORE_RUN_END] = "UPDATE run SET ended_ns=?2, end_reason=?3, target_status=?4,"
			      " complete=?5 WHERE id=?1",
};

const enum mon_reason mon_store_credit_reason[MON_STORE_CREDITS] = {
	[MON_STORE_CREDIT_STORED] = MON_REASON_STORED,
	[MON_STORE_CREDIT_SET_ASIDE] = MON_REASON_SET_ASIDE,
	[MON_STORE_CREDIT_IN_FLIGHT] = MON_REASON_IN_FLIGHT,
	[MON_STORE_CREDIT_UNWOUND] = MON_REASON_UNWOUND,
	[MON_STORE_CREDIT_UNRETURNED] = MON_REASON_UNRETURNED,
};

/* What one transaction gathers on its way. */
struct writing {
	struct mon_store *store;
	const struct mon_batch *batch;
	const struct mon_call_event *pending[MON_STORE_ROWS_PER_STATEMENT];
	int64_t pending_task[MON_STORE_ROWS_PER_STATEMENT];
	struct mon_record_parts pending_parts[MON_STORE_ROWS_PER_STATEMENT];
	unsigned pending_count;
	bool parts; /* some pending call has texts or a stack */
	uint64_t rows, set_aside;
	uint64_t ends[MON_STORE_RINGS_MAX]; /* of what the batch holds */
	uint64_t from_ns, to_ns;	    /* of the records' starts */
	int64_t first_call;
	/* The task of the record before: most records are of the same thread. */
	uint32_t pid, tid;
	uint64_t born_ns;
	int64_t task_id;
};

int64_t mon_store_since(const struct mon_store *store, mon_ns at_ns)
{
	return (int64_t)(at_ns - store->started_ns);
}

int mon_store_prepare(struct mon_store *store)
{
	for (int i = 0; i < MON_STORE_STATEMENTS; i++) {
		int code = sqlite3_prepare_v3(store->db, sql[i], -1, SQLITE_PREPARE_PERSISTENT,
					      &store->statements[i], NULL);

		if (code != SQLITE_OK)
			return code;
	}
	return SQLITE_OK;
}

/* To the end, and back to where it can be bound again. */
static int finish(sqlite3_stmt *statement)
{
	(void)sqlite3_step(statement);
	return sqlite3_reset(statement); /* the step's error, extended */
}

int mon_store_run(struct mon_store *store, enum mon_store_statement which, const char *types, ...)
{
	sqlite3_stmt *statement = store->statements[which];
	int code = SQLITE_OK, slot = 1;
	va_list arguments;

	va_start(arguments, types);
	for (const char *type = types; *type && code == SQLITE_OK; type++, slot++) {
		if (*type == 'i') {
			code = sqlite3_bind_int64(statement, slot, va_arg(arguments, int64_t));
		} else if (*type == 'u') {
			code = sqlite3_bind_int64(statement, slot,
						  (int64_t)va_arg(arguments, uint64_t));
		} else if (*type == 't') {
			code = sqlite3_bind_text(statement, slot, va_arg(arguments, const char *),
						 -1, SQLITE_STATIC);
		} else if (*type == 'b') {
			const void *bytes = va_arg(arguments, const void *);

			code = sqlite3_bind_blob64(statement, slot, bytes,
						   va_arg(arguments, size_t), SQLITE_STATIC);
		} else {
			if (*type == 'N') /* a number that is not known */
				(void)va_arg(arguments, uint64_t);
			code = sqlite3_bind_null(statement, slot);
		}
	}
	va_end(arguments);
	return code == SQLITE_OK ? finish(statement) : code;
}

int mon_store_ask(struct mon_store *store, const char *question, int64_t parameter,
		  int64_t *value_out)
{
	sqlite3_stmt *statement = NULL;
	int code = sqlite3_prepare_v2(store->db, question, -1, &statement, NULL);
	int64_t value = 0;

	if (code == SQLITE_OK && sqlite3_bind_parameter_count(statement) > 0)
		code = sqlite3_bind_int64(statement, 1, parameter);
	if (code == SQLITE_OK) {
		if (sqlite3_step(statement) == SQLITE_ROW)
			value = sqlite3_column_int64(statement, 0);
		code = sqlite3_reset(statement);
	}
	(void)sqlite3_finalize(statement);
	if (code == SQLITE_OK)
		*value_out = value;
	return code;
}

void mon_store_forget(struct mon_store *store)
{
	if (store->credits)
		memcpy(store->credits, store->credits_written, store->credit_bytes / 2);
	if (store->tasks)
		memset(store->tasks, 0, MON_STORE_TASK_SLOTS * sizeof(*store->tasks));
	store->task_count = 0;
	store->tasks_forgotten = true;
	mon_store_forget_stacks(store);
}

static struct mon_store_task *task_slot(struct mon_store *store, uint32_t pid, uint32_t tid,
					uint64_t born_ns)
{
	uint64_t hash = (tid ^ born_ns) * 0x9e3779b97f4a7c15ull;
	uint32_t slot = hash >> 50; /* the upper 14 bits */

	_Static_assert(MON_STORE_TASK_SLOTS == 1 << 14, "the shift");
	for (;; slot++) {
		struct mon_store_task *task = &store->tasks[slot & (MON_STORE_TASK_SLOTS - 1)];

		if (!task->id || (task->tid == tid && task->pid == pid && task->born_ns == born_ns))
			return task;
	}
}

static int find_task(struct mon_store *store, uint32_t pid, uint32_t tid, uint64_t born_ns,
		     int64_t *id_out)
{
	sqlite3_stmt *find = store->statements[MON_STORE_TASK_FIND];

	(void)sqlite3_bind_int64(find, 1, store->run_id);
	(void)sqlite3_bind_int64(find, 2, pid);
	(void)sqlite3_bind_int64(find, 3, tid);
	(void)sqlite3_bind_int64(find, 4, mon_store_since(store, born_ns));
	if (sqlite3_step(find) == SQLITE_ROW)
		*id_out = sqlite3_column_int64(find, 0);
	return sqlite3_reset(find);
}

/* The id of a thread's row, which is made if it is new. @comm: what it is called, or NULL. */
static int task_row(struct writing *writing, uint32_t pid, uint32_t tid, uint64_t born_ns,
		    const char *comm, int64_t *id_out)
{
	struct mon_store *store = writing->store;
	struct mon_store_task *task;
	int code = SQLITE_OK;
	int64_t id = 0;

	if (store->task_count >= MON_STORE_TASK_SLOTS / 4 * 3) {
		memset(store->tasks, 0, MON_STORE_TASK_SLOTS * sizeof(*store->tasks));
		store->task_count = 0;
		store->tasks_forgotten = true;
	}
	task = task_slot(store, pid, tid, born_ns);
	if (task->id && !comm) {
		*id_out = task->id;
		return SQLITE_OK;
	}
	id = task->id;
	if (!id && store->tasks_forgotten)
		code = find_task(store, pid, tid, born_ns, &id);
	if (code == SQLITE_OK && (!id || comm)) {
		int64_t row = id ? id : store->task_next_id++;

		code = mon_store_run(store, MON_STORE_TASK, comm ? "iiiiit" : "iiiiin", row,
				     store->run_id, (int64_t)pid, (int64_t)tid,
				     mon_store_since(store, born_ns), comm);
		id = row;
	}
	if (code != SQLITE_OK)
		return code;
	if (!task->id) {
		*task = (struct mon_store_task){born_ns, pid, tid, id};
		store->task_count++;
	}
	*id_out = id;
	return SQLITE_OK;
}

static void bind_call(sqlite3_stmt *statement, int slot, const struct writing *writing, unsigned at)
{
	const struct mon_call_event *call = writing->pending[at];
	const struct mon_store *store = writing->store;

	(void)sqlite3_bind_int64(statement, slot, mon_store_since(store, call->start_ns));
	if (call->flags & MON_CALL_UNFINISHED) {
		(void)sqlite3_bind_null(statement, slot + 1);
		(void)sqlite3_bind_null(statement, slot + 2);
		(void)sqlite3_bind_null(statement, slot + 9);
	} else {
		/* Read on two CPUs: a child may seem a little longer than its caller. */
		uint64_t child_ns =
			call->child_ns < call->duration_ns ? call->child_ns : call->duration_ns;

		(void)sqlite3_bind_int64(statement, slot + 1, (int64_t)call->duration_ns);
		if (call->flags & MON_CALL_SELF_UNKNOWN)
			(void)sqlite3_bind_null(statement, slot + 2);
		else
			(void)sqlite3_bind_int64(statement, slot + 2, (int64_t)child_ns);
		(void)sqlite3_bind_int64(statement, slot + 9, (int64_t)call->ret);
	}
	(void)sqlite3_bind_int64(statement, slot + 3, store->function_base + call->function);
	if (call->caller == MON_FUNCTION_NONE)
		(void)sqlite3_bind_null(statement, slot + 4);
	else
		(void)sqlite3_bind_int64(statement, slot + 4, store->function_base + call->caller);
	(void)sqlite3_bind_int64(statement, slot + 5, writing->pending_task[at]);
	(void)sqlite3_bind_int64(statement, slot + 6, call->depth);
	(void)sqlite3_bind_int64(statement, slot + 7, call->weight);
	(void)sqlite3_bind_int64(statement, slot + 8, call->flags);
	/* How many there are is one number for a run: the others stay as they were, NULL. */
	for (unsigned i = 0; i < call->arg_count; i++)
		(void)sqlite3_bind_int64(statement, slot + 10 + (int)i, (int64_t)call->args[i]);
}

/* The texts of one call. They say themselves how long they are; @bytes is not passed. */
static int write_texts(struct mon_store *store, int64_t call_id, const char *at, uint32_t bytes)
{
	int code = SQLITE_OK;

	while (bytes >= sizeof(struct mon_text) && code == SQLITE_OK) {
		const struct mon_text *text = (const struct mon_text *)at;
		uint32_t stride = (uint32_t)sizeof(*text) + text->room_bytes;

		if (stride > bytes || text->stored_bytes > text->room_bytes)
			return SQLITE_CONSTRAINT; /* the ring lets none through: set aside */
		code = text->flags & MON_TEXT_TRUE_UNKNOWN
			       ? mon_store_run(store, MON_STORE_CALL_TEXT, "iinb", call_id,
					       (int64_t)text->slot, (const void *)text->bytes,
					       (size_t)text->stored_bytes)
			       : mon_store_run(store, MON_STORE_CALL_TEXT, "iiub", call_id,
					       (int64_t)text->slot, text->true_bytes,
					       (const void *)text->bytes,
					       (size_t)text->stored_bytes);
		at += stride;
		bytes -= stride;
	}
	return code;
}

/* Ids of the calls that were inserted last follow each other: no other connection writes. */
static int write_pending_parts(struct writing *writing)
{
	struct mon_store *store = writing->store;
	int64_t first = sqlite3_last_insert_rowid(store->db) - writing->pending_count + 1;
	int code = SQLITE_OK;

	for (unsigned i = 0; i < writing->pending_count && code == SQLITE_OK; i++) {
		const struct mon_record_parts *parts = &writing->pending_parts[i];

		if (parts->text_bytes)
			code = write_texts(store, first + i, parts->texts, parts->text_bytes);
		if (parts->stack && code == SQLITE_OK)
			code = mon_store_write_stack(store, first + i, writing->pending[i]->pid,
						     parts->stack);
	}
	writing->parts = false;
	return code;
}

static int flush_pending(struct writing *writing)
{
	struct mon_store *store = writing->store;
	unsigned count = writing->pending_count;
	sqlite3_stmt *statement;
	int code = SQLITE_OK;

	if (count == MON_STORE_ROWS_PER_STATEMENT) {
		statement = store->statements[MON_STORE_CALLS];
		for (unsigned i = 0; i < count; i++)
			bind_call(statement, 1 + (int)i * CALL_COLUMN_COUNT, writing, i);
		code = finish(statement);
	} else {
		statement = store->statements[MON_STORE_CALL];
		for (unsigned i = 0; i < count && code == SQLITE_OK; i++) {
			bind_call(statement, 1, writing, i);
			code = finish(statement);
		}
	}
	if (code != SQLITE_OK || !count)
		return code;
	if (!writing->first_call)
		writing->first_call = sqlite3_last_insert_rowid(store->db) - count + 1;
	writing->rows += count;
	if (writing->parts)
		code = write_pending_parts(writing);
	writing->pending_count = 0;
	return code;
}

static enum mon_store_credit credit_of(uint16_t flags)
{
	if (!(flags & (MON_CALL_UNFINISHED & ~MON_CALL_ENTRY_ONLY)))
		return MON_STORE_CREDIT_STORED;
	if (flags & MON_CALL_UNWOUND)
		return MON_STORE_CREDIT_UNWOUND;
	if (flags & MON_CALL_IN_FLIGHT)
		return MON_STORE_CREDIT_IN_FLIGHT;
	return MON_STORE_CREDIT_UNRETURNED;
}

static int write_call(struct writing *writing, const struct mon_record *record)
{
	const struct mon_call_event *call = record->data;
	struct mon_store *store = writing->store;
	struct mon_record_parts parts = mon_record_parts(call, record->size_bytes);

	if (call->tid != writing->tid || call->pid != writing->pid ||
	    call->born_ns != writing->born_ns || !writing->task_id) {
		int code = task_row(writing, call->pid, call->tid, call->born_ns, NULL,
				    &writing->task_id);

		if (code != SQLITE_OK)
			return code;
		writing->pid = call->pid;
		writing->tid = call->tid;
		writing->born_ns = call->born_ns;
	}
	writing->parts |= parts.text_bytes || parts.stack;
	writing->pending_parts[writing->pending_count] = parts;
	writing->pending_task[writing->pending_count] = writing->task_id;
	writing->pending[writing->pending_count++] = call;
	store->credits[call->function * MON_STORE_CREDITS + credit_of(call->flags)]++;
	if (call->start_ns < writing->from_ns)
		writing->from_ns = call->start_ns;
	if (call->start_ns > writing->to_ns)
		writing->to_ns = call->start_ns;
	return writing->pending_count == MON_STORE_ROWS_PER_STATEMENT ? flush_pending(writing)
								      : SQLITE_OK;
}

static int write_task(struct writing *writing, const struct mon_task_event *event)
{
	char comm[MON_EVENT_COMM_BYTES + 1];
	int64_t id;

	memcpy(comm, event->comm, MON_EVENT_COMM_BYTES);
	comm[MON_EVENT_COMM_BYTES] = '\0';
	return task_row(writing, event->pid, event->tid, event->born_ns, comm, &id);
}

/* Kept as it came, for whoever wants to know what was wrong with it. */
static int set_aside(struct writing *writing, const struct mon_record *record, const char *why)
{
	struct mon_store *store = writing->store;
	const struct mon_call_event *call = record->data;
	size_t bytes = record->size_bytes < MON_STORE_SET_ASIDE_BYTES ? record->size_bytes
								      : MON_STORE_SET_ASIDE_BYTES;

	writing->set_aside++;
	/* Whose call it was can be told when the record got as far as naming it. */
	if (record->data && record->size_bytes >= MON_CALL_EVENT_BARE_BYTES &&
	    (call->kind == MON_EVENT_CALL || call->kind == MON_EVENT_CALL_TEXT ||
	     call->kind == MON_EVENT_CALL_STACK) &&
	    call->function < store->function_count)
		store->credits[call->function * MON_STORE_CREDITS + MON_STORE_CREDIT_SET_ASIDE]++;
	return mon_store_run(store, MON_STORE_SET_ASIDE, "iiutb", store->run_id,
			     (int64_t)record->ring, record->position, why, record->data, bytes);
}

static int write_records(struct writing *writing)
{
	const struct mon_batch *batch = writing->batch;
	const uint64_t *marks = writing->store->marks;
	int code = SQLITE_OK;

	for (size_t i = 0; i < batch->count && code == SQLITE_OK; i++) {
		const struct mon_record *record = &batch->records[i];

		if (record->ring >= MON_STORE_RINGS_MAX)
			return SQLITE_MISUSE;
		writing->ends[record->ring] = record->end;
		if (record->end <= marks[record->ring])
			continue;
		if (record->invalid)
			code = set_aside(writing, record,
					 record->invalid == EBADMSG ? "size" : "fields");
		else if (*(const uint8_t *)record->data == MON_EVENT_TASK)
			code = write_task(writing, record->data);
		else
			code = write_call(writing, record);
	}
	if (code == SQLITE_OK)
		code = flush_pending(writing);
	return code;
}

static int write_marks(struct writing *writing)
{
	struct mon_store *store = writing->store;
	int code = SQLITE_OK;

	if (writing->rows)
		code = mon_store_run(store, MON_STORE_BATCH, "iiiii", store->run_id,
				     writing->first_call,
				     writing->first_call + (int64_t)writing->rows - 1,
				     mon_store_since(store, writing->from_ns),
				     mon_store_since(store, writing->to_ns));
	for (int64_t ring = 0; ring < MON_STORE_RINGS_MAX && code == SQLITE_OK; ring++)
		if (writing->ends[ring] > store->marks[ring])
			code = mon_store_run(store, MON_STORE_MARK, "iiu", store->run_id, ring,
					     writing->ends[ring]);
	return code;
}

static int write_credits(struct writing *writing)
{
	struct mon_store *store = writing->store;
	int code = SQLITE_OK;

	if (!writing->rows && !writing->set_aside)
		return SQLITE_OK;
	for (uint64_t i = 0; i < store->function_count * (uint64_t)MON_STORE_CREDITS; i++) {
		if (store->credits[i] == store->credits_written[i])
			continue;
		/* What was set aside has no time that could be believed. */
		code = mon_store_run(store, MON_STORE_LEDGER, writing->rows ? "iiuii" : "iiunn",
				     store->function_base + (int64_t)(i / MON_STORE_CREDITS),
				     (int64_t)mon_store_credit_reason[i % MON_STORE_CREDITS],
				     store->credits[i], mon_store_since(store, writing->from_ns),
				     mon_store_since(store, writing->to_ns));
		if (code != SQLITE_OK)
			return code;
	}
	return code;
}

static int write_total(struct mon_store *store, const struct mon_total *total)
{
	uint64_t estimated = (total->marks & MON_MARK_ESTIMATED) != 0;
	bool self = !(total->marks & MON_MARK_SELF_UNKNOWN);
	bool failed = store->functions.functions[total->function].failed_if;
	char types[] = "iuuuu?u?uubuuu";

	types[5] = failed ? 'u' : 'N';
	types[7] = self ? 'u' : 'N';
	/* Without a return there are no times: NULL, not 0. */
	if (!total->returns)
		memcpy(types + 6, "nnnnn", 5);
	if (!total->returns)
		return mon_store_run(store, MON_STORE_TOTAL, types,
				     store->function_base + total->function, total->wanted_ns,
				     total->armed_ns, total->calls, total->returns, total->failed,
				     estimated, total->wanted_own_ns, total->armed_own_ns);
	return mon_store_run(store, MON_STORE_TOTAL, types, store->function_base + total->function,
			     total->wanted_ns, total->armed_ns, total->calls, total->returns,
			     total->failed, total->total_ns, total->self_ns, total->min_ns,
			     total->max_ns, (const void *)total->histogram, total->histogram_bytes,
			     estimated, total->wanted_own_ns, total->armed_own_ns);
}

static int write_interval(struct mon_store *store, const struct mon_interval *interval)
{
	char types[] = "iiuuuu?u?ub"; /* failed and self may be unknown */

	types[6] = store->functions.functions[interval->function].failed_if ? 'u' : 'N';
	types[8] = interval->marks & MON_MARK_SELF_UNKNOWN ? 'N' : 'u';
	/* Buckets may come without a return: one that ran ahead of its counters. */
	if (!interval->returns && !interval->histogram_bytes)
		memcpy(types + 7, "nnnn", 4);
	if (!interval->returns && !interval->histogram_bytes)
		return mon_store_run(
			store, MON_STORE_INTERVAL, types, store->function_base + interval->function,
			mon_store_since(store, interval->start_ns), interval->length_ns,
			interval->armed_ns, interval->calls, interval->returns, interval->failed);
	return mon_store_run(
		store, MON_STORE_INTERVAL, types, store->function_base + interval->function,
		mon_store_since(store, interval->start_ns), interval->length_ns, interval->armed_ns,
		interval->calls, interval->returns, interval->failed, interval->total_ns,
		interval->self_ns, interval->max_ns, (const void *)interval->histogram,
		interval->histogram_bytes);
}

static int write_tick(struct mon_store *store, const struct mon_tick *tick)
{
	int code = SQLITE_OK;

	if (tick->clock_row)
		code = mon_store_run(store, MON_STORE_CLOCK, "iii", store->run_id,
				     mon_store_since(store, tick->at_ns), (int64_t)tick->wall_ns);
	for (size_t i = 0; i < tick->total_count && code == SQLITE_OK; i++)
		code = write_total(store, &tick->totals[i]);
	for (size_t i = 0; i < tick->interval_count && code == SQLITE_OK; i++)
		code = write_interval(store, &tick->intervals[i]);
	for (size_t i = 0; i < tick->coverage_count && code == SQLITE_OK; i++)
		code = mon_store_run(store, MON_STORE_COVERAGE, "iiit",
				     store->function_base + tick->coverage[i].function,
				     mon_store_since(store, tick->coverage[i].from_ns),
				     mon_store_since(store, tick->coverage[i].to_ns),
				     tick->coverage[i].why);
	if (tick->overhead.limit > 0 && code == SQLITE_OK)
		code = mon_store_run(store, MON_STORE_OVERHEAD, "iiuu", store->run_id,
				     (int64_t)(tick->overhead.limit * 10000 + 0.5),
				     tick->overhead.cost_ns, tick->overhead.own_ns);
	if (tick->wanted_ns && code == SQLITE_OK)
		code = mon_store_run(store, MON_STORE_WANTED, "iu", store->run_id, tick->wanted_ns);
	for (size_t i = 0; i < tick->entry_count && code == SQLITE_OK; i++) {
		const struct mon_ledger_entry *entry = &tick->entries[i];

		/* One that has not grown since a resume knows no times: the file's stay. */
		code = mon_store_run(store, MON_STORE_LEDGER, entry->from_ns ? "iiuii" : "iiunn",
				     store->function_base + entry->function, (int64_t)entry->reason,
				     entry->count, mon_store_since(store, entry->from_ns),
				     mon_store_since(store, entry->to_ns));
	}
	return code;
}

static int write_transitions(struct mon_store *store, const struct mon_batch *batch)
{
	int code = SQLITE_OK;

	for (size_t i = 0; i < batch->transition_count && code == SQLITE_OK; i++) {
		const struct mon_breaker_transition *transition = &batch->transitions[i];

		code = mon_store_run(store, MON_STORE_TRANSITION, "iittti", store->run_id,
				     mon_store_since(store, transition->at_ns),
				     mon_breaker_state_name(transition->from),
				     mon_breaker_state_name(transition->to), transition->cause,
				     (int64_t)transition->error);
	}
	return code;
}

/* The WAL only shrinks by this. A reader may keep part of it: tried again after as much growth. */
static int checkpoint(struct mon_store *store)
{
	int frames = 0, written = 0, code;

	if (store->wal_used_bytes < store->wal_checkpoint_bytes)
		return SQLITE_OK;
	code = sqlite3_wal_checkpoint_v2(store->db, NULL, SQLITE_CHECKPOINT_PASSIVE, &frames,
					 &written);
	if (code == SQLITE_BUSY || code == SQLITE_LOCKED)
		code = SQLITE_OK;
	if (code != SQLITE_OK)
		return code;
	store->stats.checkpoints++;
	store->wal_checkpoint_bytes =
		store->wal_limit_bytes + (written < frames ? store->wal_used_bytes : 0);
	store->wal_used_bytes = 0; /* until the next commit says */
	return SQLITE_OK;
}

static int write_all(struct writing *writing)
{
	struct mon_store *store = writing->store;
	const struct mon_batch *batch = writing->batch;
	int code = mon_store_run(store, MON_STORE_BEGIN, "");

	if (code == SQLITE_OK)
		code = write_records(writing);
	if (code == SQLITE_OK)
		code = write_marks(writing);
	if (code == SQLITE_OK)
		code = write_credits(writing);
	if (code == SQLITE_OK && batch->tick)
		code = write_tick(store, batch->tick);
	if (code == SQLITE_OK)
		code = write_transitions(store, batch);
	MON_CRASH_POINT("committing");
	if (code == SQLITE_OK)
		code = mon_store_run(store, MON_STORE_COMMIT, "");
	return code;
}

/* A file that was moved takes commits and they are gone with it; only this tells. */
static bool has_moved(struct mon_store *store)
{
	int moved = 0;

	return sqlite3_file_control(store->db, NULL, SQLITE_FCNTL_HAS_MOVED, &moved) == SQLITE_OK &&
	       moved;
}

static void committed(struct mon_store *store, const struct writing *writing)
{
	if (writing->rows || writing->set_aside)
		memcpy(store->credits_written, store->credits, store->credit_bytes / 2);
	for (size_t ring = 0; ring < MON_STORE_RINGS_MAX; ring++)
		if (writing->ends[ring] > store->marks[ring])
			store->marks[ring] = writing->ends[ring];
	store->stats.rows += writing->rows;
	store->stats.set_aside += writing->set_aside;
	store->stats.commits++;
	store->stats.wal_alarm =
		store->wal_used_bytes > MON_STORE_WAL_ALARM * store->wal_limit_bytes;
	/* By its size the file is full for good; by the file system's only until there is room. */
	store->stats.size_why =
		mon_store_file_full(&store->file, store->options.size_max_bytes,
				    &store->stats.file_bytes, &store->stats.wal_bytes);
	store->stats.size_reached = store->stats.size_why;
}

static int push_once(struct mon_store *store, const struct mon_batch *batch)
{
	struct writing writing = {.store = store, .batch = batch, .from_ns = UINT64_MAX};
	int code = mon_store_look(store), asked;

	if (code == SQLITE_OK && !store->db)
		code = mon_store_connect(store);
	if (code == SQLITE_OK)
		code = checkpoint(store);
	if (code == SQLITE_OK)
		code = write_all(&writing);
	if (code == SQLITE_OK && has_moved(store))
		code = SQLITE_READONLY_DBMOVED;
	if (code == SQLITE_OK) {
		committed(store, &writing);
		if (store->options.on_committed && batch->count)
			store->options.on_committed(store->options.context, batch);
		return SQLITE_OK;
	}
	if (store->db) {
		/* Some errors have rolled back already
		 * (https://www.sqlite.org/lang_transaction.html). */
		if (!sqlite3_get_autocommit(store->db))
			(void)sqlite3_exec(store->db, "ROLLBACK", NULL, NULL, NULL);
		store->stats.rollbacks++;
		mon_store_forget(store);
	}
	/* It took the commit with it: what is in its WAL should not stay behind. */
	if (code == SQLITE_READONLY_DBMOVED)
		(void)mon_store_look(store);
	asked = mon_store_judge(store, code);
	switch (mon_store_errno(code)) {
	case -EBUSY:
	case -ENOSPC:
	case -ENOMEM:
	case -EBADMSG:
		break;
	default:
		/* What the file holds now is not known: asked when it is opened again. */
		mon_store_disconnect(store, true);
	}
	return asked;
}

static int set_aside_alone(struct mon_store *store, const struct mon_batch *batch)
{
	struct mon_record refused = batch->records[0];
	struct mon_batch alone = *batch;

	refused.invalid = EPROTO;
	alone.records = &refused;
	return push_once(store, &alone);
}

/* Halves a batch with a record that SQLite refuses until that one is alone. */
static int push_halved(struct mon_store *store, const struct mon_batch *batch)
{
	int code = push_once(store, batch);
	struct mon_batch first, second;

	if (mon_store_errno(code) != -EBADMSG || !batch->count)
		return code;
	if (batch->count == 1)
		return set_aside_alone(store, batch);
	first = (struct mon_batch){.records = batch->records, .count = batch->count / 2};
	second = *batch;
	second.records += first.count;
	second.count -= first.count;
	code = push_halved(store, &first);
	return code == SQLITE_OK ? push_halved(store, &second) : code;
}

int mon_store_push(struct mon_store *store, const struct mon_batch *batch)
{
	mon_ns from_ns = mon_clock_now(store->options.clock);
	uint64_t length_ns;
	int code;

	if (!store->run_id)
		return mon_store_failed(store, SQLITE_MISUSE);
	code = store->doubt ? mon_store_judge(store, mon_store_recover(store)) : SQLITE_OK;
	if (code == SQLITE_OK)
		code = push_halved(store, batch);
	length_ns = mon_clock_now(store->options.clock) - from_ns;
	if (length_ns > store->stats.longest_push_ns)
		store->stats.longest_push_ns = length_ns;
	return code == SQLITE_OK ? 0 : mon_store_failed(store, code);
}

uint64_t mon_store_credited(const struct mon_store *store, uint32_t function,
			    enum mon_reason reason)
{
	for (unsigned i = 0; i < MON_STORE_CREDITS; i++)
		if (mon_store_credit_reason[i] == reason)
			return store->credits_written[function * MON_STORE_CREDITS + i];
	return 0;
}
