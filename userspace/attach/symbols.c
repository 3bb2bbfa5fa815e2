// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * One module at a time: its function symbols are gathered, sorted by address and visited group by
 * group (a group is one address with all its names). The same walk serves matching and, when a
 * glob matched nothing, the search for near names, so that the usual run pays for no suggestion.
 */
#include "attach/symbols.h"

#include "attach/demangle.h"
#include "attach/elf.h"
#include "attach/suggest.h"
#include "base/cleanup.h"
#include "base/text.h"

#include <errno.h>
#include <string.h>

#define ALIASES_BYTES_MAX 1024
#define LIBRARY_BYTES_MAX 256

struct pattern {
	const char *text, *glob;
	char library[LIBRARY_BYTES_MAX]; /* "": the main executable; of an exclude: any file */
	bool has_library;
	bool library_found;
	size_t matched;
};

struct candidate {
	const char *name; /* in the ELF file's memory, not ended by NUL when it has a version */
	uint32_t name_length;
	bool dynamic, global, weak, matched;
	uint64_t offset, size_bytes;
};

struct group {
	struct candidate *names;
	size_t count;
	struct mon_elf *elf;
	const struct mon_module *module;
	size_t module_index;
};

struct gathering {
	struct candidate *items;
	size_t count, room;
	uint64_t entry_offset;
};

struct finding {
	const struct mon_module_list *modules;
	struct pattern *patterns, *excludes;
	size_t pattern_count, exclude_count, limit; /* limit: of functions */
	struct mon_function_set set;
	size_t matched;	     /* more than the set holds when there are too many */
	size_t functions;    /* seen in files that were asked for */
	size_t excluded;     /* matched, then excluded */
	size_t module_taken; /* index of the current module in the set + 1, or 0 */
	struct mon_prefixes *prefixes;
	const struct mon_symbol_query *query;
	struct mon_code *code; /* of the current module, NULL until it is needed, or unknown */
	bool code_tried;
};

const char *mon_symbol_glob_split(const char *text, size_t *library_length_out)
{
	const char *colon = strchr(text, ':');

	*library_length_out = 0;
	if (!colon || colon == text || colon[1] == ':')
		return text;
	*library_length_out = (size_t)(colon - text);
	return colon + 1;
}

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

static int no_memory(struct mon_error *error)
{
	return mon_error_set(error, MON_EXIT_RUNTIME, ENOMEM, "no memory for the symbols");
}

/* How other tools would write it: recognised, refused, and told in our words. */
static int check_spelling(const char *text, struct mon_error *error)
{
	static const char *const kinds[] = {"uprobe:", "uretprobe:", "u:", "ur:", "usdt:"};

	for (size_t i = 0; i < MON_ARRAY_COUNT(kinds); i++) {
		size_t length = strlen(kinds[i]);
		const char *colon;

		if (strncmp(text, kinds[i], length) != 0 || text[length] == ':')
			continue;
		colon = strchr(text + length, ':');
		if (!colon || !colon[1])
			continue;
		MON_FREE char *path = strndup(text + length, (size_t)(colon - text) - length);

		if (!path)
			return no_memory(error);
		return mon_error_set(error, MON_EXIT_USAGE, EINVAL,
				     "'%s' is another tool's spelling; write '%s:%s', or only '%s' "
				     "when %s is the watched program itself",
				     MON_ESCAPED(text), MON_ESCAPED(base_name(path)),
				     MON_ESCAPED(colon + 1), MON_ESCAPED(colon + 1),
				     MON_ESCAPED(base_name(path)));
	}

	const char *at = strchr(text, '@');

	if (at && at > text) {
		MON_FREE char *symbol = strndup(text, (size_t)(at - text));

		if (!symbol)
			return no_memory(error);
		if (at[1] == '@' || !strncmp(at + 1, "GLIBC", 5) || !at[1])
			return mon_error_set(error, MON_EXIT_USAGE, EINVAL,
					     "'%s' names a symbol version, which is not looked at; "
					     "write '%s'",
					     MON_ESCAPED(text), MON_ESCAPED(symbol));
		return mon_error_set(error, MON_EXIT_USAGE, EINVAL,
				     "'%s' is another tool's spelling; write '%s:%s'",
				     MON_ESCAPED(text), MON_ESCAPED(base_name(at + 1)),
				     MON_ESCAPED(symbol));
	}
	return 0;
}

