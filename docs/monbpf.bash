# SPDX-License-Identifier: GPL-2.0-or-later
#
# Completion of monbpf's command line in bash. Commands and options are read from the --help of the
# monbpf on PATH, so they cannot disagree with it. Nothing that is read is ever expanded by the
# shell: `compgen -W` would run a process name like $(...), so words are compared one by one.

# Options of COMMAND, one a line; without COMMAND the commands.
_monbpf_words() { # [COMMAND]
	local line word words
	while IFS= read -r line; do
		[[ $line == ' '* ]] || continue
		read -ra words <<<"$line"
		if [ $# = 0 ]; then
			printf '%s\n' "${words[0]}"
			continue
		fi
		for word in "${words[@]}"; do # -p, --pid PID: up to the first without a comma
			[[ $word == -?* && $word != -- ]] || break
			printf '%s\n' "${word%,}"
			[[ $word == *, ]] || break
		done
	done < <(command monbpf "$@" --help 2>/dev/null)
}

# Names of processes, but for those that would need quoting, and numbers.
_monbpf_processes() {
	local path name
	for path in /proc/[0-9]*; do
		printf '%s\n' "${path#/proc/}"
		{ IFS= read -r name <"$path/comm"; } 2>/dev/null || continue
		[[ $name =~ ^[A-Za-z0-9_.+-]+$ ]] && printf '%s\n' "$name"
	done
}

# What begins like the word that is being typed, each once.
_monbpf_offer() { # WORD < WORDS
	local word
	local -A seen=()
	while IFS= read -r word; do
		[[ $word == "$1"* && -z ${seen[$word]-} ]] || continue
		seen[$word]=yes
		COMPREPLY+=("$word")
	done
}

_monbpf_files() { # WORD [-d]
	local path
	compopt -o filenames 2>/dev/null
	while IFS= read -r path; do COMPREPLY+=("$path"); done < <(compgen "${2--f}" -- "$1")
}

_monbpf() {
	local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}
	local command=${COMP_WORDS[1]} at
	COMPREPLY=()
	if [ "$COMP_CWORD" = 1 ]; then
		_monbpf_offer "$current" < <(
			_monbpf_words
			printf '%s\n' --help --version
		)
		return
	fi
	if [ "$command" = attach ]; then
		for ((at = 2; at < COMP_CWORD; at++)); do
			[ "${COMP_WORDS[at]}" = -- ] || continue
			if declare -F _command_offset >/dev/null; then
				_command_offset $((at + 1))
			else
				_monbpf_files "$current"
			fi
			return
		done
	fi
	case $previous in
	-p | --pid) _monbpf_offer "$current" < <(_monbpf_processes) ;;
	-b | --binary | -i | --input | -o | --output) _monbpf_files "$current" ;;
	--spool-dir | --pins) _monbpf_files "$current" -d ;;
	*)
		case $command,$COMP_CWORD,$current in
		*,-*) _monbpf_offer "$current" < <(_monbpf_words "$command") ;;
		spool,2,*) _monbpf_offer "$current" < <(printf '%s\n' check drain) ;;
		spool,*) _monbpf_files "$current" -d ;;
		esac
		;;
	esac
}

complete -F _monbpf monbpf
