// SPDX-License-Identifier: GPL-2.0-or-later
/* See peers.h. perf's probes live in tracefs, which is mounted for perf alone if it is not. */
#include "tests/bench/peers.h"

#include <stddef.h>

const char *const question_titles[QUESTIONS] = {
	[COUNTS] = "how often is it called? (starts with push)",
	[LATENCY] = "how long does it take, as a histogram? (starts with push)",
	[RECORD] = "every call recorded (starts with push)",
	[ENDBR] = "a function that starts with endbr64; push",
	[FUNCTIONS] = "1 function watched, and 10,000 (all start with push)",
	[THREADS] = "two threads in one function, each on its CPU (starts with push)",
};

#define MONBPF(OPTIONS, GLOB) \
	.command = "exec %m attach -p %p -o %d/db --max-overhead 0 " OPTIONS " '" GLOB "'"
#define SEEN_CALLS .seen = "sqlite3 %d/db 'SELECT sum(calls) FROM functions'"
#define SEEN_ROWS .seen = "sqlite3 %d/db 'SELECT count(*) FROM call'"

#define BPFTRACE(PROGRAM) .needs = "bpftrace", .command = "exec bpftrace -p %p -e '" PROGRAM "'"
#define COUNT_OF(FUNCTION) "uprobe:%b:" FUNCTION " { @ = count(); }"
#define HIST_OF(FUNCTION)                                                             \
	"uprobe:%b:" FUNCTION " { @start[tid] = nsecs; } "                            \
	"uretprobe:%b:" FUNCTION " /@start[tid]/ { @ns = hist(nsecs - @start[tid]); " \
	"delete(@start[tid]); }"
#define SEEN_COUNT .seen = "sed -n 's/^@: //p' %d/out"
/* bpftrace's and bcc's: the last number before the bar. */
#define SEEN_HIST                                                                   \
	.seen = "awk -F'|' 'NF > 1 { n = split($1, word, \" \"); sum += word[n] } " \
		"END { print sum + 0 }' %d/out"
#define SEEN_LINES .seen = "grep -c '^call ' %d/out"

#define PERF(COMMAND)                                                                    \
	.needs = "perf",                                                                 \
	.command = "exec unshare -m sh -c '[ -e /sys/kernel/tracing/uprobe_events ] || " \
		   "mount -t tracefs tracefs /sys/kernel/tracing; "                      \
		   "perf probe -q -x %b -a monbpf_bench:peer_push=peer_push && "         \
		   "exec perf " COMMAND "'",                                             \
	.after = "unshare -m sh -c '[ -e /sys/kernel/tracing/uprobe_events ] || "        \
		 "mount -t tracefs tracefs /sys/kernel/tracing; "                        \
		 "perf probe -q -d \"monbpf_bench:*\"'"

