// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * One run at a time, each with a store of its own: what the store knows of a run (marks, credits,
 * threads) is that run's. Main thread; one buffer for a batch, allocated once.
 */
#include "monitor/replay.h"

#include "base/budget.h"
#include "base/cleanup.h"
#include "base/text.h"
#include "control/ledger.h"
#include "monitor/remains.h"
#include "pipeline/spool.h"

#include <errno.h>
#include <string.h>

#define RUNS_MAX 4096
#define BATCH_MAX MON_STORE_BATCH_MAX
#define TRANSITIONS_MAX 64
#define TRIES_MAX 5 /* of a push: a lock is waited for by the store itself */

struct replay {
	const struct mon_replay_options *options;
	struct mon_store *store;
	struct mon_spool *spool;
	struct mon_ledger *ledger;
	struct mon_run_resumed resumed;
	struct mon_record_shape shape;
	struct mon_record *records; /* [BATCH_MAX] */
	void *memory;		    /* MON_BUDGET_BATCH_BYTES */
	struct mon_remains_end end;
	bool ended;
	uint64_t unread; /* last words that no version of ours has */
	struct mon_remains_breaker breakers[TRANSITIONS_MAX]; /* what `transitions` point into */
	struct mon_breaker_transition transitions[TRANSITIONS_MAX];
	size_t transition_count;
	struct mon_replay_run run;
};

static void replay_clear(struct replay *replay)
{
	mon_spool_free(replay->spool);
	mon_store_free(replay->store);
	mon_ledger_free(replay->ledger);
	mon_run_resumed_clear(&replay->resumed);
	replay->spool = NULL;
	replay->store = NULL;
	replay->ledger = NULL;
}

static int resume_ledger(struct replay *replay, struct mon_error *error)
{
	uint32_t count = (uint32_t)replay->resumed.functions.function_count;

	if (mon_ledger_new(count, replay->resumed.run.started_ns, NULL, &replay->ledger))
		return mon_error_set(error, MON_EXIT_RUNTIME, ENOMEM, "out of memory");
	for (uint32_t i = 0; i < count; i++)
		(void)mon_ledger_resume(replay->ledger, i, &replay->resumed.sums[i],
					replay->resumed.last_interval_end_ns);
	return 0;
}

static void take_transition(struct replay *replay, const struct mon_remains_breaker *told)
{
	size_t at = replay->transition_count;

	if (at == TRANSITIONS_MAX)
		return;
	replay->transition_count++;
	replay->breakers[at] = *told;
	replay->breakers[at].cause[sizeof(told->cause) - 1] = '\0';
	replay->transitions[at] = (struct mon_breaker_transition){
		.at_ns = told->at_ns,
		.from = told->from,
		.to = told->to,
		.cause = replay->breakers[at].cause,
		.error = told->error,
	};
}

/* Takes the run's own last words out of a batch and tells the ledger; the rest stays in order. */
static size_t take_remains(struct replay *replay, size_t count)
{
	size_t kept = 0;

	for (size_t i = 0; i < count; i++) {
		struct mon_record *record = &replay->records[i];

		if (mon_remains_is(record, replay->shape.function_count)) {
			if (*(const uint8_t *)record->data == MON_REMAINS_TOTAL) {
				mon_remains_apply(record, replay->ledger);
			} else if (*(const uint8_t *)record->data == MON_REMAINS_BREAKER) {
				take_transition(replay, record->data);
			} else {
				memcpy(&replay->end, record->data, sizeof(replay->end));
				replay->end.reason[sizeof(replay->end.reason) - 1] = '\0';
				replay->ended = true;
			}
			continue;
		}
		replay->unread += mon_remains_is_kind(record);
		if (!record->invalid)
			record->invalid =
				mon_record_check(&replay->shape, record->data, record->size_bytes);
		replay->records[kept++] = *record;
	}
	return kept;
}

static int push(struct replay *replay, const struct mon_batch *batch, struct mon_error *error)
{
	int result, tries = 0;

	do
		result = mon_store_push(replay->store, batch);
	while (result && ++tries < TRIES_MAX);
	return result ? mon_error_set(error, MON_EXIT_UNAVAILABLE, -result,
				      "cannot write %s: %s; what is left stays in %s",
				      MON_ESCAPED(replay->options->output),
				      mon_store_error_text(replay->store),
				      MON_ESCAPED(replay->options->spool_path))
		      : 0;
}

static void release(struct replay *replay, const struct mon_batch *batch)
{
	uint64_t ends[MON_RINGS_MAX] = {0};

	mon_record_ends(batch->records, batch->count, ends);
	for (uint32_t ring = 0; ring < MON_RINGS_MAX; ring++)
		if (ends[ring])
			mon_spool_release(replay->spool, ring, ends[ring]);
}

static int write_records(struct replay *replay, struct mon_error *error)
{
	struct mon_store_stats before, after;
	int unreadable = 0;

	mon_store_stats(replay->store, &before);
	while (!mon_spool_drained(replay->spool)) {
		struct mon_batch batch = {.records = replay->records};
		size_t count = mon_spool_pop(replay->spool, replay->records, BATCH_MAX,
					     replay->memory, MON_BUDGET_BATCH_BYTES);
		int result;

		if (!count && mon_spool_drained(replay->spool))
			break;
		if (!count && ++unreadable == TRIES_MAX)
			return mon_error_set(error, MON_EXIT_UNAVAILABLE, EIO,
					     "%s cannot be read now; what is left stays there",
					     MON_ESCAPED(replay->options->spool_path));
		batch.count = take_remains(replay, count);
		if (!batch.count)
			continue;
		result = push(replay, &batch, error);
		if (result)
			return result;
		/* Remains stay until the end of the run is written. */
		release(replay, &batch);
	}
	mon_store_stats(replay->store, &after);
	replay->run.records = after.rows - before.rows;
	return 0;
}

