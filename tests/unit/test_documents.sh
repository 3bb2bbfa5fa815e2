#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# What README.md and docs/ name is there: files of the source, relative links, and tests. A test is
# named as `test_program`: name, name; a word after the colon with an underscore or a capital is a
# name, and so is one in backticks. Prints TAP.
# shellcheck disable=SC2016,SC2013 # backticks are meant, and words
set -u

root=$(cd "$(dirname "$0")/../.." && pwd) || exit 1
cd "$root" || exit 1
number=0
wrong=0
mapfile -t documents < <(ls README.md && find docs -name '*.md' | sort)

result() { # NAME WHAT-FAILED
	number=$((number + 1))
	if [ -z "$2" ]; then
		echo "ok $number - $1"
	else
		echo "not ok $number - $1"
		printf '%s\n' "$2" | sed 's/^/# /'
		wrong=1
	fi
}

# DOCUMENT<tab>what stands in backticks, a line each.
quoted() {
	awk '{ n = split($0, part, "`"); for (i = 2; i < n; i += 2) print FILENAME "\t" part[i] }' \
		"${documents[@]}"
}

# userspace/'s folders are named without it: pipeline/store.h.
is_there() { # PATH
	local path=${1%%:*} at
	for at in "$path" "$path.c" "$path.sh" "userspace/$path"; do
		# shellcheck disable=SC2086 # a glob is meant
		! compgen -G "$at" >/dev/null || return 0
	done
	return 1
}

source_of_test() { # test_x
	ls tests/*/"$1".c tests/*/"$1".sh 2>/dev/null
}

# `test_x` or `tests/kind/test_x.c`, a colon, and names up to the end of the cell or sentence.
# PROGRAM NAME a line.
named_tests() {
	cat "${documents[@]}" | tr '\n' ' ' |
		grep -oE '`(tests/[a-z]+/)?test_[a-z0-9_]+(\.c|\.sh)?`: [^|.;)]*' |
		sed -E 's/^`(tests\/[a-z]+\/)?(test_[a-z0-9_]+)(\.c|\.sh)?`: /\2 /' |
		while read -r program names; do
			tr ',' '\n' <<<"$names" | grep -oE '^ *`?[A-Za-z0-9]+(_[A-Za-z0-9_]+)?`?' |
				grep -E '_|[A-Z]|`' | tr -d '` ' | sed "s/^/$program /"
		done
}

echo 1..4

result paths "$(
	quoted | grep -E $'\t''(docs|tests|userspace|bpf|vmlinux|\.ci|base|attach|capture|pipeline|control|monitor|report|cli)/[^ ]*$' |
		sort -u | while IFS=$'\t' read -r document path; do
		is_there "$path" || echo "$document: $path does not exist"
	done
	[ "$(quoted | grep -cE $'\t''(docs|tests)/')" -ge 20 ] || echo 'fewer than 20 paths were found'
)"

result links "$(
	for document in "${documents[@]}"; do
		grep -oE '\]\([^)#:]+' "$document" | sed 's/^](//' | while read -r path; do
			[ -e "$(dirname "$document")/$path" ] || echo "$document: $path does not exist"
		done
	done
)"

# S01, S08, `tests/fault/test_storage.c`: the ids before a file are tests of it.
result ids "$(
	found=0
	ids=()
	for word in $(cat "${documents[@]}" | grep -E '\b[A-Z][0-9]{2}\b.*`tests/' |
		grep -oE '\b[A-Z][0-9]{2}\b|`tests/[a-z]+/test_[a-z_]+\.c'); do
		if [[ $word != \`* ]]; then
			ids+=("$word")
			continue
		fi
		for id in "${ids[@]}"; do
			found=$((found + 1))
			grep -qE "\b${id}_" "${word#\`}" || echo "${word#\`} has no test $id"
		done
		ids=()
	done
	[ "$found" -ge 8 ] || echo "only $found ids were found"
)"

result tests "$(
	while read -r program name; do
		file=$(source_of_test "$program")
		if [ -z "$file" ]; then
			echo "there is no test program $program"
		elif ! xargs grep -qw -- "$name" <<<"$file"; then
			echo "$program has no test $name"
		fi
	done < <(named_tests)
	[ "$(named_tests | wc -l)" -ge 30 ] || echo 'fewer than 30 names of tests were found'
)"

exit "$wrong"
