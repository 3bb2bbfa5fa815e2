// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What ELF files say, held against binutils; and files that are damaged in every way we could think
 * of: always an answer or one sentence, never a crash (run it with DEBUG=1 as well).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "attach/elf.h"
#include "tests/harness/probe_elf.h"
#include "tests/harness/process.h"
#include "tests/harness/scratch.h"
#include "tests/harness/target.h"
#include "tests/harness/tool.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define MUTATIONS 4000
#define SEED 20261123

static char *directory;

static int setup(void **state)
{
	(void)state;
	directory = scratch_new();
	return 0;
}

static int teardown(void **state)
{
	int result = process_teardown(state);

	scratch_remove(directory);
	return result;
}

/* A file in memory: thousands of changes cost no disk. */
static struct {
	int fd;
	char path[64];
	uint8_t *bytes; /* as it was */
	size_t size;
} victim;

static void victim_open(const char *path)
{
	struct stat status;
	int source = open(path, O_RDONLY | O_CLOEXEC);

	assert_true(source >= 0);
	assert_int_equal(fstat(source, &status), 0);
	victim.size = (size_t)status.st_size;
	victim.bytes = malloc(victim.size);
	assert_non_null(victim.bytes);
	assert_int_equal(read(source, victim.bytes, victim.size), victim.size);
	close(source);
	victim.fd = memfd_create("victim", MFD_CLOEXEC);
	assert_true(victim.fd >= 0);
	(void)snprintf(victim.path, sizeof(victim.path), "/proc/self/fd/%d", victim.fd);
	assert_int_equal(pwrite(victim.fd, victim.bytes, victim.size, 0), victim.size);
}

static void victim_close(void)
{
	close(victim.fd);
	free(victim.bytes);
}

/* A target without its debug information: about 15 KB. */
static void victim_open_target(const char *name)
{
	char path[PATH_MAX], *copy = scratch_path(directory, name);

	TOOL_RUN("strip", "--strip-debug", "-o", copy, target_path(name, path, sizeof(path)));
	victim_open(copy);
	free(copy);
}

static void victim_write(size_t at, const void *bytes, size_t size)
{
	assert_int_equal(pwrite(victim.fd, bytes, size, (off_t)at), size);
}

static void victim_restore(size_t at, size_t size)
{
	victim_write(at, victim.bytes + at, size);
}

/* The answer, which must be right whatever was done to the file. */
static int victim_probe(const char *story, size_t at)
{
	struct mon_error error;
	int result;
	const char *wrong = probe_elf(victim.path, &result, &error);

	if (wrong)
		fail_msg("%s at %zu: %s (%d: %s)", story, at, wrong, result, error.text);
	return result;
}

/* Both tables of a file, for comparisons. */
struct table {
	struct mon_elf_symbol *symbols;
	char **names;
	size_t count, functions;
};

static int keep(const struct mon_elf_symbol *symbol, void *context)
{
	struct table *table = context;

	if (!(table->count & (table->count - 1))) {
		size_t room = table->count ? table->count * 2 : 1;

		table->symbols = reallocarray(table->symbols, room, sizeof(*table->symbols));
		table->names = reallocarray(table->names, room, sizeof(*table->names));
		assert_true(table->symbols && table->names);
	}
	table->symbols[table->count] = *symbol;
	table->names[table->count++] = strndup(symbol->name, symbol->name_length);
	table->functions += symbol->function;
	return 0;
}

static struct table table_read(const char *path)
{
	struct mon_error error = {0};
	struct table table = {0};
	struct mon_elf *elf = NULL;

	if (mon_elf_open(path, path, &elf, &error) || mon_elf_symbols(elf, keep, &table, &error))
		fail_msg("%s", error.text);
	mon_elf_close(elf);
	return table;
}

static void table_free(struct table *table)
{
	for (size_t i = 0; i < table->count; i++)
		free(table->names[i]);
	free(table->names);
	free(table->symbols);
}

static const struct mon_elf_symbol *table_find(const struct table *table, const char *name)
{
	for (size_t i = 0; i < table->count; i++)
		if (!strcmp(table->names[i], name))
			return &table->symbols[i];
	return NULL;
}

