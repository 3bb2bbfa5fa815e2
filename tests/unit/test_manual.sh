#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The manual page, --help, the parser and the completion name the same commands and options. A new
# option is added to the parser, its help and docs/monbpf.1; the completion reads the help. Prints
# TAP.
set -u

root=$(cd "$(dirname "$0")/../.." && pwd) || exit 1
build=${MON_BUILD:-build}
[[ $build = /* ]] || build=$PWD/$build
monbpf=$build/monbpf
page=$root/docs/monbpf.1
scratch=$(mktemp -d "$build/tests/manual.XXXXXX") || exit 1
trap 'rm -rf "$scratch"' EXIT
cd "$scratch" || exit 1
ln -s "$monbpf" monbpf && PATH=$scratch:$PATH
number=0
wrong=0

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

# Lines that only one of two lists has, with whose they are.
differ() { # A-NAME A B-NAME B
	local only
	only=$(comm -23 <(printf '%s\n' "$2" | sort) <(printf '%s\n' "$4" | sort) | tr '\n' ' ')
	[ -z "${only// /}" ] || echo "only $1: $only"
	only=$(comm -13 <(printf '%s\n' "$2" | sort) <(printf '%s\n' "$4" | sort) | tr '\n' ' ')
	[ -z "${only// /}" ] || echo "only $3: $only"
}

commands_of_help() { monbpf --help | sed -n 's/^  \([a-z]*\) .*/\1/p'; }
commands_of_page() {
	awk '/^\.Sh/ { inside = $2 == "COMMANDS" } inside && /^\.Ss/ { print $2 }' "$page"
}
commands_of_completion() {
	complete_words monbpf '' | grep -v '^-'
}

# -x and --word in the first column: "  -p, --pid PID|NAME   a process".
options_of_help() { # COMMAND
	monbpf "$1" --help | grep -oE '^ +-[a-z-]+(, +-[a-z-]+)*' | tr -d ' ' | tr , '\n' | grep -vx -- --
}
# .It Fl p , Fl -pid Ar PID
options_of_page() { # COMMAND
	awk -v command="$1" '
	/^\.S[hs]/ { inside = $1 == ".Ss" && $2 == command }
	inside && /^\.It/ { for (i = 2; i < NF; i++) if ($i == "Fl") print "-" $(i + 1) }' "$page"
}
# Rows of getopt_long() tables, and of the table in attach_options.c.
options_of_source() { # COMMAND
	local file=$root/userspace/cli/cmd_$1.c
	[ "$1" != attach ] || file=$root/userspace/cli/attach_options.c
	grep -oE "^[[:space:]]*\{(\"[a-z-]+\"|NULL), ('[a-z]'|0|(required|no|optional)_argument)" "$file" |
		grep -oE "\"[a-z-]+\"|'[a-z]'" | sed -E "s/\"(.*)\"/--\1/; s/'(.)'/-\1/"
}
# What bash would offer for the last of WORDS.
complete_words() { # WORDS...
	(
		# shellcheck disable=SC1091
		. "$root/docs/monbpf.bash"
		COMP_WORDS=("$@")
		# shellcheck disable=SC2034 # the completion reads it
		COMP_CWORD=$(($# - 1))
		_monbpf
		[ ${#COMPREPLY[@]} = 0 ] || printf '%s\n' "${COMPREPLY[@]}"
	)
}

# An option that is known is not the one that is complained of. Nothing runs: what is behind it is
# no option, wherever the value ends.
refused_by_parser() { # COMMAND OPTION
	local said action=''
	[ "$1" != spool ] || action='check'
	[ "$1,$2" != spool,-o ] && [ "$1,$2" != spool,--output ] || action='drain'
	# shellcheck disable=SC2086 # none or one
	said=$(monbpf "$1" $action "$2" --none-such --none-such 2>&1)
	grep -qE -- "there is no option $2([;: ]|$)" <<<"$said"
}

echo 1..9

result lint "$(mandoc -T lint -W warning "$page" 2>&1)"

result commands "$(
	differ 'in --help' "$(commands_of_help)" 'on the page' "$(commands_of_page)"
	differ 'in --help' "$(commands_of_help)" 'in the completion' "$(commands_of_completion)"
	[ "$(commands_of_help | wc -l)" -ge 7 ] || echo 'fewer than 7 commands were found'
)"

result options_of_the_page "$(
	for command in $(commands_of_help); do
		differ "in monbpf $command --help" "$(options_of_help "$command")" \
			'on the page' "$(options_of_page "$command")"
	done
	[ "$(options_of_page attach | wc -l)" -ge 38 ] || echo 'fewer options of attach than there are'
)"

# The parser's long names. What only the help has would show in the next test, too.
result options_of_the_parser "$(
	for command in $(commands_of_help); do
		differ "in monbpf $command --help" "$(options_of_help "$command" | grep -- '^--')" \
			'in the parser' "$(options_of_source "$command" | grep -- '^--')"
	done
)"

result each_option_is_accepted "$(
	for command in $(commands_of_help); do
		for option in $(options_of_help "$command"); do
			! refused_by_parser "$command" "$option" || echo "monbpf $command: $option is refused"
		done
		refused_by_parser "$command" --none-such || echo "monbpf $command: --none-such is accepted"
	done
)"

result options_of_the_completion "$(
	for command in $(commands_of_help); do
		differ "in monbpf $command --help" "$(options_of_help "$command")" \
			'in the completion' "$(complete_words monbpf "$command" -)"
	done
)"

result completion_of_a_part "$(
	[ "$(complete_words monbpf report --sl)" = --slowest ] || echo 'report --sl is not --slowest'
	[ "$(complete_words monbpf rep)" = report ] || echo 'rep is not report'
	[ "$(complete_words monbpf spool dr)" = drain ] || echo 'spool dr is not drain'
	complete_words monbpf attach -p $$ | grep -qx $$ || echo "attach -p $$ does not offer it"
	[ "$(complete_words monbpf attach --pins "$scratch/mon")" = '' ] || echo '--pins offers a file'
	[ "$(complete_words monbpf report -i "$scratch/mon")" = "$scratch/monbpf" ] ||
		echo 'report -i does not offer a file'
	[ "$(complete_words monbpf attach -- "$scratch/mon")" = "$scratch/monbpf" ] ||
		echo 'attach -- does not offer a file'
)"

# A process may call itself anything, and completing runs as whoever presses Tab.
# shellcheck disable=SC2016,SC2288 # that is its name
cp "$(command -v sleep)" '$(>ran)'
# shellcheck disable=SC2016,SC2288
'./$(>ran)' 60 &
hostile=$!
result completion_runs_nothing "$(
	complete_words monbpf attach -p '' | grep -F 'ran' && echo 'a hostile name is offered'
	complete_words monbpf attach -p "\$(>ran)" >/dev/null
	complete_words monbpf "\$(>ran)" - >/dev/null
	[ ! -e ran ] || echo 'a hostile name was run'
)"
kill "$hostile" && wait "$hostile" 2>/dev/null

result installed "$(
	make -C "$root" --no-print-directory BUILD="$build" DESTDIR="$scratch/root" PREFIX=/usr \
		-o all install >make.log 2>&1 || cat make.log
	for path in bin/monbpf share/man/man1/monbpf.1 share/bash-completion/completions/monbpf; do
		[ -s "root/usr/$path" ] || echo "$path is not installed"
	done
	make -C "$root" --no-print-directory DESTDIR="$scratch/root" PREFIX=/usr uninstall \
		>make.log 2>&1 || cat make.log
	find root -type f
)"

exit "$wrong"