const struct peer peers[PEERS] = {
	[PAIR] = {"empty programs, entry + return", COUNTS, .empty = "peer_push"},
	[MON_COUNTS] = {"monbpf --stats counts -c", COUNTS,
			MONBPF("--stats counts -c", "peer_push"), SEEN_CALLS},
	[MON_COUNTS_SAMPLED] = {"monbpf --stats counts --sample 1/1000000", COUNTS,
				MONBPF("--stats counts --sample 1/1000000", "peer_push"),
				SEEN_CALLS},
	[BPFTRACE_COUNT] = {"bpftrace count()", COUNTS, BPFTRACE(COUNT_OF("peer_push")),
			    SEEN_COUNT},
	[PERF_STAT] = {"perf stat -e probe", COUNTS,
		       PERF("stat -x, -e monbpf_bench:peer_push -p %p"),
		       .seen = "sed -n 's/,.*peer_push.*//p' %d/out"},
	[FUNCCOUNT_BPFCC] = {"funccount-bpfcc", COUNTS, .needs = "funccount-bpfcc",
			     .command = "exec funccount-bpfcc -p %p %b:peer_push",
			     .seen = "awk '/peer_push/ { n = $NF } END { print n + 0 }' %d/out"},
	[MON_LATENCY] = {"monbpf -c (exact statistics, histogram)", LATENCY,
			 MONBPF("-c", "peer_push"), SEEN_CALLS},
	[BPFTRACE_HIST] = {"bpftrace hist()", LATENCY, BPFTRACE(HIST_OF("peer_push")), SEEN_HIST},
	[FUNCLATENCY] = {"funclatency (libbpf-tools)", LATENCY, .needs = "funclatency",
			 .command = "exec funclatency -p %p :peer_push", SEEN_HIST},
	[FUNCLATENCY_BPFCC] = {"funclatency-bpfcc", LATENCY, .needs = "funclatency-bpfcc",
			       .command = "exec funclatency-bpfcc -p %p %b:peer_push", SEEN_HIST},
	[MON_RECORD] = {"monbpf --sample 1 (and exact statistics)", RECORD,
			MONBPF("--sample 1", "peer_push"), SEEN_ROWS},
	[BPFTRACE_PRINTF] = {"bpftrace printf(), entry: tid, time", RECORD, .slower = 5,
			     BPFTRACE("uprobe:%b:peer_push { printf(\"call %%d %%lld\\n\", tid, "
				      "nsecs); }"),
			     SEEN_LINES},
	[BPFTRACE_PRINTF_PAIR] = {"bpftrace printf(), return: tid, duration", RECORD, .slower = 5,
				  BPFTRACE("uprobe:%b:peer_push { @start[tid] = nsecs; } "
					   "uretprobe:%b:peer_push /@start[tid]/ { printf(\"call "
					   "%%d %%lld\\n\", tid, "
					   "nsecs - @start[tid]); delete(@start[tid]); }"),
				  SEEN_LINES},
	[PERF_RECORD] = {"perf record -e probe, entry", RECORD,
			 PERF("record -o %d/perf.data -e monbpf_bench:peer_push -p %p"),
			 .seen = "sed -n 's/.*(\\([0-9]*\\) samples.*/\\1/p' %d/out"},
	[UFTRACE] = {"uftrace record (compiled in: gcc -pg)", RECORD, .needs = "uftrace",
		     .command = "exec uftrace record --no-event -d %d/uftrace -F peer_push %b_pg "
				"2>%d/out",
		     .seen = "uftrace report -d %d/uftrace | "
			     "awk '$NF == \"peer_push\" { print $(NF - 1) }'",
		     .starts_target = true},
	[ENDBR_MON_COUNTS] = {"monbpf --stats counts -c", ENDBR, .which = "endbr",
			      MONBPF("--stats counts -c", "peer_endbr"), SEEN_CALLS},
	[ENDBR_BPFTRACE_COUNT] = {"bpftrace count()", ENDBR, .which = "endbr", .slower = 5,
				  BPFTRACE(COUNT_OF("peer_endbr")), SEEN_COUNT},
	[ENDBR_MON_LATENCY] = {"monbpf -c (exact statistics, histogram)", ENDBR, .which = "endbr",
			       MONBPF("-c", "peer_endbr"), SEEN_CALLS},
	[ENDBR_BPFTRACE_HIST] = {"bpftrace hist()", ENDBR, .which = "endbr", .slower = 5,
				 BPFTRACE(HIST_OF("peer_endbr")), SEEN_HIST},
	[FUNCTIONS_PAIR_1] = {"empty pair on 1", FUNCTIONS, .which = "one", .empty = "many_0000"},
	[FUNCTIONS_MON_1] = {"monbpf -c on 1", FUNCTIONS, .which = "one", MONBPF("-c", "many_0000"),
			     SEEN_CALLS},
	[FUNCTIONS_PAIR_10000] = {"empty pair on 10,000, one is called", FUNCTIONS, .which = "one",
				  .empty = "many_"},
	[FUNCTIONS_MON_10000] = {"monbpf -c on 10,000, one is called", FUNCTIONS, .which = "one",
				 MONBPF("-c", "many_*"), SEEN_CALLS},
	[FUNCTIONS_PAIR_ALL] = {"empty pair on 10,000, called in turn", FUNCTIONS, .which = "many",
				.empty = "many_"},
	[FUNCTIONS_MON_ALL] = {"monbpf -c on 10,000, called in turn", FUNCTIONS, .which = "many",
			       MONBPF("-c", "many_*"), SEEN_CALLS},
	[THREADS_PAIR] = {"empty pair", THREADS, .threads = 2, .empty = "peer_push"},
	[THREADS_MON] = {"monbpf -c", THREADS, .threads = 2, MONBPF("-c", "peer_push"), SEEN_CALLS},
};
