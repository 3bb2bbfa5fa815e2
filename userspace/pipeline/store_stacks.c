// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A record's return addresses become a row of `stack`, once for each that differs, and a row of
 * `call_stack`. Addresses are turned into module and offset here, while the process can still be
 * asked, so that a stack says what it says without it. What was learnt of a process is a row of
 * `mapping`: records that come out of a spool when the process is gone are resolved by that.
 *
 * Bounded: MON_STORE_STACK_SLOTS stacks are remembered; when the table is full it is emptied, and a
 * stack may then get a second row. MON_STORE_MAPPINGS_MAX mappings are; the oldest makes room, and
 * the file is asked for what is not among them. Both are copies of what the file holds and are
 * dropped after a ROLLBACK. A process is read when an address is in none of its mappings: at once
 * the first time, then at most each READ_AGAIN_NS for each process that was read lately, so that
 * addresses which are nobody's cost the writer the same however many processes have them; and of
 * more than MON_STORE_ASKED_MAX processes no more than so many a second. Writer thread.
 */
#include "pipeline/store_internal.h"

#include "base/budget.h"

#include <string.h>

#define READ_AGAIN_NS (10 * MON_NS_PER_MS)
#define FRAME_BYTES 12 /* module id and offset, little-endian */

void mon_store_forget_stacks(struct mon_store *store)
{
	if (store->stacks)
		memset(store->stacks, 0, MON_STORE_STACK_SLOTS * sizeof(*store->stacks));
	store->stack_count = 0;
	store->mapping_count = store->mapping_oldest = 0;
	/* What they said went with the ROLLBACK. */
	memset(store->asked, 0, sizeof(store->asked));
}

void mon_store_free_stacks(struct mon_store *store)
{
	mon_budget_free_bytes(store->options.budget, MON_BUDGET_TOTALS, store->stacks,
			      MON_STORE_STACK_SLOTS * sizeof(*store->stacks));
	mon_budget_free_bytes(store->options.budget, MON_BUDGET_TOTALS, store->mappings,
			      MON_STORE_MAPPINGS_MAX * sizeof(*store->mappings));
	store->stacks = NULL;
	store->mappings = NULL;
}

_Static_assert(MON_STORE_STACK_SLOTS * sizeof(struct mon_store_stack) +
			       MON_STORE_MAPPINGS_MAX * sizeof(struct mon_store_mapping) <=
		       MON_BUDGET_STACKS_BYTES,
	       "the plan");

/* Without memory for it each stack gets a row of its own, and addresses stay addresses. */
static void make_tables(struct mon_store *store)
{
	if (!store->stacks)
		store->stacks = mon_budget_calloc(store->options.budget, MON_BUDGET_TOTALS,
						  MON_STORE_STACK_SLOTS * sizeof(*store->stacks));
	if (!store->mappings)
		store->mappings =
			mon_budget_calloc(store->options.budget, MON_BUDGET_TOTALS,
					  MON_STORE_MAPPINGS_MAX * sizeof(*store->mappings));
}

/* --- mappings --------------------------------------------------------------------------- */

static struct mon_store_mapping *find_mapping(struct mon_store *store, uint32_t pid,
					      uint64_t address)
{
	for (uint32_t i = 0; i < store->mapping_count; i++) {
		struct mon_store_mapping *mapping = &store->mappings[i];

		if (mapping->pid == pid && address >= mapping->start && address < mapping->end)
			return mapping;
	}
	return NULL;
}

static void remember(struct mon_store *store, const struct mon_store_mapping *mapping)
{
	/* What it lies over is not there any more. */
	for (uint32_t i = 0; i < store->mapping_count;) {
		const struct mon_store_mapping *other = &store->mappings[i];

		if (other->pid == mapping->pid && other->start < mapping->end &&
		    mapping->start < other->end)
			store->mappings[i] = store->mappings[--store->mapping_count];
		else
			i++;
	}
	if (store->mapping_count < MON_STORE_MAPPINGS_MAX)
		store->mappings[store->mapping_count++] = *mapping;
	else
		store->mappings[store->mapping_oldest++ % MON_STORE_MAPPINGS_MAX] = *mapping;
}

/*
 * The same of what the file knows; with a @path, only of that file. What it has is remembered.
 * *@found_out points into the table, or is NULL.
 */
static int find_in_file(struct mon_store *store, uint32_t pid, uint64_t address, const char *path,
			struct mon_store_mapping **found_out)
{
	sqlite3_stmt *find = store->statements[MON_STORE_MAPPING_FIND];
	struct mon_store_mapping mapping = {.pid = pid};

