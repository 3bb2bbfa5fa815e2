// SPDX-License-Identifier: GPL-2.0-or-later
#include "attach/symbolize.h"

#include "attach/demangle.h"
#include "attach/elf.h"
#include "base/cleanup.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct symbol {
	uint64_t offset, end;
	const char *name; /* the file's */
	unsigned rank;	  /* of several at one address the lowest is shown */
};

struct module {
	char *path, *build_id;
	struct mon_elf *elf; /* NULL: not to be had, or another file */
	struct symbol *symbols;
	size_t count, room;
};

struct mon_symbolizer {
	struct module modules[MON_SYMBOLIZE_MODULES_MAX];
	size_t count;
	char name[MON_DEMANGLED_BYTES_MAX];
};

struct mon_symbolizer *mon_symbolizer_new(void)
{
	return calloc(1, sizeof(struct mon_symbolizer));
}

void mon_symbolizer_free(struct mon_symbolizer *symbolizer)
{
	for (size_t i = 0; symbolizer && i < symbolizer->count; i++) {
		struct module *module = &symbolizer->modules[i];

		free(module->path);
		free(module->build_id);
		free(module->symbols);
		if (module->elf)
			mon_elf_close(module->elf);
	}
	free(symbolizer);
}

static int take(const struct mon_elf_symbol *symbol, void *context)
{
	struct module *module = context;

	if (!symbol->function || !symbol->offset)
		return 0;
	if (module->count == module->room) {
		size_t room = module->room ? 2 * module->room : 256;
		struct symbol *more = reallocarray(module->symbols, room, sizeof(*more));

		if (!more)
			return -ENOMEM;
		module->symbols = more;
		module->room = room;
	}
	module->symbols[module->count++] = (struct symbol){
		.offset = symbol->offset,
		.end = symbol->offset + symbol->size_bytes,
		.name = symbol->name,
		.rank = (symbol->global ? 0u : 2u) + (symbol->weak ? 1u : 0u),
	};
	return 0;
}

static int compare(const void *left, const void *right)
{
	const struct symbol *a = left, *b = right;

	if (a->offset != b->offset)
		return a->offset < b->offset ? -1 : 1;
	if (a->rank != b->rank)
		return a->rank < b->rank ? -1 : 1;
	return strcmp(a->name, b->name);
}

static void read_symbols(struct module *module)
{
	char build_id[MON_BUILD_ID_BYTES];

	if (mon_elf_open(module->path, module->path, &module->elf, NULL)) {
		module->elf = NULL;
		return;
	}
	mon_elf_build_id(module->elf, build_id);
	if (strcmp(build_id, module->build_id) == 0) {
		/* What was read before a table turned out to be broken is as good as it was. */
		(void)mon_elf_symbols(module->elf, take, module, NULL);
		if (module->count)
			qsort(module->symbols, module->count, sizeof(*module->symbols), compare);
		return;
	}
	mon_elf_close(module->elf);
	module->elf = NULL;
}

static struct module *find_module(struct mon_symbolizer *symbolizer, const char *path,
				  const char *build_id)
{
	struct module *module;

	for (size_t i = 0; i < symbolizer->count; i++) {
		module = &symbolizer->modules[i];
		if (strcmp(module->path, path) == 0 && strcmp(module->build_id, build_id) == 0)
			return module;
	}
	if (symbolizer->count == MON_SYMBOLIZE_MODULES_MAX || path[0] != '/')
		return NULL;
	module = &symbolizer->modules[symbolizer->count];
	*module = (struct module){.path = strdup(path), .build_id = strdup(build_id)};
	if (!module->path || !module->build_id) {
		free(module->path);
		free(module->build_id);
		return NULL;
	}
	symbolizer->count++;
	read_symbols(module);
	return module;
}

const char *mon_symbolizer_name(struct mon_symbolizer *symbolizer, const char *path,
				const char *build_id, uint64_t offset)
{
	const struct module *module = find_module(symbolizer, path, build_id);
	size_t low = 0, high = module ? module->count : 0;
	const struct symbol *symbol;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (module->symbols[middle].offset <= offset)
			low = middle + 1;
		else
			high = middle;
	}
	if (!low)
		return NULL;
	symbol = &module->symbols[low - 1];
	while (symbol > module->symbols && symbol[-1].offset == symbol->offset)
		symbol--;
	/* Hand-written code often has no size: then it goes on to the next one. */
	if (offset >= symbol->end && symbol->end != symbol->offset)
		return NULL;
	if (mon_demangle(symbol->name, false, symbolizer->name))
		return symbolizer->name;
	(void)snprintf(symbolizer->name, sizeof(symbolizer->name), "%s", symbol->name);
	return symbolizer->name;
}