static int parse_patterns(const char *const *texts, size_t count, struct pattern **patterns_out,
			  struct mon_error *error)
{
	MON_FREE struct pattern *patterns = calloc(count ? count : 1, sizeof(*patterns));

	if (!patterns)
		return no_memory(error);
	for (size_t i = 0; i < count; i++) {
		size_t length;
		int result = check_spelling(texts[i], error);

		if (result)
			return result;
		patterns[i].text = texts[i];
		patterns[i].glob = mon_symbol_glob_split(texts[i], &length);
		if (!*patterns[i].glob || length >= LIBRARY_BYTES_MAX)
			return mon_error_set(error, MON_EXIT_USAGE, EINVAL,
					     "'%s' names no function; write 'GLOB' or 'LIB:GLOB', "
					     "such as 'libc:mallo*'",
					     MON_ESCAPED(texts[i]));
		patterns[i].has_library = length > 0;
		memcpy(patterns[i].library, texts[i], length);
	}
	*patterns_out = TAKE_PTR(patterns);
	return 0;
}

static bool pattern_covers(const struct pattern *pattern, const struct mon_module *module,
			   bool main_only, size_t index)
{
	return pattern->has_library ? mon_module_name_match(pattern->library, module->path)
				    : !main_only || index == 0;
}

/*
 * Code that is not called: no return address lies on the stack when it starts, so that a return
 * probe would overwrite something else (at `_start`, argc; in `f.cold`, the part of f that is kept
 * elsewhere and jumped to, a variable of f).
 */
static bool is_not_called(const char *name, size_t length)
{
	static const char *const starts[] = {"_dl_runtime_resolve", "_dl_runtime_profile",
					     "_dl_tlsdesc_"};
	static const char *const whole[] = {"_start", "__restore_rt", "__start_context"};

	for (size_t i = 0; i < MON_ARRAY_COUNT(starts); i++)
		if (length >= strlen(starts[i]) && !memcmp(name, starts[i], strlen(starts[i])))
			return true;
	for (size_t i = 0; i < MON_ARRAY_COUNT(whole); i++)
		if (length == strlen(whole[i]) && !memcmp(name, whole[i], length))
			return true;
	/* "f.cold", "f.cold.12", "f.part.0.cold" */
	while (length && name[length - 1] >= '0' && name[length - 1] <= '9')
		length--;
	if (length && name[length - 1] == '.')
		length--;
	return length > strlen(".cold") && !memcmp(name + length - 5, ".cold", 5);
}

static int gather(const struct mon_elf_symbol *symbol, void *context)
{
	struct gathering *gathering = context;

	if (!symbol->function || symbol->offset == gathering->entry_offset ||
	    is_not_called(symbol->name, symbol->name_length))
		return 0;
	if (gathering->count == gathering->room) {
		size_t room = gathering->room ? gathering->room * 2 : 1024;
		void *more = realloc(gathering->items, room * sizeof(*gathering->items));

		if (!more)
			return -ENOMEM;
		gathering->items = more;
		gathering->room = room;
	}
	gathering->items[gathering->count++] = (struct candidate){
		.name = symbol->name,
		.name_length = (uint32_t)symbol->name_length,
		.dynamic = symbol->dynamic,
		.global = symbol->global,
		.weak = symbol->weak,
		.offset = symbol->offset,
		.size_bytes = symbol->size_bytes,
	};
	return 0;
}

static int compare_names(const struct candidate *a, const struct candidate *b)
{
	size_t shorter = a->name_length < b->name_length ? a->name_length : b->name_length;
	int order = memcmp(a->name, b->name, shorter);

	return order ? order
		     : (a->name_length > b->name_length) - (a->name_length < b->name_length);
}

static int by_offset_and_name(const void *a, const void *b)
{
	const struct candidate *left = a, *right = b;
	int order;

	if (left->offset != right->offset)
		return left->offset < right->offset ? -1 : 1;
	order = compare_names(left, right);
	return order ? order : (int)left->dynamic - (int)right->dynamic;
}