/* objdump: "0000000000401136 <watched_call> (File Offset: 0x1136):" */
static void offsets_are_those_of_objdump(const char *path)
{
	struct table table = table_read(path);
	char *text = TOOL("objdump", "-d", "-F", "--no-show-raw-insn", "--section=.text", path);
	size_t compared = 0;

	for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
		const struct mon_elf_symbol *symbol;
		uint64_t address, offset;
		char name[256];

		if (sscanf(line, "%" SCNx64 " <%255[^>]> (File Offset: 0x%" SCNx64 "):", &address,
			   name, &offset) != 3)
			continue;
		symbol = table_find(&table, name);
		if (!symbol || !symbol->function)
			continue;
		/* Several files may have a static function of one name. */
		for (size_t i = 0; symbol && i < table.count; i++)
			if (!strcmp(table.names[i], name) && table.symbols[i].offset == offset)
				symbol = NULL;
		if (symbol)
			fail_msg("%s of %s: %#" PRIx64 ", objdump says %#" PRIx64, name, path,
				 symbol->offset, offset);
		compared++;
	}
	free(text);
	if (!compared)
		fail_msg("objdump -F names no function of %s", path);
	table_free(&table);
}

/* readelf: "    12: 0000000000001136    10 FUNC    GLOBAL DEFAULT   14 watched_call" */
static void functions_are_those_of_readelf(const char *path)
{
	struct table table = table_read(path);
	char *text = TOOL("readelf", "-sW", path);
	size_t functions = 0;

	for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
		const struct mon_elf_symbol *symbol;
		char type[16], bind[16], visibility[16], section[16], name[256], *version;
		unsigned number;
		uint64_t address;
		int size_bytes; /* in hexadecimal when it is large */

		if (sscanf(line, " %u: %" SCNx64 " %i %15s %15s %15s %15s %255s", &number, &address,
			   &size_bytes, type, bind, visibility, section, name) != 8)
			continue;
		if (!strcmp(type, "SECTION")) /* readelf names them after their section */
			continue;
		version = strchr(name, '@');
		if (version)
			*version = '\0';
		symbol = table_find(&table, name);
		if (!symbol)
			fail_msg("%s of %s is not found", name, path);
		if (!strcmp(section, "UND")) {
			assert_true(symbol->import);
			assert_false(symbol->function);
			continue;
		}
		if (strcmp(type, "FUNC") != 0)
			continue;
		functions++;
		/* Several files may have a static function of one name. */
		for (size_t i = 0; i < table.count; i++)
			if (!strcmp(table.names[i], name) &&
			    table.symbols[i].size_bytes == (uint64_t)size_bytes &&
			    table.symbols[i].global == !strcmp(bind, "GLOBAL") &&
			    table.symbols[i].weak == !strcmp(bind, "WEAK") &&
			    table.symbols[i].function)
				symbol = NULL;
		if (symbol)
			fail_msg("%s of %s is not as readelf has it", name, path);
	}
	free(text);
	assert_int_equal(table.functions, functions);
	table_free(&table);
}

static void symbols_are_those_of_binutils(void **state)
{
	static const char *const names[] = {"calls",	 "calls_nopie",	 "libtarget.so",
					    "exception", "static_calls", "threads",
					    "many",	 "ucontext"};

	char own[PATH_MAX] = "";

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		char path[PATH_MAX];

		offsets_are_those_of_objdump(target_path(names[i], path, sizeof(path)));
		functions_are_those_of_readelf(path);
	}
	assert_true(readlink("/proc/self/exe", own, sizeof(own) - 1) > 0);
	offsets_are_those_of_objdump(own); /* with debug information */
}