static uint64_t credited(const void *context, uint32_t function, enum mon_reason reason)
{
	return mon_store_credited(context, function, reason);
}

/* The last counts are there: books, totals and the end of the run. */
static int write_end(struct replay *replay, struct mon_error *error)
{
	struct mon_run_end end = {
		.ended_ns = replay->end.ended_ns,
		.reason = replay->end.reason,
		.target_status = replay->end.target_status,
	};
	struct mon_batch batch = {0};
	struct mon_ledger_sum sum;
	struct mon_tick tick;
	int result;

	for (uint32_t i = 0; replay->run.damaged && i < replay->shape.function_count; i++)
		mon_ledger_set(replay->ledger, i, MON_REASON_SPOOL_DAMAGED,
			       mon_ledger_missing(replay->ledger, i, credited, replay->store));
	result = mon_ledger_take(replay->ledger, end.ended_ns, true, &tick);
	if (result)
		return mon_error_set(error, MON_EXIT_RUNTIME, -result, "the books are in use");
	batch.tick = &tick;
	batch.transitions = replay->transitions;
	batch.transition_count = replay->transition_count;
	result = push(replay, &batch, error);
	if (result)
		return result;
	mon_ledger_check(replay->ledger, credited, replay->store, &sum);
	end.complete = !sum.unbalanced;
	result = mon_store_end(replay->store, &end);
	if (result)
		return mon_error_set(
			error, MON_EXIT_UNAVAILABLE, -result, "cannot end the run in %s: %s",
			MON_ESCAPED(replay->options->output), mon_store_error_text(replay->store));
	replay->run.ended = true;
	replay->run.complete = end.complete && !replay->run.damaged;
	return 0;
}

static int replay_run(struct replay *replay, const char *uuid, struct mon_error *error)
{
	const struct mon_replay_options *options = replay->options;
	const struct mon_store_options store = {
		.path = options->output,
		.durability = options->durability,
		.owner_uid = options->owner_uid,
		.owner_gid = options->owner_gid,
	};
	const struct mon_spool_options spool = {
		.path = options->spool_path,
		.run_uuid = uuid,
		.no_reserve = true,
		.owner_uid = options->owner_uid,
		.owner_gid = options->owner_gid,
	};
	struct mon_store_stats stats;
	struct mon_spool_stats left;
	int result = mon_store_new(&store, &replay->store, error);

	if (result)
		return result;
	result = mon_store_resume(replay->store, uuid, &replay->resumed, error);
	if (result == -ENOENT)
		return 0;
	if (!result)
		result = mon_spool_new(&spool, &replay->spool, error);
	if (!result)
		result = resume_ledger(replay, error);
	if (result)
		return result;
	replay->shape = (struct mon_record_shape){
		.function_count = (uint32_t)replay->resumed.functions.function_count,
		.any_capture = true,
	};
	mon_store_stats(replay->store, &stats);
	replay->run.run_id = stats.run_id;
	for (uint32_t ring = 0; ring < MON_RINGS_MAX; ring++)
		mon_spool_release(replay->spool, ring, mon_store_mark(replay->store, ring));
	/* All of it was committed before its monitor was killed: the run is as it was left. */
	if (mon_spool_drained(replay->spool)) {
		replay->run.nothing = true;
		return 0;
	}
	result = mon_store_reopen_run(replay->store);
	if (result)
		return mon_error_set(error, MON_EXIT_UNAVAILABLE, -result, "cannot write %s: %s",
				     MON_ESCAPED(options->output),
				     mon_store_error_text(replay->store));
	result = write_records(replay, error);
	if (result)
		return result;
	mon_spool_stats(replay->spool, &left);
	replay->run.damaged = left.damaged + replay->unread;
	replay->run.unread = replay->unread;
	if (replay->ended)
		result = write_end(replay, error);
	if (!result)
		mon_spool_release_all(replay->spool);
	return result;
}

int mon_replay(const struct mon_replay_options *options,
	       void (*told)(const struct mon_replay_run *run, void *context), void *context,
	       struct mon_error *error)
{
	MON_FREE struct mon_spool_found *found = calloc(RUNS_MAX, sizeof(*found));
	MON_FREE struct mon_record *records = calloc(BATCH_MAX, sizeof(*records));
	MON_FREE void *memory = calloc(1, MON_BUDGET_BATCH_BYTES);
	size_t count;
	int result;

	if (!found || !records || !memory)
		return mon_error_set(error, MON_EXIT_RUNTIME, ENOMEM, "out of memory");
	result = mon_spool_check(options->spool_path, found, RUNS_MAX, &count, error);
	for (size_t i = 0; i < count && !result; i++) {
		struct replay replay = {.options = options, .records = records, .memory = memory};

		if (!found[i].records && !found[i].damaged)
			continue;
		(void)snprintf(replay.run.uuid, sizeof(replay.run.uuid), "%s", found[i].run_uuid);
		result = replay_run(&replay, found[i].run_uuid, error);
		replay_clear(&replay);
		if (!result)
			told(&replay.run, context);
	}
	return result;
}
