// SPDX-License-Identifier: GPL-2.0-or-later
#include "attach/elf.h"

#include "base/cleanup.h"
#include "base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <gelf.h>
#include <inttypes.h>
#include <libelf.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SEGMENTS_MAX 4096
#define NOTES_BYTES_MAX (64u << 10)
#define NOTE_GO_BUILD_ID 4

struct segment {
	uint64_t address, offset, size_bytes;
};

struct mon_elf {
	int fd;
	Elf *elf;
	char *shown_path;
	uint64_t size_bytes;
	uint64_t entry;
	struct segment *code; /* executable PT_LOAD, the part that is in the file */
	size_t code_count;
};

static int malformed(const struct mon_elf *elf, const char *what, struct mon_error *error)
{
	return mon_error_set(error, MON_EXIT_UNAVAILABLE, ENOEXEC,
			     "%s is a truncated or damaged ELF file: %s; install it anew",
			     MON_ESCAPED(elf->shown_path), what);
}

static int refuse(const struct mon_elf *elf, int number, const char *what, struct mon_error *error)
{
	return mon_error_set(error, MON_EXIT_UNAVAILABLE, number, "%s %s",
			     MON_ESCAPED(elf->shown_path), what);
}

#if defined(__x86_64__)
#define OUR_MACHINE EM_X86_64
#define OUR_MACHINE_NAME "x86-64"
#elif defined(__aarch64__)
#define OUR_MACHINE EM_AARCH64
#define OUR_MACHINE_NAME "arm64"
#else
#error "monbpf knows x86-64 and arm64"
#endif

/* What the first bytes say, before libelf sees the file. */
static int check_header(struct mon_elf *elf, struct mon_error *error)
{
	Elf64_Ehdr header = {0};
	size_t length = mon_elf_read(elf, 0, &header, sizeof(header));
	uint64_t end;

	if (length < SELFMAG || memcmp(header.e_ident, ELFMAG, SELFMAG) != 0)
		return refuse(
			elf, ENOEXEC,
			"is not an ELF file: name a compiled program or library, for a script "
			"its interpreter",
			error);
	if (length <= EI_CLASS)
		return malformed(elf, "it ends inside its header", error);
	if (header.e_ident[EI_CLASS] == ELFCLASS32)
		return refuse(elf, ENOEXEC,
			      "is a 32-bit program: only 64-bit ones can be watched, build it for "
			      "64 bits",
			      error);
	if (length < sizeof(header))
		return malformed(elf, "it ends inside its header", error);
	if (header.e_ident[EI_CLASS] != ELFCLASS64)
		return malformed(elf, "its class is unknown", error);
	if (header.e_ident[EI_DATA] != ELFDATA2LSB || header.e_machine != OUR_MACHINE)
		return refuse(elf, ENOEXEC,
			      "is for another machine than this one (" OUR_MACHINE_NAME
			      "): name the file that runs here",
			      error);
	if (header.e_type != ET_EXEC && header.e_type != ET_DYN)
		return refuse(elf, ENOEXEC,
			      "is an object or core file: name a linked program or library", error);
	if (!header.e_phnum || header.e_phentsize != sizeof(Elf64_Phdr) ||
	    (header.e_shnum && header.e_shentsize != sizeof(Elf64_Shdr)))
		return malformed(elf, "its header tables have impossible sizes", error);
	if (__builtin_add_overflow(header.e_phoff, (uint64_t)header.e_phnum * sizeof(Elf64_Phdr),
				   &end) ||
	    end > elf->size_bytes)
		return malformed(elf, "its program headers lie behind its end", error);
	if (header.e_shoff &&
	    (__builtin_add_overflow(header.e_shoff,
				    (header.e_shnum ? header.e_shnum : 1ull) * sizeof(Elf64_Shdr),
				    &end) ||
	     end > elf->size_bytes))
		return malformed(elf, "its section headers lie behind its end", error);
	elf->entry = header.e_entry;
	return 0;
}