static void versions_long_names_and_imports(void **state)
{
	static const char before[] = ".text\n" TOOL_FUNCTION("plain")
		TOOL_FUNCTION("implementation") ".symver implementation, named@@V1\n.weak "
						"absent\n.data\n.dc.a absent\n"
						".globl object\n.type object,%object\nobject: "
						".long 1\n.size object,4\n.text\n";
	char *map = tool_write(directory, "map", "V1 { global: named; plain; local: *; };\n");
	char *path = scratch_path(directory, "versions.so"), *source, *assembler = NULL;
	char name[5001], script[PATH_MAX]; /* the name is longer than is looked at */
	struct table table;

	(void)state;
	memset(name, 'n', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	assert_true(asprintf(&assembler, "%s.type %s,%%function\n%s: ret\n.size %s,1\n", before,
			     name, name, name) > 0);
	source = tool_write(directory, "versions.s", assembler);
	free(assembler);
	(void)snprintf(script, sizeof(script), "-Wl,--version-script=%s", map);
	TOOL_RUN("gcc", "-nostdlib", "-shared", "-Wl,-z,noexecstack", script, "-o", path, source);
	table = table_read(path);
	assert_non_null(table_find(&table, "named"));
	assert_null(table_find(&table, "named@@V1"));
	assert_true(table_find(&table, "named")->function);
	assert_true(table_find(&table, "plain")->global);
	assert_non_null(table_find(&table, "object"));
	assert_false(table_find(&table, "object")->function);
	assert_true(table_find(&table, "absent")->import);
	assert_true(table_find(&table, "absent")->weak);
	for (size_t i = 0; i < table.count; i++)
		assert_true(table.symbols[i].name_length < MON_ELF_NAME_BYTES_MAX);
	table_free(&table);
	free(path);
	free(source);
	free(map);
}

static int stop_at_second(const struct mon_elf_symbol *symbol, void *context)
{
	(void)symbol;
	return ++*(int *)context == 2 ? 77 : 0;
}

static void a_walk_ends_when_it_is_told(void **state)
{
	struct mon_elf *elf = NULL;
	char path[PATH_MAX];
	int seen = 0;

	(void)state;
	target_path("calls", path, sizeof(path));
	assert_int_equal(mon_elf_open(path, path, &elf, NULL), 0);
	assert_int_equal(mon_elf_symbols(elf, stop_at_second, &seen, NULL), 77);
	assert_int_equal(seen, 2);
	mon_elf_close(elf);
}

static void build_id_entry_and_sections(void **state)
{
	char path[PATH_MAX], build_id[MON_BUILD_ID_BYTES], *text, *at;
	struct mon_elf *elf = NULL;
	uint8_t bytes[64];
	uint64_t entry;

	(void)state;
	target_path("calls_nopie", path, sizeof(path));
	assert_int_equal(mon_elf_open(path, path, &elf, NULL), 0);
	mon_elf_build_id(elf, build_id);
	text = TOOL("readelf", "-n", path);
	at = strstr(text, "Build ID: ");
	assert_non_null(at);
	assert_int_equal(strlen(build_id), 40);
	assert_memory_equal(build_id, at + 10, 40);
	free(text);

	text = TOOL("objdump", "-d", "-F", "--no-show-raw-insn", path);
	at = strstr(text, "<_start> (File Offset: ");
	assert_non_null(at);
	entry = strtoull(at + 23, NULL, 16);
	assert_int_equal(mon_elf_entry_offset(elf), entry);
	free(text);

	assert_true(mon_elf_has_section(elf, ".debug_info"));
	assert_false(mon_elf_has_section(elf, ".debug"));
	assert_false(mon_elf_is_go(elf));
	assert_int_equal(mon_elf_read(elf, 0, bytes, 4), 4);
	assert_memory_equal(bytes, ELFMAG, SELFMAG);
	assert_int_equal(mon_elf_read(elf, UINT64_MAX, bytes, 4), 0);
	assert_int_equal(mon_elf_read(elf, INT64_MAX, bytes, 4), 0);
	mon_elf_close(elf);
	mon_elf_close(NULL);
}

static bool is_go(const char *path)
{
	struct mon_error error = {0};
	struct mon_elf *elf = NULL;
	bool go;

	if (mon_elf_open(path, path, &elf, &error))
		fail_msg("%s", error.text);
	go = mon_elf_is_go(elf);
	mon_elf_close(elf);
	return go;
}

/* The Go linker's note, which survives a strip, and its tables, which old ones have without it. */
static void go_is_recognised(void **state)
{
	char *note = tool_library(directory, "note.so",
				  ".section .note.go.buildid,\"a\",%note\n.p2align 2\n"
				  ".long 3,4,4\n.ascii \"Go\"\n.byte 0,0\n.ascii \"abcd\"\n");
	char *tables = tool_library(directory, "tables.so", ".section .gopclntab,\"a\"\n.long 1\n");
	char *other = tool_library(directory, "other.so",
				   ".section .note.other,\"a\",%note\n.p2align 2\n"
				   ".long 3,4,4\n.ascii \"Gx\"\n.byte 0,0\n.ascii \"abcd\"\n");
	uint64_t none = 0;
	uint16_t no_number = 0;

	(void)state;
	assert_true(is_go(note));
	assert_true(is_go(tables));
	assert_false(is_go(other));
	/* Without section headers. */
	victim_open(note);
	victim_write(offsetof(Elf64_Ehdr, e_shoff), &none, sizeof(none));
	victim_write(offsetof(Elf64_Ehdr, e_shnum), &no_number, sizeof(no_number));
	assert_true(is_go(victim.path));
	victim_close();
	free(note);
	free(tables);
	free(other);
}

static void refused(const char *path, int number, enum mon_exit exit_code, const char *part)
{
	struct mon_error error = {0};
	struct mon_elf *elf = NULL;

	assert_int_equal(mon_elf_open(path, path, &elf, &error), -number);
	assert_null(elf);
	assert_sentence(&error, exit_code, part);
	assert_non_null(strstr(error.text, path));
}

static void what_is_no_program_is_refused(void **state)
{
	char *text = tool_write(directory, "script", "#!/bin/sh\n");
	char *empty = tool_write(directory, "empty", "");
	char *short_magic = tool_write(directory, "short", "\177EL");
	char *only_magic = tool_write(directory, "magic", ELFMAG);
	char *fifo = scratch_path(directory, "fifo");
	char *absent = scratch_path(directory, "absent");

	(void)state;
	refused(text, ENOEXEC, MON_EXIT_UNAVAILABLE, "is not an ELF file");
	refused(empty, ENOEXEC, MON_EXIT_UNAVAILABLE, "is not an ELF file");
	refused(short_magic, ENOEXEC, MON_EXIT_UNAVAILABLE, "is not an ELF file");
	refused(only_magic, ENOEXEC, MON_EXIT_UNAVAILABLE, "truncated");
	refused(directory, EISDIR, MON_EXIT_UNAVAILABLE, "is a directory");
	refused(absent, ENOENT, MON_EXIT_UNAVAILABLE, "cannot open");
	refused("/dev/null", ENOEXEC, MON_EXIT_UNAVAILABLE, "not a regular file");
	/* Nobody writes to it: an open that waits would never end. */
	assert_int_equal(mkfifo(fifo, 0600), 0);
	(void)alarm(10);
	refused(fifo, ENOEXEC, MON_EXIT_UNAVAILABLE, "not a regular file");
	(void)alarm(0);
	free(text);
	free(empty);
	free(short_magic);
	free(only_magic);
	free(fifo);
	free(absent);
}

static void no_right_to_read_is_exit_4(void **state)
{
	char *path = tool_write(directory, "secret", "x");
	uid_t us = geteuid();

	(void)state;
	assert_int_equal(chmod(path, 0), 0);
	if (us == 0)
		assert_int_equal(seteuid(65534), 0);
	refused(path, EACCES, MON_EXIT_PERMISSION, "no right to read");
	assert_int_equal(seteuid(us), 0);
	free(path);
}

static void other_classes_and_machines_are_refused(void **state)
{
	const struct {
		size_t at;
		uint16_t value;
		size_t size;
		const char *part;
	} changes[] = {
		{EI_CLASS, ELFCLASS32, 1, "32-bit"},
		{EI_CLASS, ELFCLASSNONE, 1, "class is unknown"},
		{EI_DATA, ELFDATA2MSB, 1, "another machine"},
		{offsetof(Elf64_Ehdr, e_machine), EM_PPC64, 2, "another machine"},
		{offsetof(Elf64_Ehdr, e_machine), EM_386, 2, "another machine"},
		{offsetof(Elf64_Ehdr, e_type), ET_REL, 2, "object or core file"},
		{offsetof(Elf64_Ehdr, e_type), ET_CORE, 2, "object or core file"},
		{offsetof(Elf64_Ehdr, e_phnum), 0, 2, "impossible sizes"},
		{offsetof(Elf64_Ehdr, e_phentsize), 1, 2, "impossible sizes"},
		{offsetof(Elf64_Ehdr, e_shentsize), 1, 2, "impossible sizes"},
		{offsetof(Elf64_Ehdr, e_phnum), 0xfff0, 2, "behind its end"},
		{offsetof(Elf64_Ehdr, e_shnum), 0xff00 - 1, 2, "behind its end"},
	};

	(void)state;
	victim_open_target("calls");
	assert_int_equal(victim_probe("nothing", 0), 0);
	for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
		victim_write(changes[i].at, &changes[i].value, changes[i].size);
		refused(victim.path, ENOEXEC, MON_EXIT_UNAVAILABLE, changes[i].part);
		victim_restore(changes[i].at, changes[i].size);
	}
	assert_int_equal(victim_probe("all restored", 0), 0);
	/* The header alone of an i386 program: shorter than ours, and known all the same. */
	Elf32_Ehdr small = {.e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS32, ELFDATA2LSB,
					EV_CURRENT},
			    .e_type = ET_EXEC,
			    .e_machine = EM_386};

	victim_write(0, &small, sizeof(small));
	assert_int_equal(ftruncate(victim.fd, sizeof(small)), 0);
	refused(victim.path, ENOEXEC, MON_EXIT_UNAVAILABLE, "32-bit");
	victim_close();
}