/* Calls @visit for each address of one file, in rising order. */
static int walk_module(const struct mon_module_list *modules, size_t index,
		       int (*visit)(struct group *group, void *context), void *context,
		       struct mon_error *error)
{
	const struct mon_module *module = &modules->modules[index];
	struct gathering gathering = {0};
	struct mon_elf *elf = NULL;
	int result = mon_elf_open(module->open_path, module->path, &elf, error);

	if (result)
		return result;
	gathering.entry_offset = mon_elf_entry_offset(elf);
	result = mon_elf_symbols(elf, gather, &gathering, error);
	if (result == -ENOMEM)
		(void)no_memory(error);
	if (gathering.count)
		qsort(gathering.items, gathering.count, sizeof(*gathering.items),
		      by_offset_and_name);
	for (size_t i = 0, next; i < gathering.count && !result; i = next) {
		struct group group = {.names = &gathering.items[i],
				      .count = 1,
				      .elf = elf,
				      .module = module,
				      .module_index = index};

		/* The same name from both tables is one; .symtab comes first. */
		for (next = i + 1; next < gathering.count &&
				   gathering.items[next].offset == gathering.items[i].offset;
		     next++)
			if (compare_names(&group.names[group.count - 1], &gathering.items[next]))
				group.names[group.count++] = gathering.items[next];
		result = visit(&group, context);
	}
	free(gathering.items);
	mon_elf_close(elf);
	return result;
}

/* A candidate's texts, made when they are asked for. */
struct texts {
	char symbol[MON_ELF_NAME_BYTES_MAX];
	char name[MON_DEMANGLED_BYTES_MAX], plain[MON_DEMANGLED_BYTES_MAX];
	bool demangled; /* tried */
	bool has_name, has_plain;
};

static void texts_of(const struct candidate *candidate, struct texts *texts)
{
	memcpy(texts->symbol, candidate->name, candidate->name_length);
	texts->symbol[candidate->name_length] = '\0';
	texts->demangled = texts->has_name = texts->has_plain = false;
}

static const char *texts_name(struct texts *texts)
{
	if (!texts->demangled) {
		texts->demangled = true;
		texts->has_name = mon_demangle(texts->symbol, true, texts->name);
		texts->has_plain =
			texts->has_name && mon_demangle(texts->symbol, false, texts->plain);
	}
	return texts->has_name ? texts->name : texts->symbol;
}

static bool texts_match(struct texts *texts, const char *glob)
{
	if (mon_glob_match(glob, texts->symbol))
		return true;
	(void)texts_name(texts);
	return (texts->has_name && mon_glob_match(glob, texts->name)) ||
	       (texts->has_plain && mon_glob_match(glob, texts->plain));
}

static unsigned leading_underscores(const struct candidate *candidate)
{
	unsigned count = 0;

	while (count < candidate->name_length && candidate->name[count] == '_')
		count++;
	return count;
}

/* The name a reader expects: what was asked for, public, without underscores, short. */
static bool is_better_name(const struct candidate *a, const struct candidate *b)
{
	int a_rank = a->global ? 2 : a->weak, b_rank = b->global ? 2 : b->weak;

	if (a->matched != b->matched)
		return a->matched;
	if (leading_underscores(a) != leading_underscores(b))
		return leading_underscores(a) < leading_underscores(b);
	if (a_rank != b_rank)
		return a_rank > b_rank;
	return a->name_length < b->name_length;
}

static char *join_aliases(const struct group *group, const struct candidate *primary)
{
	char text[ALIASES_BYTES_MAX];
	size_t used = 0;

	for (size_t i = 0; i < group->count; i++) {
		const struct candidate *name = &group->names[i];

		if (name == primary)
			continue;
		if (used + name->name_length + 2 > sizeof(text))
			break;
		if (used)
			text[used++] = ',';
		memcpy(text + used, name->name, name->name_length);
		used += name->name_length;
	}
	return strndup(text, used);
}

static int take_module(struct finding *finding, const struct group *group)
{
	struct mon_function_set *set = &finding->set;
	struct mon_module *module;

	if (finding->module_taken)
		return 0;
	module = realloc(set->modules, (set->module_count + 1) * sizeof(*set->modules));
	if (!module)
		return -ENOMEM;
	set->modules = module;
	module += set->module_count;
	*module = *group->module;
	module->path = strdup(group->module->path);
	module->open_path = strdup(group->module->open_path);
	finding->module_taken = ++set->module_count;
	return module->path && module->open_path ? 0 : -ENOMEM;
}