static int read_segments(struct mon_elf *elf, struct mon_error *error)
{
	size_t count;

	if (elf_getphdrnum(elf->elf, &count) || count > SEGMENTS_MAX)
		return malformed(elf, "its program headers cannot be read", error);
	elf->code = calloc(count ? count : 1, sizeof(*elf->code));
	if (!elf->code)
		return mon_error_set(error, MON_EXIT_RUNTIME, ENOMEM, "no memory to read %s",
				     MON_ESCAPED(elf->shown_path));
	for (size_t i = 0; i < count; i++) {
		uint64_t end;
		GElf_Phdr header;

		if (!gelf_getphdr(elf->elf, (int)i, &header))
			return malformed(elf, "its program headers cannot be read", error);
		if (header.p_type != PT_LOAD)
			continue;
		if (__builtin_add_overflow(header.p_offset, header.p_filesz, &end) ||
		    end > elf->size_bytes)
			return malformed(elf, "a loaded segment lies behind its end", error);
		if (__builtin_add_overflow(header.p_vaddr, header.p_filesz, &end))
			return malformed(elf, "a loaded segment has an impossible address", error);
		if (header.p_flags & PF_X)
			elf->code[elf->code_count++] =
				(struct segment){header.p_vaddr, header.p_offset, header.p_filesz};
	}
	return 0;
}

int mon_elf_open(const char *open_path, const char *shown_path, struct mon_elf **elf_out,
		 struct mon_error *error)
{
	struct mon_elf *elf = calloc(1, sizeof(*elf));
	struct stat status;
	int result;