	*found_out = NULL;
	(void)sqlite3_bind_int64(find, 1, store->run_id);
	(void)sqlite3_bind_int64(find, 2, pid);
	(void)sqlite3_bind_int64(find, 3, (int64_t)address);
	(void)sqlite3_bind_text(find, 4, path, -1, SQLITE_STATIC);
	if (sqlite3_step(find) == SQLITE_ROW) {
		mapping.start = (uint64_t)sqlite3_column_int64(find, 0);
		mapping.end = (uint64_t)sqlite3_column_int64(find, 1);
		mapping.offset = (uint64_t)sqlite3_column_int64(find, 2);
		mapping.module_id = sqlite3_column_int64(find, 3);
	}
	if (address >= mapping.start && address < mapping.end) {
		remember(store, &mapping);
		*found_out = find_mapping(store, pid, address);
	}
	return sqlite3_reset(find);
}

struct learning {
	struct mon_store *store;
	uint32_t pid;
	int code;
};

static int module_row(struct learning *learning, const struct mon_mapping *mapping, int64_t *id_out)
{
	struct mon_store *store = learning->store;
	sqlite3_stmt *find = store->statements[MON_STORE_MODULE_FIND];
	char build_id[MON_BUILD_ID_BYTES];
	int code;

	store->options.mappings->identify(learning->pid, mapping, build_id);
	code = mon_store_run(store, MON_STORE_MODULE, "tt", mapping->path, build_id);
	if (code != SQLITE_OK)
		return code;
	(void)sqlite3_bind_text(find, 1, mapping->path, -1, SQLITE_STATIC);
	(void)sqlite3_bind_text(find, 2, build_id, -1, SQLITE_STATIC);
	if (sqlite3_step(find) == SQLITE_ROW)
		*id_out = sqlite3_column_int64(find, 0);
	return sqlite3_reset(find);
}

static int learn_one(const struct mon_mapping *mapping, void *context)
{
	struct learning *learning = context;
	struct mon_store *store = learning->store;
	struct mon_store_mapping *known = find_mapping(store, learning->pid, mapping->start);
	struct mon_store_mapping row = {
		.pid = learning->pid,
		.start = mapping->start,
		.end = mapping->end,
		.offset = mapping->offset,
		.device = mapping->device,
		.inode = mapping->inode,
	};

	/* Those that come from the file do not say which inode it was, but what it was called. */
	if (mapping->path && !(known && known->inode))
		learning->code =
			find_in_file(store, learning->pid, mapping->start, mapping->path, &known);
	if (known && known->start == row.start && known->end == row.end &&
	    known->offset == row.offset &&
	    (known->inode ? known->inode == row.inode && known->device == row.device
			  : (known->module_id != 0) == (mapping->path != NULL))) {
		known->inode = row.inode;
		known->device = row.device;
		return 0;
	}
	if (learning->code == SQLITE_OK)
		learning->code = mon_store_run(store, MON_STORE_MAPPING_GONE, "iiuu", store->run_id,
					       (int64_t)row.pid, row.start, row.end);
	if (learning->code == SQLITE_OK && mapping->path)
		learning->code = module_row(learning, mapping, &row.module_id);
	if (learning->code == SQLITE_OK && row.module_id)
		learning->code = mon_store_run(store, MON_STORE_MAPPING, "iiuuui", store->run_id,
					       (int64_t)row.pid, row.start, row.end, row.offset,
					       row.module_id);
	if (learning->code == SQLITE_OK)
		remember(store, &row);
	return learning->code;
}

/* Where it is noted that @pid was read; NULL: it is not to be read now. */
static struct mon_store_asked *asked_slot(struct mon_store *store, uint32_t pid, mon_ns now)
{
	struct mon_store_asked *mine = NULL, *oldest = &store->asked[0];
	uint64_t lately = 0;

	for (size_t i = 0; i < MON_STORE_ASKED_MAX; i++) {
		struct mon_store_asked *asked = &store->asked[i];

		if (asked->pid == pid)
			mine = asked;
		if (asked->at_ns < oldest->at_ns)
			oldest = asked;
		lately += asked->pid && now - asked->at_ns < MON_NS_PER_S;
	}
	if (mine)
		return now - mine->at_ns < lately * READ_AGAIN_NS ? NULL : mine;
	return lately == MON_STORE_ASKED_MAX ? NULL : oldest;
}

/* A process that is gone has nothing to tell: no error. */
static int learn(struct mon_store *store, uint32_t pid)
{
	struct learning learning = {.store = store, .pid = pid};

	if (store->options.mappings)
		(void)store->options.mappings->read(pid, learn_one, &learning);
	return learning.code;
}

int mon_store_map_process(struct mon_store *store, uint32_t pid)
{
	int code = store->run_id && store->db ? SQLITE_OK : SQLITE_MISUSE;

	make_tables(store);
	if (!store->mappings)
		return 0;
	if (code == SQLITE_OK)
		code = mon_store_run(store, MON_STORE_BEGIN, "");
	if (code == SQLITE_OK)
		code = learn(store, pid);
	if (code == SQLITE_OK)
		code = mon_store_run(store, MON_STORE_COMMIT, "");
	if (code == SQLITE_OK)
		return 0;
	if (store->db && !sqlite3_get_autocommit(store->db))
		(void)sqlite3_exec(store->db, "ROLLBACK", NULL, NULL, NULL);
	mon_store_forget(store);
	return mon_store_failed(store, code);
}

