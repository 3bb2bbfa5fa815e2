// SPDX-License-Identifier: GPL-2.0-or-later
/* Names become processes, processes become modules, modules become functions. Main thread. */
#include "monitor/watched.h"

#include "attach/return_trap.h"
#include "attach/symbols.h"
#include "base/cleanup.h"
#include "base/text.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static bool has_file(const struct mon_module_list *modules, const struct mon_module *module)
{
	for (size_t i = 0; i < modules->count; i++)
		if (mon_module_same_file(&modules->modules[i], module))
			return true;
	return false;
}

/* Moves what @from has and @into lacks; a file mapped by several processes is one module. */
static int merge(struct mon_module_list *into, struct mon_module_list *from)
{
	struct mon_module *grown =
		reallocarray(into->modules, into->count + from->count, sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	into->modules = grown;
	for (size_t i = 0; i < from->count; i++) {
		struct mon_module *module = &from->modules[i];

		if (has_file(into, module))
			continue;
		grown[into->count++] = *module;
		*module = (struct mon_module){0}; /* its strings are @into's now */
	}
	return 0;
}

static bool is_mapped(const struct mon_module_list *modules, const char *glob)
{
	for (size_t i = 0; i < modules->count; i++)
		if (mon_module_name_match(glob, modules->modules[i].path))
			return true;
	return false;
}

/* Is every library that a glob names mapped? */
static bool libraries_mapped(pid_t pid, void *context)
{
	const struct mon_config *config = context;
	struct mon_module_list modules = {0};
	bool all = true;

	if (mon_modules_of_process(pid, &modules, NULL))
		return false;
	for (size_t i = 0; i < config->glob_count && all; i++) {
		size_t length;

		(void)mon_symbol_glob_split(config->globs[i], &length);
		if (!length)
			continue;
		MON_FREE char *library = strndup(config->globs[i], length);

		all = library && is_mapped(&modules, library);
	}
	mon_module_list_clear(&modules);
	return all;
}

/*
 * Stacks lead through the C library at least, and a command may be gone before it can be asked
 * where that was. A program without a loader (one file is mapped) has none.
 */
static bool stacks_mapped(pid_t pid, void *context)
{
	struct mon_module_list modules = {0};
	bool all = libraries_mapped(pid, context) && !mon_modules_of_process(pid, &modules, NULL) &&
		   (modules.count == 1 || is_mapped(&modules, "libc") ||
		    is_mapped(&modules, "libc.*") || is_mapped(&modules, "ld-musl*"));

	mon_module_list_clear(&modules);
	return all;
}

static int start_command(const struct mon_config *config, struct mon_watched *watched,
			 struct mon_module_list *modules, struct mon_error *error)
{
	struct mon_target *target = &watched->targets[0];
	int result = mon_command_start(config->command, &watched->command, error);

	if (!result)
		result = mon_command_run_until(
			&watched->command, config->stack_frames ? stacks_mapped : libraries_mapped,
			(void *)config, error);
	/* No C library of a name we know: its calls are watched from here. */
	if (result == -ENOENT && config->stack_frames &&
	    libraries_mapped(watched->command.pid, (void *)config))
		result = 0;
	if (!result)
		result = mon_target_open_pid(watched->command.pid, target, error);
	if (result)
		return result;
	watched->target_count = 1;
	(void)snprintf(watched->title, sizeof(watched->title), "%s (pid %d)", target->comm,
		       (int)target->pid);
	return mon_modules_of_process(target->pid, modules, error);
}

static int find_modules(const struct mon_config *config, struct mon_watched *watched,
			struct mon_module_list *modules, struct mon_error *error)
{
	if (config->binary) {
		(void)snprintf(watched->title, sizeof(watched->title), "%.200s (every process)",
			       MON_ESCAPED(config->binary));
		return mon_modules_of_file(config->binary, modules, error);
	}
	if (config->command)
		return start_command(config, watched, modules, error);
	for (size_t i = 0; i < config->target_count; i++) {
		struct mon_target *target = &watched->targets[i];
		struct mon_module_list more = {0};
		size_t used = strlen(watched->title);
		int result = mon_target_open(config->targets[i], target, error);

		if (result)
			return result;
		watched->target_count++;
		(void)snprintf(watched->title + used, sizeof(watched->title) - used,
			       "%s%s (pid %d)", used ? ", " : "", target->comm, (int)target->pid);
		result = mon_modules_of_process(target->pid, &more, error);
		if (!result && merge(modules, &more))
			result = mon_error_set(error, MON_EXIT_RUNTIME, ENOMEM, "out of memory");
		mon_module_list_clear(&more);
		if (result)
			return result;
	}
	return 0;
}

static uint8_t wanted_arguments(const struct mon_config *config)
{
	unsigned wanted = (1u << config->arg_count) - 1;

	for (uint32_t i = 0; i < config->text_count; i++) {
		wanted |= 1u << (config->texts[i].argument - 1);
		if (config->texts[i].length_argument)
			wanted |= 1u << (config->texts[i].length_argument - 1);
	}
	return (uint8_t)wanted;
}

/* One process with a filter is enough: return probes are of the whole run. */
static void look_at_return_trap(struct mon_watched *watched)
{
	for (size_t i = 0; i < watched->target_count && !watched->hazard.found; i++) {
		const struct mon_target *target = &watched->targets[i];
		const char *what = mon_return_trap_check(target->pid);

		if (!what)
			continue;
		watched->hazard.found = true;
		(void)snprintf(watched->hazard.why, sizeof(watched->hazard.why), "process %d: %s",
			       (int)target->pid, what);
	}
}

/* What is looked at while processes go by. */
struct users {
	struct mon_watched *watched;
	struct mon_module_list seen; /* what was found harmless in one is so in the next */
};

/* But the program and what is watched: what they mean depends on the process. */
static void leave_out_seen(const struct users *users, struct mon_module_list *modules)
{
	size_t kept = 1;

	for (size_t i = 1; i < modules->count; i++) {
		struct mon_module *module = &modules->modules[i];

		if (has_file(&users->seen, module) &&
		    !mon_module_is_watched(module, &users->watched->set)) {
			free(module->path);
			free(module->open_path);
			continue;
		}
		modules->modules[kept++] = *module;
	}
	modules->count = kept;
}

static int look_at_user(pid_t pid, void *context)
{
	struct users *users = context;
	struct mon_watched *watched = users->watched;
	struct mon_module_list modules = {0};
	struct mon_hazard hazard = {0};
	const char *what;
	int result = 0;

	if (mon_modules_of_process(pid, &modules, NULL)) /* it ended */
		return 0;
	leave_out_seen(users, &modules);
	mon_hazards_find(&modules, &watched->set, pid, &hazard);
	what = hazard.found ? hazard.why : mon_return_trap_check(pid);
	if (what) {
		watched->hazard.found = true;
		(void)snprintf(watched->hazard.why, sizeof(watched->hazard.why),
			       "process %d: %.480s", (int)pid, what);
		result = 1;
	} else {
		result = merge(&users->seen, &modules);
	}
	mon_module_list_clear(&modules);
	return result;
}

/* One of them is enough, as above. */
static int look_at_users(struct mon_watched *watched, const struct mon_module_list *modules,
			 struct mon_error *error)
{
	struct users users = {.watched = watched};
	int result =
		mon_module_each_user(&modules->modules[0], look_at_user, &users, &watched->unread);

	mon_module_list_clear(&users.seen);
	return result >= 0 ? 0
			   : mon_error_set(error, MON_EXIT_RUNTIME, -result,
					   "which processes have the file mapped cannot be found "
					   "(%s); is /proc mounted?",
					   strerror(-result));
}

int mon_watched_find(const struct mon_config *config, struct mon_watched *watched_out,
		     struct mon_error *error)
{
	const struct mon_symbol_query query = {
		.globs = config->globs,
		.glob_count = config->glob_count,
		.excludes = config->excludes,
		.exclude_count = config->exclude_count,
		.limit = config->functions_max,
		.placement = config->placement,
		.arguments = wanted_arguments(config),
	};
	struct mon_module_list modules = {0};
	int result;

	*watched_out = (struct mon_watched){0};
	result = find_modules(config, watched_out, &modules, error);
	if (!result)
		result = mon_symbols_find(&modules, &query, &watched_out->set, error);
	if (!result)
		mon_hazards_find(&modules, &watched_out->set,
				 /* What has not begun catches no signal yet. */
				 watched_out->target_count && !config->command
					 ? watched_out->targets[0].pid
					 : 0,
				 &watched_out->hazard);
	if (!result && !watched_out->hazard.found)
		look_at_return_trap(watched_out);
	if (!result && config->binary && !watched_out->hazard.found)
		result = look_at_users(watched_out, &modules, error);
	/* Anyone who watches a process that became another one meanwhile is told so. */
	for (size_t i = 0; !result && i < watched_out->target_count; i++)
		if (mon_target_check(&watched_out->targets[i]))
			result = mon_error_set(error, MON_EXIT_UNAVAILABLE, ESRCH,
					       "process %d ended before it was watched",
					       (int)watched_out->targets[i].pid);
	mon_module_list_clear(&modules);
	if (result)
		mon_watched_clear(watched_out);
	return result;
}

void mon_watched_clear(struct mon_watched *watched)
{
	for (size_t i = 0; i < watched->target_count; i++)
		mon_target_close(&watched->targets[i]);
	watched->target_count = 0;
	if (watched->command.held)
		mon_command_kill(&watched->command);
	mon_function_set_clear(&watched->set);
}

uint64_t mon_watched_bytes(const struct mon_watched *watched)
{
	uint64_t bytes = 0;

	for (size_t i = 0; i < watched->set.function_count; i++) {
		const struct mon_function *function = &watched->set.functions[i];

		bytes += sizeof(*function) + strlen(function->symbol) + strlen(function->name) + 64;
	}
	return bytes;
}