static void truncated_at_each_byte(void)
{
	size_t refusals = 0;

	for (size_t size = victim.size; size-- > 0;) {
		assert_int_equal(ftruncate(victim.fd, (off_t)size), 0);
		refusals += victim_probe("cut off", size) != 0;
	}
	/* The section headers are its last bytes: not one of these files is whole. */
	assert_int_equal(refusals, victim.size);
	victim_write(0, victim.bytes, victim.size);
}

static void each_byte_of(size_t from, size_t size, unsigned step)
{
	for (size_t at = from; at < from + size; at++)
		for (unsigned change = 1; change < 256; change += step) {
			uint8_t byte = victim.bytes[at] ^ (uint8_t)change;

			victim_write(at, &byte, 1);
			(void)victim_probe("a flipped byte", at);
			victim_restore(at, 1);
		}
}

/* Numbers at every edge in each 8-byte field, which holds most 4-byte ones too. */
static void each_field_of(size_t from, size_t size)
{
	const uint64_t edges[] = {0,
				  1,
				  victim.size - 1,
				  victim.size,
				  victim.size + 1,
				  UINT32_MAX,
				  INT64_MAX,
				  1ull << 63,
				  UINT64_MAX,
				  UINT64_MAX - victim.size,
				  UINT64_MAX - 0xfff};

	for (size_t at = from; at + 8 <= from + size; at += 4)
		for (size_t i = 0; i < sizeof(edges) / sizeof(edges[0]); i++) {
			victim_write(at, &edges[i], 8);
			(void)victim_probe("a changed field", at);
			victim_restore(at, 8);
		}
}

