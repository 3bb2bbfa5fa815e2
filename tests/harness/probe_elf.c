// SPDX-License-Identifier: GPL-2.0-or-later
#include "tests/harness/probe_elf.h"

#include "attach/elf.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

struct look {
	uint64_t file_bytes;
	uint64_t read; /* sum of what was handed out, so that ASan sees each byte */
	const char *wrong;
};

static int look_at(const struct mon_elf_symbol *symbol, void *context)
{
	struct look *look = context;

	if (!symbol->name_length || symbol->name_length >= MON_ELF_NAME_BYTES_MAX)
		look->wrong = "a name that is empty or too long";
	for (size_t i = 0; i < symbol->name_length; i++)
		if (symbol->name[i])
			look->read += (unsigned char)symbol->name[i];
		else
			look->wrong = "a NUL in a name";
	if (symbol->function && (!symbol->offset || symbol->offset >= look->file_bytes ||
				 symbol->size_bytes > look->file_bytes - symbol->offset))
		look->wrong = "a function that is not in the file";
	if (symbol->function && symbol->import)
		look->wrong = "an import that is defined";
	return look->wrong != NULL;
}

const char *probe_elf(const char *path, int *result_out, struct mon_error *error)
{
	char build_id[MON_BUILD_ID_BYTES];
	struct look look = {0};
	struct mon_elf *elf = NULL;
	struct stat status;
	int result;

	*error = (struct mon_error){0};
	if (!stat(path, &status))
		look.file_bytes = (uint64_t)status.st_size;
	result = mon_elf_open(path, path, &elf, error);
	if (!result) {
		memset(build_id, 'x', sizeof(build_id));
		mon_elf_build_id(elf, build_id);
		if (strnlen(build_id, sizeof(build_id)) == sizeof(build_id) ||
		    strspn(build_id, "0123456789abcdef") != strlen(build_id))
			look.wrong = "a build id that is not hex";
		(void)mon_elf_is_go(elf);
		(void)mon_elf_has_section(elf, ".text");
		if (mon_elf_entry_offset(elf) > look.file_bytes)
			look.wrong = "an entry point that is not in the file";
		result = mon_elf_symbols(elf, look_at, &look, error);
	} else if (elf) {
		look.wrong = "an object where opening failed";
	}
	mon_elf_close(elf);
	*result_out = result;
	if (look.wrong)
		return look.wrong;
	if (!result)
		return *error->text ? "a sentence where nothing failed" : NULL;
	if (result != -ENOEXEC && result != -EFBIG && result != -EISDIR)
		return "an error that the header does not list";
	if (error->exit_code != MON_EXIT_UNAVAILABLE)
		return "an exit code other than 5";
	if (!strstr(error->text, path) || strchr(error->text, '\n'))
		return "a sentence without the path";
	return NULL;
}