/* *@known_out: false when the process may know more than could be asked now. */
static int resolve(struct mon_store *store, uint32_t pid, uint64_t *address, int64_t *module_id_out,
		   bool *known_out)
{
	struct mon_store_mapping *mapping;
	int code = SQLITE_OK;

	*module_id_out = 0;
	if (!store->mappings)
		return SQLITE_OK;
	mapping = find_mapping(store, pid, *address);
	if (!mapping)
		code = find_in_file(store, pid, *address, NULL, &mapping);
	if (code == SQLITE_OK && !mapping && store->options.mappings) {
		mon_ns now = mon_clock_now(store->options.clock);
		struct mon_store_asked *asked = asked_slot(store, pid, now);

		if (asked) {
			*asked = (struct mon_store_asked){.at_ns = now, .pid = pid};
			code = learn(store, pid);
			mapping = find_mapping(store, pid, *address);
		} else {
			*known_out = false;
		}
	}
	if (code == SQLITE_OK && mapping && mapping->module_id) {
		*address += mapping->offset - mapping->start;
		*module_id_out = mapping->module_id;
	}
	return code;
}

/* --- stacks ----------------------------------------------------------------------------- */

static uint64_t hash_of(uint32_t pid, const struct mon_stack *stack)
{
	uint64_t hash = pid + 0x9e3779b97f4a7c15ull * (stack->frame_count + 1ull);

	/* The mixer of SplitMix64, over each address. */
	for (unsigned i = 0; i < stack->frame_count; i++) {
		hash = (hash ^ stack->frames[i]) + 0x9e3779b97f4a7c15ull;
		hash = (hash ^ (hash >> 30)) * 0xbf58476d1ce4e5b9ull;
		hash = (hash ^ (hash >> 27)) * 0x94d049bb133111ebull;
		hash ^= hash >> 31;
	}
	return hash ? hash : 1;
}

/* Where the stack is remembered, or could be; NULL without a table. */
static struct mon_store_stack *stack_slot(struct mon_store *store, uint64_t hash)
{
	_Static_assert(MON_STORE_STACK_SLOTS == 1 << 14, "the shift");
	if (!store->stacks)
		return NULL;
	if (store->stack_count >= MON_STORE_STACK_SLOTS / 4 * 3) {
		memset(store->stacks, 0, MON_STORE_STACK_SLOTS * sizeof(*store->stacks));
		store->stack_count = 0;
	}
	for (uint64_t slot = hash >> 50;; slot++) {
		struct mon_store_stack *here = &store->stacks[slot & (MON_STORE_STACK_SLOTS - 1)];

		if (!here->id || here->hash == hash)
			return here;
	}
}

static void put_number(uint8_t *bytes, uint64_t number, int count)
{
	for (int i = 0; i < count; i++)
		bytes[i] = (uint8_t)(number >> 8 * i);
}

static int stack_row(struct mon_store *store, uint32_t pid, const struct mon_stack *stack,
		     int64_t *id_out, bool *known_out)
{
	uint8_t frames[MON_STACK_FRAMES_MAX * FRAME_BYTES];
	int code = SQLITE_OK;

	for (unsigned i = 0; i < stack->frame_count && code == SQLITE_OK; i++) {
		uint64_t address = stack->frames[i];
		int64_t module_id;

		code = resolve(store, pid, &address, &module_id, known_out);
		put_number(frames + i * FRAME_BYTES, (uint64_t)module_id, 4);
		put_number(frames + i * FRAME_BYTES + 4, address, 8);
	}
	if (code == SQLITE_OK)
		code = mon_store_run(store, MON_STORE_STACK, "ib", store->run_id,
				     (const void *)frames,
				     (size_t)stack->frame_count * FRAME_BYTES);
	if (code == SQLITE_OK)
		*id_out = sqlite3_last_insert_rowid(store->db);
	return code;
}

int mon_store_write_stack(struct mon_store *store, int64_t call_id, uint32_t pid,
			  const struct mon_stack *stack)
{
	uint64_t hash = hash_of(pid, stack);
	struct mon_store_stack *slot;
	int64_t id = 0;
	int code = SQLITE_OK;

	if (!stack->frame_count)
		return SQLITE_OK;
	make_tables(store);
	slot = stack_slot(store, hash);
	if (slot)
		id = slot->id;
	if (!id) {
		bool known = true;

		code = stack_row(store, pid, stack, &id, &known);
		if (code == SQLITE_OK && slot && known) {
			*slot = (struct mon_store_stack){.hash = hash, .id = id};
			store->stack_count++;
		}
	}
	if (code == SQLITE_OK)
		code = mon_store_run(store, MON_STORE_CALL_STACK, "ii", call_id, id);
	return code;
}