static void K13_malformed_elf(void **state)
{
	Elf64_Ehdr header;

	(void)state;
	victim_open_target("calls");
	memcpy(&header, victim.bytes, sizeof(header));
	assert_int_equal(victim_probe("nothing", 0), 0);
	truncated_at_each_byte();
	each_byte_of(0, sizeof(header), 1);
	each_byte_of(header.e_phoff, header.e_phnum * sizeof(Elf64_Phdr), 37);
	each_byte_of(header.e_shoff, header.e_shnum * sizeof(Elf64_Shdr), 37);
	each_field_of(0, sizeof(header));
	each_field_of(header.e_phoff, header.e_phnum * sizeof(Elf64_Phdr));
	each_field_of(header.e_shoff, header.e_shnum * sizeof(Elf64_Shdr));
	assert_int_equal(victim_probe("all restored", 0), 0);
	victim_close();
}

/* The symbol table's header, in the file. */
static size_t symbol_table_header(Elf64_Shdr *section_out)
{
	Elf64_Ehdr header;

	memcpy(&header, victim.bytes, sizeof(header));
	for (size_t i = 0; i < header.e_shnum; i++) {
		size_t at = header.e_shoff + i * sizeof(Elf64_Shdr);

		memcpy(section_out, victim.bytes + at, sizeof(*section_out));
		if (section_out->sh_type == SHT_SYMTAB)
			return at;
	}
	fail_msg("no symbol table");
	return 0;
}

