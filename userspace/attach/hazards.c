// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Signs of what a return probe would kill, read from the files that are mapped: imports, notes, and
 * the names of libraries that switch stacks. Main thread, before anything is attached.
 */
#include "attach/hazards.h"

#include "attach/elf.h"
#include "attach/modules.h"
#include "attach/proc.h"
#include "base/text.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

static const struct {
	const char *glob, *what;
} libraries[] = {
	{"libboost_context*", "boost.context switches stacks"},
	{"libboost_coroutine*", "boost.coroutine switches stacks"},
	{"libruby*", "Ruby fibers switch stacks"},
	{"*greenlet*", "greenlet switches stacks"},
};

static const struct {
	const char *symbol, *what;
	bool exceptions; /* matters only in a module with watched functions */
} signs[] = {
	{"makecontext", "it switches stacks (makecontext)", false},
	{"swapcontext", "it switches stacks (swapcontext)", false},
	{"setcontext", "it switches stacks (setcontext)", false},
	{"jump_fcontext", "it switches stacks (boost.context)", false},
	{"ASYNC_start_job", "it switches stacks (OpenSSL's ASYNC jobs)", false},
	/* The unwinder does not get past the kernel's trampoline and calls terminate(). */
	{"__cxa_throw", "it throws C++ exceptions (__cxa_throw)", true},
	{"_Unwind_RaiseException", "it throws exceptions (_Unwind_RaiseException)", true},
	{"_Unwind_Resume", "exceptions pass through it (_Unwind_Resume)", true},
	{"__gxx_personality_v0", "exceptions pass through it (__gxx_personality_v0)", true},
	{"rust_eh_personality", "Rust panics pass through it", true},
};

/*
 * Libraries of the system that have these imports and do not act on their own: libssl and libcrypto
 * switch stacks only for programs that start ASYNC jobs.
 */
static const char *const harmless[] = {"libc.so*",     "libgcc_s*",  "libstdc++*", "ld-linux*",
				       "libpthread*",  "libdl*",     "libm.so*",   "libjemalloc*",
				       "libtcmalloc*", "libcrypto*", "libssl*"};

struct look {
	bool watched;  /* the module has functions that will be probed */
	bool harmless; /* it offers stack switching to others */
	const char *what;
	bool sigaltstack;
};

static int look_at(const struct mon_elf_symbol *symbol, void *context)
{
	struct look *look = context;

	/* A static program has them itself; every one has the unwinder, so that says nothing. */
	if (!symbol->import && (!symbol->function || !strncmp(symbol->name, "_Unwind_", 8)))
		return 0;
	for (size_t i = 0; i < sizeof(signs) / sizeof(signs[0]); i++)
		if ((signs[i].exceptions ? look->watched : !look->harmless) &&
		    strlen(signs[i].symbol) == symbol->name_length &&
		    !strncmp(symbol->name, signs[i].symbol, symbol->name_length)) {
			look->what = signs[i].what;
			return 1;
		}
	if (symbol->name_length == 11 && !strncmp(symbol->name, "sigaltstack", 11))
		look->sigaltstack = true;
	return 0;
}

/*
 * sigaltstack alone says little: python3 imports it and uses it only for faulthandler. It is a sign
 * when the process catches a signal beyond Ctrl-C.
 */
static bool catches_more(pid_t pid)
{
	static const int ordinary[] = {SIGINT, 32, 33}; /* glibc has the last two */
	uint64_t caught;

	if (pid <= 0 || mon_proc_status(pid, "SigCgt", 16, &caught))
		return true;
	for (size_t i = 0; i < sizeof(ordinary) / sizeof(ordinary[0]); i++)
		caught &= ~(1ull << (ordinary[i] - 1));
	return caught != 0;
}

static bool is_harmless(const char *path)
{
	const char *slash = strrchr(path, '/');

	for (size_t i = 0; i < sizeof(harmless) / sizeof(harmless[0]); i++)
		if (mon_glob_match(harmless[i], slash ? slash + 1 : path))
			return true;
	return false;
}

static const char *sign_of(const struct mon_module *module, bool watched, bool main, pid_t pid)
{
	const char *slash = strrchr(module->path, '/');
	struct look look = {.watched = watched, .harmless = is_harmless(module->path)};
	struct mon_elf *elf;
	bool go;

	for (size_t i = 0; i < sizeof(libraries) / sizeof(libraries[0]); i++)
		if (mon_glob_match(libraries[i].glob, slash ? slash + 1 : module->path))
			return libraries[i].what;
	if (mon_elf_open(module->open_path, module->path, &elf, NULL))
		return NULL;
	go = mon_elf_is_go(elf);
	if (!go && (main || watched || !look.harmless))
		(void)mon_elf_symbols(elf, look_at, &look, NULL);
	mon_elf_close(elf);
	if (go)
		return "its stacks move (Go)";
	if (look.what)
		return look.what;
	return (main || (watched && !look.harmless)) && look.sigaltstack && catches_more(pid)
		       ? "it handles signals on another stack (sigaltstack)"
		       : NULL;
}

void mon_hazards_find(const struct mon_module_list *modules, const struct mon_function_set *set,
		      pid_t pid, struct mon_hazard *hazard_out)
{
	*hazard_out = (struct mon_hazard){0};
	for (size_t i = 0; i < modules->count; i++) {
		const char *what =
			sign_of(&modules->modules[i],
				mon_module_is_watched(&modules->modules[i], set), i == 0, pid);

		if (!what)
			continue;
		hazard_out->found = true;
		(void)snprintf(hazard_out->why, sizeof(hazard_out->why), "%.300s: %s",
			       MON_ESCAPED(modules->modules[i].path), what);
		return;
	}
}