	if (!elf || !(elf->shown_path = strdup(shown_path))) {
		free(elf);
		return mon_error_set(error, MON_EXIT_RUNTIME, ENOMEM, "no memory to read a file");
	}
	/* O_NONBLOCK: a FIFO must not hold us. */
	elf->fd = open(open_path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (elf->fd < 0) {
		int number = errno;

		result = number == EACCES || number == EPERM
				 ? mon_error_set(error, MON_EXIT_PERMISSION, number,
						 "no right to read %s: run as root or its owner "
						 "(another user's process needs CAP_SYS_PTRACE)",
						 MON_ESCAPED(shown_path))
				 : mon_error_set(error, MON_EXIT_UNAVAILABLE, number,
						 "cannot open %s: %s; check the path",
						 MON_ESCAPED(shown_path), strerror(number));
		mon_elf_close(elf);
		return result;
	}
	if (fstat(elf->fd, &status))
		result = refuse(elf, errno, "cannot be read; check the path", error);
	else if (S_ISDIR(status.st_mode))
		result = refuse(elf, EISDIR, "is a directory: name a program or library", error);
	else if (!S_ISREG(status.st_mode))
		result = refuse(elf, ENOEXEC, "is not a regular file: name a program or library",
				error);
	else if ((uint64_t)status.st_size > MON_ELF_FILE_BYTES_MAX)
		result = refuse(elf, EFBIG, "is larger than 16 GiB: watch a smaller build", error);
	else {
		elf->size_bytes = (uint64_t)status.st_size;
		result = check_header(elf, error);
	}
	if (!result) {
		(void)elf_version(EV_CURRENT);
		elf->elf = elf_begin(elf->fd, ELF_C_READ, NULL);
		if (!elf->elf || elf_kind(elf->elf) != ELF_K_ELF)
			result = malformed(elf, "libelf cannot read it", error);
		else
			result = read_segments(elf, error);
	}
	if (result) {
		mon_elf_close(elf);
		return result;
	}
	*elf_out = elf;
	return 0;
}

void mon_elf_close(struct mon_elf *elf)
{
	if (!elf)
		return;
	if (elf->elf)
		(void)elf_end(elf->elf);
	if (elf->fd >= 0)
		(void)close(elf->fd);
	free(elf->code);
	free(elf->shown_path);
	free(elf);
}

size_t mon_elf_read(const struct mon_elf *elf, uint64_t offset, void *buffer, size_t size)
{
	size_t used = 0;

	while (used < size && offset + used <= INT64_MAX) {
		ssize_t count =
			pread(elf->fd, (char *)buffer + used, size - used, (off_t)(offset + used));

		if (count < 0 && errno == EINTR)
			continue;
		if (count <= 0)
			break;
		used += (size_t)count;
	}
	return used;
}

/* The offset in the file of the code at @address, and how much of its segment follows; else 0. */
static uint64_t code_offset(const struct mon_elf *elf, uint64_t address, uint64_t *left_out)
{
	for (size_t i = 0; i < elf->code_count; i++) {
		const struct segment *segment = &elf->code[i];

		if (address >= segment->address &&
		    address - segment->address < segment->size_bytes) {
			*left_out = segment->size_bytes - (address - segment->address);
			return segment->offset + (address - segment->address);
		}
	}
	return 0;
}

uint64_t mon_elf_entry_offset(const struct mon_elf *elf)
{
	uint64_t left;

	return elf->entry ? code_offset(elf, elf->entry, &left) : 0;
}

int mon_elf_code(const struct mon_elf *elf, uint64_t *offset_out, uint64_t *size_out)
{
	if (elf->code_count != 1)
		return elf->code_count ? -ENOTSUP : -ENOENT;
	*offset_out = elf->code[0].offset;
	*size_out = elf->code[0].size_bytes;
	return 0;
}

static bool section_header(struct mon_elf *elf, Elf_Scn *section, GElf_Shdr *header_out)
{
	uint64_t end;

	return gelf_getshdr(section, header_out) &&
	       (header_out->sh_type == SHT_NOBITS ||
		(!__builtin_add_overflow(header_out->sh_offset, header_out->sh_size, &end) &&
		 end <= elf->size_bytes));
}

/* One table: NULL data when it has none of @type. */
static int table_of_type(struct mon_elf *elf, uint32_t type, Elf_Data **symbols_out,
			 Elf_Data **strings_out, struct mon_error *error)
{
	GElf_Shdr header;
	Elf_Scn *section = NULL;

	*symbols_out = *strings_out = NULL;
	while ((section = elf_nextscn(elf->elf, section))) {
		if (!gelf_getshdr(section, &header))
			return malformed(elf, "a section header cannot be read", error);
		if (header.sh_type == type)
			break;
	}
	if (!section)
		return 0;
	if (!section_header(elf, section, &header) || header.sh_entsize != sizeof(Elf64_Sym))
		return malformed(elf, "its symbol table lies behind its end", error);
	if (header.sh_size / sizeof(Elf64_Sym) > MON_ELF_SYMBOLS_MAX)
		return refuse(elf, EFBIG, "has more than 4 M symbols: strip its debug build",
			      error);

	GElf_Shdr strings;
	Elf_Scn *strings_section = elf_getscn(elf->elf, header.sh_link);

	if (!strings_section || !section_header(elf, strings_section, &strings) ||
	    strings.sh_type != SHT_STRTAB)
		return malformed(elf, "its symbol names lie behind its end", error);
	if (strings.sh_size > MON_ELF_STRINGS_BYTES_MAX)
		return refuse(elf, EFBIG, "has more than 1 GiB of symbol names: strip it", error);
	*symbols_out = elf_getdata(section, NULL);
	*strings_out = elf_getdata(strings_section, NULL);
	if (!*symbols_out || !*strings_out || (header.sh_size && !(*symbols_out)->d_buf) ||
	    (strings.sh_size && !(*strings_out)->d_buf))
		return malformed(elf, "its symbols cannot be read", error);
	return 0;
}

static bool symbol_name(const Elf_Data *strings, uint64_t at, struct mon_elf_symbol *symbol_out)
{
	const char *name, *end, *version;

	if (at >= strings->d_size)
		return false;
	name = (const char *)strings->d_buf + at;
	size_t left = strings->d_size - at;

	end = memchr(name, '\0', left < MON_ELF_NAME_BYTES_MAX ? left : MON_ELF_NAME_BYTES_MAX);
	if (!end || end == name)
		return false;
	version = memchr(name, '@', (size_t)(end - name));
	symbol_out->name = name;
	symbol_out->name_length = (size_t)((version && version > name ? version : end) - name);
	return true;
}

static int each_of_type(struct mon_elf *elf, uint32_t table,
			int (*each)(const struct mon_elf_symbol *, void *), void *context,
			struct mon_error *error)
{
	Elf_Data *symbols, *strings;
	int result = table_of_type(elf, table, &symbols, &strings, error);