/* All code of a file is read once, for the first function whose probe would move. */
static void place_probe(struct finding *finding, const struct group *group,
			struct mon_function *function)
{
	uint8_t bytes[MON_PLACEMENT_BYTES];
	size_t length = mon_elf_read(group->elf, function->offset, bytes, sizeof(bytes));
	struct mon_place place;

	mon_placement_propose(bytes, length, finding->query->arguments, &place);
	function->cost = place.cost_at_symbol;
	if (finding->query->placement == MON_PLACEMENT_SYMBOL)
		return;
	if (place.shift_bytes && !finding->code_tried) {
		finding->code_tried = true;
		(void)mon_code_of_elf(group->elf, &finding->code);
	}
	mon_placement_check(finding->code, function->offset, function->size_bytes, &place);
	function->probe_offset += place.shift_bytes;
	function->cost = place.cost;
	function->placement = place.why;
	if (place.shift_bytes && asprintf(&function->note, "the probe is %u bytes in, %s",
					  place.shift_bytes, place.why) < 0)
		function->note = NULL;
}

static int take_function(struct finding *finding, const struct group *group, struct texts *texts)
{
	struct mon_function_set *set = &finding->set;
	const struct candidate *primary = &group->names[0];
	uint64_t size_bytes = 0;
	int result = take_module(finding, group);

	if (result)
		return result;
	if (!(set->function_count & (set->function_count - 1))) {
		size_t room = set->function_count ? set->function_count * 2 : 1;
		void *more = realloc(set->functions, room * sizeof(*set->functions));

		if (!more)
			return -ENOMEM;
		set->functions = more;
	}
	for (size_t i = 0; i < group->count; i++) {
		if (is_better_name(&group->names[i], primary))
			primary = &group->names[i];
		if (group->names[i].size_bytes > size_bytes)
			size_bytes = group->names[i].size_bytes;
	}
	texts_of(primary, texts);

	struct mon_function *function = &set->functions[set->function_count++];

	*function = (struct mon_function){
		.module = (uint32_t)finding->module_taken - 1,
		.offset = primary->offset,
		.probe_offset = primary->offset,
		.size_bytes = size_bytes,
		.symbol = strdup(texts->symbol),
		.name = strdup(texts_name(texts)),
		.aliases = group->count > 1 ? join_aliases(group, primary) : NULL,
		.source = primary->dynamic ? "dynsym" : "symtab",
	};
	place_probe(finding, group, function);
	return function->symbol && function->name && (group->count == 1 || function->aliases)
		       ? 0
		       : -ENOMEM;
}

static bool is_excluded(const struct finding *finding, const struct group *group,
			struct texts *texts)
{
	for (size_t i = 0; i < finding->exclude_count; i++)
		if (pattern_covers(&finding->excludes[i], group->module, false,
				   group->module_index) &&
		    texts_match(texts, finding->excludes[i].glob))
			return true;
	return false;
}

static int match_group(struct group *group, void *context)
{
	struct finding *finding = context;
	bool wanted = !finding->pattern_count, excluded = false;
	struct texts texts;

	finding->functions++;
	for (size_t n = 0; n < group->count; n++) {
		texts_of(&group->names[n], &texts);
		for (size_t i = 0; i < finding->pattern_count; i++) {
			struct pattern *pattern = &finding->patterns[i];

			if (!pattern_covers(pattern, group->module, true, group->module_index) ||
			    !texts_match(&texts, pattern->glob))
				continue;
			pattern->matched++;
			group->names[n].matched = wanted = true;
		}
		excluded = excluded || is_excluded(finding, group, &texts);
	}
	if (!wanted)
		return 0;
	if (excluded) {
		finding->excluded++;
		return 0;
	}
	texts_of(&group->names[0], &texts);
	mon_prefixes_add(finding->prefixes, texts_name(&texts));
	return ++finding->matched > finding->limit ? 0 : take_function(finding, group, &texts);
}

static bool has_wildcard(const char *text)
{
	return strpbrk(text, "*?[") != NULL;
}

