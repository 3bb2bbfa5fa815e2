#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Runs what README.md and docs/ show. A block fenced as `sh runnable` or `sql runnable` is run as it
# stands: the blocks of one document in order, in one shell (bash -eu -o pipefail) and one empty
# directory; SQL through sqlite3 on the monbpf.db that earlier blocks made. There is one redis-server
# with a small steady load, alone in a pid namespace, so that -p redis-server is unique whatever else
# the machine runs, and so that nothing outlives the document. /run is a fresh one: pins of other
# runs are out of reach. Prints TAP, one test for each block and one for what a document leaves.
set -u

root=$(cd "$(dirname "$0")/../.." && pwd) || exit 1
build=${MON_BUILD:-build}
[[ $build = /* ]] || build=$PWD/$build
limit_s=80 # for one document

# Processes of the namespace that the blocks left.
strangers() {
	local path state
	for path in /proc/[0-9]*; do
		state=$(sed -n 's/^State:[[:space:]]*//p' "$path/status" 2>/dev/null)
		case $state,$(cat "$path/comm" 2>/dev/null) in
		Z* | X* | *,'' | *,test_guides.sh | *,redis-server | *,redis-benchmark | *,cat | *,sed) ;;
		*) echo "left running: $(tr '\0' ' ' <"$path/cmdline" 2>/dev/null)" ;;
		esac
	done
}

# In the namespace: what the blocks of one document need, then the blocks, then what is left.
inside() { # DIRECTORY
	local server load status deadline
	mount -t tmpfs none /run || exit 125
	cd "$1/redis" || exit 125
	redis-server --port 0 --unixsocket redis.sock --save '' --appendonly no --daemonize no \
		--logfile redis.log >/dev/null 2>&1 9>&- &
	server=$!
	deadline=$((SECONDS + 20))
	until redis-cli -s redis.sock ping >/dev/null 2>&1; do
		((SECONDS < deadline)) && kill -0 "$server" || exit 125
		read -r -t 0.05 <> <(:)
	done
	while redis-benchmark -s redis.sock -t set,get,lpush -r 1000 -n 1000 -c 2 -q; do
		read -r -t 0.02 <> <(:)
	done >/dev/null 2>&1 9>&- &
	load=$!
	cd "$1/place" || exit 125
	PATH=$1/bin:$PATH bash "$1/blocks" </dev/null
	status=$?
	[ "$status" = 0 ] || exit "$status"

	exec >"$1/left" 2>&1
	(cd "$1/redis" && redis-cli -s redis.sock ping | grep -qx PONG) || echo 'redis-server is gone'
	find /run/monbpf -name '*-*-*-*' 2>/dev/null # pins of a run: a directory named by its UUID
	kill "$load" && wait "$load" 2>/dev/null
	for _ in {1..40}; do # what was told to end may take a moment
		[ -n "$(strangers)" ] || break
		read -r -t 0.05 <> <(:)
	done
	strangers
	! grep -qi '^#.*remove everything' "$1/document" ||
		find "$1/place" /run/monbpf ! -path "$1/place" ! -type l 2>/dev/null
	exit 0
}
if [ "${1-}" = --inside ]; then
	inside "$2"
fi

scratch=$(mktemp -d "$build/tests/guides.XXXXXX") || exit 1
trap 'rm -rf "$scratch"' EXIT
trap 'exit 130' INT TERM HUP
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

documents() { (cd "$root" && ls README.md && find docs -name '*.md' | sort); }

# One script of all runnable blocks; before each it says where it is, in $reached.
extract() { # DOCUMENT < MARKDOWN
	awk -v name="$1" '
	BEGIN { print "set -eu -o pipefail" }
	/^```/ && inside { if (inside == "sql") print "END_OF_THE_SQL"; inside = ""; next }
	/^```(sh|sql) runnable$/ {
		inside = $1; sub(/^```/, "", inside)
		printf "echo %s:%d >>\"$MON_GUIDE_REACHED\"\n", name, NR
		if (inside == "sql") print "sqlite3 -bail monbpf.db <<\"END_OF_THE_SQL\""
		next
	}
	/^```/ { inside = "other"; next }
	inside == "sh" || inside == "sql"'
}

places() { # DOCUMENT
	grep -nE '^```(sh|sql) runnable$' "$root/$1" | sed "s,^\([0-9]*\):.*,$1:\1,"
}

prepare() { # DIRECTORY DOCUMENT
	mkdir -p "$1/place" "$1/redis" "$1/bin" || exit 1
	cp "$root/$2" "$1/document"
	ln -s "$build" "$1/place/build"
	ln -s "$build/monbpf" "$1/bin/monbpf"
	if ! command -v sudo >/dev/null; then
		printf '#!/bin/sh\nexec "$@"\n' >"$1/bin/sudo" && chmod +x "$1/bin/sudo"
	fi
	extract "$2" <"$root/$2" >"$1/blocks"
	: >"$1/reached"
}

run_document() { # DOCUMENT
	local directory=$scratch/${1//\//.} status place last why
	prepare "$directory" "$1"
	MON_GUIDE_REACHED=$directory/reached timeout -k 5 "$limit_s" \
		unshare --pid --fork --mount --mount-proc --kill-child \
		"$root/tests/kernel/test_guides.sh" --inside "$directory" >"$directory/log" 2>&1
	status=$?
	last=$(tail -n 1 "$directory/reached")
	for place in $(places "$1"); do
		why=
		if ! grep -qxF "$place" "$directory/reached"; then
			why="not reached, because ${last:-the start} failed (exit status $status)"
		elif [ "$place" = "$last" ] && [ "$status" != 0 ]; then
			why="exit status $status"$'\n'$(tail -n 30 "$directory/log")
		fi
		result "$place" "$why"
	done
	why=$(cat "$directory/left" 2>&1)
	result "$1 leaves nothing" "$why"
}

runnable=()
for document in $(documents); do
	[ -z "$(places "$document")" ] || runnable+=("$document")
done
blocks=$(for document in "${runnable[@]}"; do places "$document"; done | wc -l)
echo "1..$((blocks + ${#runnable[@]} + 1))"

# Shell and SQL that is shown is run. What cannot be (a part of a command, what installs) has no
# language.
result fences "$(
	cd "$root" || exit
	# shellcheck disable=SC2046 # names without blanks
	awk 'FNR == 1 { if (inside) print "a fence is open before " FILENAME; inside = 0 }
	/^ *```/ {
		if (!inside && $0 !~ /^ *```[a-z]*$/ && $0 !~ /^```(sh|sql) runnable$/ ||
		    $0 ~ /^ *```(sh|sql|bash|shell|console)$/)
			print FILENAME ":" FNR ": " $0
		inside = !inside
	}
	END { if (inside) print FILENAME ": a fence is open" }' $(documents) 2>&1
	[ "$blocks" -ge 15 ] || echo "only $blocks runnable blocks were found"
)"
for document in "${runnable[@]}"; do
	run_document "$document"
done
exit "$wrong"
