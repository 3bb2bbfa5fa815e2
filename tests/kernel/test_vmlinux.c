// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * vmlinux/vmlinux.h is kept by hand: each of its structs, members and constants is held against the
 * running kernel's BTF. Members may lie elsewhere (CO-RE moves the access); they must be there and
 * have the same size. The registers are ABI and must lie where we say.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/harness/process.h"

#include <bpf/btf.h>
#include <stdio.h>
#include <string.h>

static struct btf *ours, *kernel;

static int setup(void **state)
{
	char path[4096];

	(void)state;
	(void)snprintf(path, sizeof(path), "%s/tests/kernel/vmlinux_types.o", process_build_dir());
	ours = btf__parse_elf(path, NULL);
	kernel = btf__load_vmlinux_btf();
	return !ours || !kernel;
}

static int teardown(void **state)
{
	(void)state;
	btf__free(ours);
	btf__free(kernel);
	return 0;
}

/* In @type or, as C sees it, in one of its unnamed members. Bits from the start of @type, or -1. */
static long long find_member(const struct btf *btf, const struct btf_type *type, const char *name,
			     uint32_t *type_out)
{
	const struct btf_member *member = btf_members(type);

	for (unsigned i = 0; i < btf_vlen(type); i++, member++) {
		const char *found = btf__name_by_offset(btf, member->name_off);
		const struct btf_type *inner;
		long long bits;

		if (strcmp(found, name) == 0) {
			*type_out = member->type;
			return btf_member_bit_offset(type, i);
		}
		if (*found)
			continue;
		inner = btf__type_by_id(btf, (unsigned)btf__resolve_type(btf, member->type));
		if (!btf_is_composite(inner))
			continue;
		bits = find_member(btf, inner, name, type_out);
		if (bits >= 0)
			return bits + btf_member_bit_offset(type, i);
	}
	return -1;
}

/* Of numbers, pointers and arrays of them; 0 for a struct, which is looked at by itself. */
static long long plain_size(const struct btf *btf, uint32_t id)
{
	const struct btf_type *type = btf__type_by_id(btf, (unsigned)btf__resolve_type(btf, id));

	return btf_is_composite(type) || btf_is_array(type) ? 0 : btf__resolve_size(btf, id);
}

static void check_struct(const struct btf_type *type)
{
	const char *name = btf__name_by_offset(ours, type->name_off);
	int id = btf__find_by_name_kind(kernel, name, BTF_KIND_STRUCT);
	const struct btf_member *member = btf_members(type);
	const struct btf_type *theirs;

	if (id < 0)
		fail_msg("the kernel has no struct %s", name);
	theirs = btf__type_by_id(kernel, (unsigned)id);
	for (unsigned i = 0; i < btf_vlen(type); i++, member++) {
		const char *field = btf__name_by_offset(ours, member->name_off);
		uint32_t their_type = 0;
		long long bits = find_member(kernel, theirs, field, &their_type);

		if (bits < 0)
			fail_msg("the kernel's struct %s has no member %s", name, field);
		if (strcmp(name, "pt_regs") == 0) {
			/* Newer kernels read only a part of some, as the saved word's first bytes.
			 */
			if (bits != btf_member_bit_offset(type, i))
				fail_msg("register %s lies at bit %lld, not %u", field, bits,
					 btf_member_bit_offset(type, i));
		} else if (plain_size(ours, member->type) != plain_size(kernel, their_type)) {
			fail_msg("%s.%s has %lld bytes, in the kernel %lld", name, field,
				 plain_size(ours, member->type), plain_size(kernel, their_type));
		}
	}
}

static void structs(void **state)
{
	unsigned checked = 0;

	(void)state;
	for (unsigned id = 1; id < btf__type_cnt(ours); id++) {
		const struct btf_type *type = btf__type_by_id(ours, id);

		if (!btf_is_struct(type) || btf_kind(type) == BTF_KIND_FWD)
			continue;
		check_struct(type);
		checked++;
	}
	assert_true(checked >= 10); /* the header has that many: an empty file proves nothing */
}

/* By value, under any enum of the kernel: some of ours have no name to look for. */
static bool kernel_has(const char *name, uint32_t value)
{
	for (unsigned id = 1; id < btf__type_cnt(kernel); id++) {
		const struct btf_type *type = btf__type_by_id(kernel, id);
		const struct btf_enum *item = btf_enum(type);

		if (!btf_is_enum(type))
			continue;
		for (unsigned i = 0; i < btf_vlen(type); i++)
			if ((uint32_t)item[i].val == value &&
			    strcmp(btf__name_by_offset(kernel, item[i].name_off), name) == 0)
				return true;
	}
	return false;
}

static void constants(void **state)
{
	unsigned checked = 0;

	(void)state;
	for (unsigned id = 1; id < btf__type_cnt(ours); id++) {
		const struct btf_type *type = btf__type_by_id(ours, id);
		const struct btf_enum *item = btf_enum(type);

		if (!btf_is_enum(type))
			continue;
		for (unsigned i = 0; i < btf_vlen(type); i++) {
			const char *name = btf__name_by_offset(ours, item[i].name_off);

			if (!kernel_has(name, (uint32_t)item[i].val))
				fail_msg("the kernel has no %s = %d", name, item[i].val);
			checked++;
		}
	}
	assert_true(checked >= 10);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(structs),
		cmocka_unit_test(constants),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
