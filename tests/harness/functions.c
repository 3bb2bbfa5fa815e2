// SPDX-License-Identifier: GPL-2.0-or-later
/* Reads .symtab (or, in a stripped file, .dynsym) with libelf; see functions.h. */
#include "tests/harness/functions.h"

#include <fcntl.h>
#include <gelf.h>
#include <libelf.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

struct file {
	int fd;
	Elf *elf;
	Elf_Scn *symbols;
	GElf_Shdr header; /* of the symbols */
};

static void open_file(struct file *file, const char *path)
{
	Elf_Scn *section = NULL;
	GElf_Shdr header;

	*file = (struct file){.fd = open(path, O_RDONLY | O_CLOEXEC)};
	assert_true(file->fd >= 0);
	assert_int_not_equal(elf_version(EV_CURRENT), EV_NONE);
	file->elf = elf_begin(file->fd, ELF_C_READ, NULL);
	assert_non_null(file->elf);
	while ((section = elf_nextscn(file->elf, section))) {
		assert_non_null(gelf_getshdr(section, &header));
		if (header.sh_type == SHT_SYMTAB ||
		    (header.sh_type == SHT_DYNSYM && !file->symbols)) {
			file->symbols = section;
			file->header = header;
		}
	}
	assert_non_null(file->symbols);
}

static void close_file(struct file *file)
{
	(void)elf_end(file->elf);
	(void)close(file->fd);
}

/* The name of symbol @index when it is a function defined here, and where in the file it is. */
static const char *function_at(struct file *file, size_t index, uint64_t *offset_out)
{
	Elf_Data *data = elf_getdata(file->symbols, NULL);
	GElf_Shdr header;
	GElf_Sym symbol;

	assert_non_null(data);
	assert_non_null(gelf_getsym(data, (int)index, &symbol));
	if (GELF_ST_TYPE(symbol.st_info) != STT_FUNC || symbol.st_shndx == SHN_UNDEF ||
	    symbol.st_shndx >= SHN_LORESERVE)
		return NULL;
	assert_non_null(gelf_getshdr(elf_getscn(file->elf, symbol.st_shndx), &header));
	*offset_out = symbol.st_value - header.sh_addr + header.sh_offset;
	return elf_strptr(file->elf, file->header.sh_link, symbol.st_name);
}

static uint32_t add_module(struct mon_function_set *set, const char *path)
{
	struct mon_module *module;

	set->modules = reallocarray(set->modules, set->module_count + 1, sizeof(*set->modules));
	assert_non_null(set->modules);
	module = &set->modules[set->module_count];
	*module = (struct mon_module){.path = strdup(path), .open_path = strdup(path)};
	assert_non_null(module->open_path);
	return (uint32_t)set->module_count++;
}

static void add_function(struct mon_function_set *set, uint32_t module, const char *symbol,
			 uint64_t offset)
{
	set->functions =
		reallocarray(set->functions, set->function_count + 1, sizeof(*set->functions));
	assert_non_null(set->functions);
	set->functions[set->function_count++] = (struct mon_function){
		.module = module,
		.offset = offset,
		.probe_offset = offset,
		.symbol = strdup(symbol),
		.name = strdup(symbol),
		.source = "symtab",
		.returns = true,
	};
}

void functions_add(struct mon_function_set *set, const char *path, const char *const symbols[])
{
	uint32_t module = add_module(set, path);
	struct file file;

	open_file(&file, path);
	for (; *symbols; symbols++) {
		size_t count = file.header.sh_size / file.header.sh_entsize, i;
		uint64_t offset = 0;

		for (i = 0; i < count; i++) {
			const char *name = function_at(&file, i, &offset);

			if (name && !strcmp(name, *symbols))
				break;
		}
		if (i == count)
			fail_msg("%s has no function %s", path, *symbols);
		add_function(set, module, *symbols, offset);
	}
	close_file(&file);
}

static int by_offset(const void *left, const void *right)
{
	const struct mon_function *a = left, *b = right;

	return a->offset < b->offset ? -1 : a->offset > b->offset;
}

void functions_add_prefix(struct mon_function_set *set, const char *path, const char *prefix,
			  size_t max)
{
	size_t first = set->function_count, count, kept;
	uint32_t module = add_module(set, path);
	struct file file;

	open_file(&file, path);
	count = file.header.sh_size / file.header.sh_entsize;
	for (size_t i = 0; i < count; i++) {
		uint64_t offset = 0;
		const char *name = function_at(&file, i, &offset);

		if (name && !strncmp(name, prefix, strlen(prefix)))
			add_function(set, module, name, offset);
	}
	close_file(&file);
	assert_true(set->function_count > first);
	qsort(set->functions + first, set->function_count - first, sizeof(*set->functions),
	      by_offset);
	kept = first;
	for (size_t i = first; i < set->function_count; i++) {
		struct mon_function *function = &set->functions[i];

		if (kept - first < max &&
		    (kept == first || set->functions[kept - 1].offset != function->offset)) {
			set->functions[kept++] = *function;
			continue;
		}
		free(function->symbol);
		free(function->name);
	}
	set->function_count = kept;
}