/* Is the file asked for by any glob, and by one that names it? */
static bool module_wanted(struct finding *finding, size_t index, bool *by_name_out)
{
	bool wanted = !finding->pattern_count && index == 0;

	*by_name_out = index == 0;
	for (size_t i = 0; i < finding->pattern_count; i++) {
		struct pattern *pattern = &finding->patterns[i];

		if (!pattern_covers(pattern, &finding->modules->modules[index], true, index))
			continue;
		wanted = pattern->library_found = true;
		*by_name_out = *by_name_out || !has_wildcard(pattern->library);
	}
	return wanted;
}

struct looking {
	const struct pattern *pattern;
	struct mon_nearest nearest;
	bool found; /* elsewhere, by its exact glob */
	size_t functions;
};

static int look_near(struct group *group, void *context)
{
	struct looking *looking = context;
	struct texts texts;

	looking->functions++;
	for (size_t i = 0; i < group->count; i++) {
		texts_of(&group->names[i], &texts);
		(void)texts_name(&texts);
		mon_nearest_add(&looking->nearest, texts.has_plain ? texts.plain : texts.symbol);
	}
	return 0;
}

static int look_exact(struct group *group, void *context)
{
	struct looking *looking = context;
	struct texts texts;

	for (size_t i = 0; i < group->count && !looking->found; i++) {
		texts_of(&group->names[i], &texts);
		looking->found = texts_match(&texts, looking->pattern->glob);
	}
	return looking->found;
}

static int library_not_mapped(const struct finding *finding, const struct pattern *pattern,
			      struct mon_error *error)
{
	struct mon_nearest nearest;
	char names[MON_NEAREST_MAX * MON_NEAREST_NAME_BYTES * 2];

	mon_nearest_init(&nearest, pattern->library);
	nearest.open_end = true; /* "libssl" is near "libssh.so.4" */
	for (size_t i = 0; i < finding->modules->count; i++)
		mon_nearest_add(&nearest, base_name(finding->modules->modules[i].path));
	(void)mon_nearest_text(&nearest, names, sizeof(names));
	return mon_error_set(
		error, MON_EXIT_NO_MATCH, ENOENT,
		"no mapped file is named '%s', which '%s' asks for%s%s; see them with: "
		"monbpf list -p PID '*:*'",
		MON_ESCAPED(pattern->library), MON_ESCAPED(pattern->text),
		*names ? "; nearest: " : "", names);
}

/* A glob that matched nothing: why, and what was perhaps meant. */
static int nothing_matched(const struct finding *finding, const struct pattern *pattern,
			   struct mon_error *error)
{
	const struct mon_module *first = NULL;
	struct looking looking = {.pattern = pattern};
	struct mon_error why, *unread = &why;
	char names[MON_NEAREST_MAX * MON_NEAREST_NAME_BYTES * 2];
	int unread_result =
		mon_error_set(&why, MON_EXIT_NO_MATCH, ENOENT, "no file is mapped to look into");

	if (pattern->has_library && !pattern->library_found)
		return library_not_mapped(finding, pattern, error);
	mon_nearest_init(&looking.nearest, pattern->glob);
	for (size_t i = 0; i < finding->modules->count; i++) {
		if (!pattern_covers(pattern, &finding->modules->modules[i], true, i))
			continue;
		int result = walk_module(finding->modules, i, look_near, &looking, unread);

		if (!result) {
			first = first ? first : &finding->modules->modules[i];
		} else if (unread) {
			unread_result = result;
			unread = NULL; /* the first one is told */
		}
	}
	/* Not one of the files could be read: that is why, and no word about what is in them. */
	if (!first) {
		if (error)
			*error = why;
		return unread_result;
	}
	if (!looking.functions)
		return mon_error_set(error, MON_EXIT_NO_MATCH, ENODATA,
				     "%s is stripped, it has no function symbols; use a build with "
				     "symbols, or watch a library it calls: 'libc:mallo*'",
				     MON_ESCAPED(first->path));
	for (size_t i = 1; i < finding->modules->count && !pattern->has_library; i++) {
		(void)walk_module(finding->modules, i, look_exact, &looking, NULL);
		if (looking.found)
			return mon_error_set(
				error, MON_EXIT_NO_MATCH, ENOENT,
				"no function of %s matches '%s', but %s has one; "
				"write '%s:%s'",
				MON_ESCAPED(base_name(first->path)), MON_ESCAPED(pattern->text),
				MON_ESCAPED(finding->modules->modules[i].path),
				MON_ESCAPED(base_name(finding->modules->modules[i].path)),
				MON_ESCAPED(pattern->glob));
	}
	(void)mon_nearest_text(&looking.nearest, names, sizeof(names));
	return mon_error_set(error, MON_EXIT_NO_MATCH, ENOENT,
			     "no function of %s matches '%s'%s%s; list them with: monbpf list",
			     MON_ESCAPED(base_name(first->path)), MON_ESCAPED(pattern->text),
			     *names ? "; nearest: " : "", names);
}