	if (result || !symbols)
		return result;
	for (size_t i = 1; i < symbols->d_size / sizeof(Elf64_Sym) && !result; i++) {
		struct mon_elf_symbol symbol = {.dynamic = table == SHT_DYNSYM};
		uint64_t left = 0;
		GElf_Sym raw;

		if (!gelf_getsym(symbols, (int)i, &raw) ||
		    !symbol_name(strings, raw.st_name, &symbol))
			continue;
		symbol.global = GELF_ST_BIND(raw.st_info) == STB_GLOBAL;
		symbol.weak = GELF_ST_BIND(raw.st_info) == STB_WEAK;
		symbol.import = raw.st_shndx == SHN_UNDEF;
		unsigned type = GELF_ST_TYPE(raw.st_info);

		if (!symbol.import && raw.st_value &&
		    (type == STT_FUNC || type == STT_GNU_IFUNC || type == STT_NOTYPE))
			symbol.offset = code_offset(elf, raw.st_value, &left);
		/* STT_GNU_IFUNC is its resolver's address, not the function's: not one of ours. */
		symbol.function = symbol.offset != 0 && type == STT_FUNC;
		symbol.size_bytes = raw.st_size <= left ? raw.st_size : 0;
		result = each(&symbol, context);
	}
	return result;
}

int mon_elf_symbols(struct mon_elf *elf,
		    int (*each)(const struct mon_elf_symbol *symbol, void *context), void *context,
		    struct mon_error *error)
{
	int result = each_of_type(elf, SHT_SYMTAB, each, context, error);

	return result ? result : each_of_type(elf, SHT_DYNSYM, each, context, error);
}

/* The text of the note of @owner and @type, found by the program headers: they survive strip. */
static size_t find_note(struct mon_elf *elf, const char *owner, uint32_t type, uint8_t *text,
			size_t size)
{
	MON_FREE uint8_t *notes = malloc(NOTES_BYTES_MAX);
	size_t count, owner_size = strlen(owner) + 1;

	if (!notes || elf_getphdrnum(elf->elf, &count) || count > SEGMENTS_MAX)
		return 0;
	for (size_t i = 0; i < count; i++) {
		GElf_Phdr header;
		uint64_t at = 0;

		if (!gelf_getphdr(elf->elf, (int)i, &header) || header.p_type != PT_NOTE)
			continue;
		uint64_t align = header.p_align == 8 ? 7 : 3;
		uint64_t length =
			header.p_filesz < NOTES_BYTES_MAX ? header.p_filesz : NOTES_BYTES_MAX;

		length = mon_elf_read(elf, header.p_offset, notes, length);
		while (at + sizeof(Elf64_Nhdr) <= length) {
			Elf64_Nhdr note;

			memcpy(&note, notes + at, sizeof(note));
			uint64_t name_at = at + sizeof(note);
			uint64_t text_at = (name_at + note.n_namesz + align) & ~align;

			at = (text_at + note.n_descsz + align) & ~align;
			if (text_at + note.n_descsz > length)
				break;
			if (note.n_type == type && note.n_namesz == owner_size &&
			    !memcmp(notes + name_at, owner, owner_size)) {
				size_t used = note.n_descsz < size ? note.n_descsz : size;

				memcpy(text, notes + text_at, used);
				return used;
			}
		}
	}
	return 0;
}

void mon_elf_build_id(struct mon_elf *elf, char build_id[MON_BUILD_ID_BYTES])
{
	uint8_t bytes[(MON_BUILD_ID_BYTES - 1) / 2];
	size_t count = find_note(elf, "GNU", NT_GNU_BUILD_ID, bytes, sizeof(bytes));

	build_id[0] = '\0';
	for (size_t i = 0; i < count; i++)
		(void)snprintf(build_id + 2 * i, 3, "%02x", bytes[i]);
}

bool mon_elf_is_go(struct mon_elf *elf)
{
	uint8_t byte;

	return find_note(elf, "Go", NOTE_GO_BUILD_ID, &byte, 1) ||
	       mon_elf_has_section(elf, ".note.go.buildid") ||
	       mon_elf_has_section(elf, ".gopclntab");
}

bool mon_elf_has_section(struct mon_elf *elf, const char *name)
{
	Elf_Scn *section = NULL;
	size_t names;

	if (elf_getshdrstrndx(elf->elf, &names))
		return false;
	while ((section = elf_nextscn(elf->elf, section))) {
		GElf_Shdr header;
		const char *text;

		if (!gelf_getshdr(section, &header))
			return false;
		text = elf_strptr(elf->elf, names, header.sh_name);
		if (text && !strcmp(text, name))
			return true;
	}
	return false;
}