/* Sparse files whose tables are as large as they say: what is read is bounded. */
static void tables_too_large_are_refused(void **state)
{
	Elf64_Shdr section, strings;
	Elf64_Ehdr header;
	size_t at, strings_at;
	off_t size;

	(void)state;
	victim_open_target("calls");
	memcpy(&header, victim.bytes, sizeof(header));
	at = symbol_table_header(&section);
	strings_at = header.e_shoff + section.sh_link * sizeof(Elf64_Shdr);
	memcpy(&strings, victim.bytes + strings_at, sizeof(strings));
	section.sh_size = (MON_ELF_SYMBOLS_MAX + 1ull) * sizeof(Elf64_Sym);
	size = (off_t)(section.sh_offset + section.sh_size);
	victim_write(at, &section, sizeof(section));
	assert_int_equal(victim_probe("a table behind the end", at), -ENOEXEC);
	assert_int_equal(ftruncate(victim.fd, size), 0);
	assert_int_equal(victim_probe("too many symbols", at), -EFBIG);
	victim_restore(at, sizeof(section));
	strings.sh_size = MON_ELF_STRINGS_BYTES_MAX + 1ull;
	victim_write(strings_at, &strings, sizeof(strings));
	assert_int_equal(victim_probe("names behind the end", at), -ENOEXEC);
	assert_int_equal(ftruncate(victim.fd, (off_t)(strings.sh_offset + strings.sh_size)), 0);
	assert_int_equal(victim_probe("too many names", at), -EFBIG);
	victim_restore(strings_at, sizeof(strings));
	assert_int_equal(ftruncate(victim.fd, (off_t)MON_ELF_FILE_BYTES_MAX + 1), 0);
	assert_int_equal(victim_probe("too large a file", 0), -EFBIG);
	victim_close();
}

/* Names of symbols that lie behind their table, or go on behind its end. */
static void names_outside_their_table_are_passed_over(void **state)
{
	Elf64_Shdr section;
	Elf64_Sym symbol;
	size_t at;

	(void)state;
	victim_open_target("calls");
	(void)symbol_table_header(&section);
	for (at = section.sh_offset; at < section.sh_offset + section.sh_size;
	     at += sizeof(symbol)) {
		memcpy(&symbol, victim.bytes + at, sizeof(symbol));
		symbol.st_name = UINT32_MAX - (uint32_t)(at % 7);
		symbol.st_size = UINT64_MAX;
		victim_write(at, &symbol, sizeof(symbol));
	}
	assert_int_equal(victim_probe("names behind their end", 0), 0);
	victim_close();
}

static void random_changes_of_a_fixed_seed(void **state)
{
	unsigned seed = SEED;
	size_t refusals = 0;

	(void)state;
	print_message("seed %u\n", seed);
	victim_open_target("exception");
	for (size_t round = 0; round < MUTATIONS; round++) {
		size_t count = 1 + (size_t)rand_r(&seed) % 8, places[8];

		for (size_t i = 0; i < count; i++) {
			uint8_t byte = (uint8_t)rand_r(&seed);

			/* Half of them where the headers are. */
			places[i] = (size_t)rand_r(&seed) % (i % 2 ? 1024 : victim.size);
			victim_write(places[i], &byte, 1);
		}
		refusals += victim_probe("random changes, round", round) != 0;
		for (size_t i = 0; i < count; i++)
			victim_restore(places[i], 1);
	}
	assert_int_equal(victim_probe("all restored", 0), 0);
	assert_true(refusals > MUTATIONS / 100 && refusals < MUTATIONS);
	victim_close();
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(symbols_are_those_of_binutils),
		TEST(versions_long_names_and_imports),
		TEST(a_walk_ends_when_it_is_told),
		TEST(build_id_entry_and_sections),
		TEST(go_is_recognised),
		TEST(what_is_no_program_is_refused),
		TEST(no_right_to_read_is_exit_4),
		TEST(other_classes_and_machines_are_refused),
		TEST(K13_malformed_elf),
		TEST(tables_too_large_are_refused),
		TEST(names_outside_their_table_are_passed_over),
		TEST(random_changes_of_a_fixed_seed),
	};

	return cmocka_run_group_tests_name("attach/elf", tests, NULL, NULL);
}