static int too_many(const struct finding *finding, struct mon_error *error)
{
	char counts[1024], matched[32], limit[32];

	(void)mon_format_count(matched, sizeof(matched), finding->matched);
	(void)mon_format_count(limit, sizeof(limit), finding->limit);
	(void)mon_prefixes_text(finding->prefixes, counts, sizeof(counts));
	if (finding->pattern_count)
		return mon_error_set(error, MON_EXIT_USAGE, E2BIG,
				     "%s functions match, more than %s; narrow the globs or use "
				     "--exclude. The biggest groups:\n%s",
				     matched, limit, counts);
	return mon_error_set(error, MON_EXIT_USAGE, E2BIG,
			     "%s has %s functions, more than the %s that are watched without a "
			     "glob; name some. The biggest groups:\n%s",
			     MON_ESCAPED(base_name(finding->modules->modules[0].path)), matched,
			     limit, counts);
}

static int judge(const struct finding *finding, struct mon_error *error)
{
	for (size_t i = 0; i < finding->pattern_count; i++)
		if (!finding->patterns[i].matched)
			return nothing_matched(finding, &finding->patterns[i], error);
	if (!finding->matched && finding->excluded)
		return mon_error_set(error, MON_EXIT_NO_MATCH, ENOENT,
				     "--exclude leaves none of the %zu functions that match; "
				     "exclude fewer",
				     finding->excluded);
	if (!finding->matched) {
		const struct pattern all = {.text = "*", .glob = "*"};

		return nothing_matched(finding, &all, error);
	}
	if (finding->matched > finding->limit)
		return too_many(finding, error);
	return 0;
}

int mon_symbols_find(const struct mon_module_list *modules, const struct mon_symbol_query *query,
		     struct mon_function_set *set_out, struct mon_error *error)
{
	MON_FREE struct pattern *patterns = NULL;
	MON_FREE struct pattern *excludes = NULL;
	MON_FREE struct mon_prefixes *prefixes = calloc(1, sizeof(*prefixes));
	struct finding finding = {
		.modules = modules,
		.pattern_count = query->glob_count,
		.exclude_count = query->exclude_count,
		.prefixes = prefixes,
		.query = query,
	};
	int result = prefixes ? 0 : no_memory(error);

	if (!result)
		result = parse_patterns(query->globs, query->glob_count, &patterns, error);
	if (!result)
		result = parse_patterns(query->excludes, query->exclude_count, &excludes, error);
	finding.limit = query->limit	    ? query->limit
			: query->glob_count ? MON_SYMBOLS_MATCH_MAX
					    : MON_SYMBOLS_DEFAULT_MAX;
	finding.patterns = patterns;
	finding.excludes = excludes;
	for (size_t i = 0; i < modules->count && !result; i++) {
		bool by_name;

		if (!module_wanted(&finding, i, &by_name))
			continue;
		finding.module_taken = 0;
		result = walk_module(modules, i, match_group, &finding, error);
		mon_code_free(TAKE_PTR(finding.code));
		finding.code_tried = false;
		/* `*:name` meets files that are mapped executable and are no ELF files. */
		if (result == -ENOEXEC && !by_name)
			result = 0;
		if (result == -ENOMEM)
			(void)no_memory(error);
	}
	if (!result)
		result = judge(&finding, error);
	if (result) {
		mon_function_set_clear(&finding.set);
		return result;
	}
	*set_out = finding.set;
	return 0;
}
