// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What works here, found by doing it: a link of each kind to a function of our own, which is then
 * called by this thread and by another one. All in a process of its own, which says what it found
 * and ends: closing a link waits for grace periods of the kernel (0.2 s for the three), and nobody
 * needs to wait for that. A thread that closes them does not do: a child forked meanwhile (see
 * object.c) holds the links too, and its end waits instead.
 */
#include "capture/capture.h"

#include "capture/link.h"
#include "capture/object.h"

#include "bpf/feature.skel.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/bpf.h>
#include <pthread.h>
#include <stdarg.h>
#include <string.h>
#include <sys/wait.h>

#define ATTACH_TYPE_SESSION 57 /* BPF_TRACE_UPROBE_SESSION */
#define OURSELVES "/proc/self/exe"
#define RING_BYTES 4096

/* Hits are added with this weight: the cookie arrived, too. */
#define COOKIE 1000

enum kind { KIND_SESSION, KIND_MULTI, KIND_PERF, KINDS };

/* What the process that tries says: 0 or -errno. */
struct findings {
	int ring;
	int kinds[KINDS];
	uint64_t hits[KINDS];
};

/* What is probed: one instruction that every kernel emulates, and a body that is not optimised. */
__attribute__((noinline, noclone, used)) static void probed(void)
{
	__asm__ volatile("nop" ::: "memory");
}

static void *call_probed(void *unused)
{
	probed();
	return unused;
}

static int quiet(enum libbpf_print_level level, const char *format, va_list args)
{
	(void)level;
	(void)format;
	(void)args;
	return 0;
}

int mon_object_own_offset(uintptr_t address, uint64_t *offset_out)
{
	MON_FCLOSE FILE *maps = fopen("/proc/self/maps", "re");
	uint64_t start, end, offset;
	char line[512];

	if (!maps)
		return -errno;
	while (fgets(line, sizeof(line), maps)) {
		if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %*4c %" SCNx64, &start, &end, &offset) !=
			    3 ||
		    address < start || address >= end)
			continue;
		*offset_out = address - start + offset;
		return 0;
	}
	return -ENOENT;
}

static struct bpf_program *program_of(struct feature_bpf *skeleton, enum kind kind)
{
	struct bpf_program *const programs[KINDS] = {
		skeleton->progs.feature_session,
		skeleton->progs.feature_multi,
		skeleton->progs.feature_perf,
	};

	return programs[kind];
}

/* Each of the kinds alone: one that the kernel does not know would fail the others. */
static int load_kind(enum kind kind, struct feature_bpf **skeleton_out)
{
	struct feature_bpf *skeleton = feature_bpf__open();
	int result = 0;

	if (!skeleton)
		return -errno;
	for (int i = 0; i < KINDS && !result; i++)
		result = bpf_program__set_autoload(program_of(skeleton, (enum kind)i),
						   i == (int)kind);
	if (!result && kind == KIND_SESSION)
		result = bpf_program__set_expected_attach_type(
			skeleton->progs.feature_session, (enum bpf_attach_type)ATTACH_TYPE_SESSION);
	if (!result)
		result = feature_bpf__load(skeleton);
	if (result)
		feature_bpf__destroy(skeleton);
	else
		*skeleton_out = skeleton;
	return result;
}

/* *hits_out: how many of two calls were seen, the second by another thread. */
static int try_kind(enum kind kind, uint64_t offset, uint64_t *hits_out)
{
	uint64_t cookie = COOKIE;
	struct feature_bpf *skeleton = NULL;
	pthread_t thread;
	int result, fd;

	result = load_kind(kind, &skeleton);
	if (result)
		return result;
	fd = bpf_program__fd(program_of(skeleton, kind));
	if (kind == KIND_PERF)
		fd = mon_link_perf(fd, false, OURSELVES, offset, cookie, getpid());
	else
		fd = mon_link_multi(fd,
				    kind == KIND_SESSION ? MON_LINK_SESSION : MON_LINK_MULTI_ENTRY,
				    OURSELVES, &offset, &cookie, 1, getpid());
	if (fd < 0)
		return fd;
	probed();
	result = -pthread_create(&thread, NULL, call_probed, NULL);
	if (result)
		return result;
	(void)pthread_join(thread, NULL);
	*hits_out = __atomic_load_n(&skeleton->bss->hits, __ATOMIC_RELAXED) / COOKIE;
	return *hits_out ? 0 : -EIO;
}

static int try_ring(void)
{
	int fd = bpf_map_create(BPF_MAP_TYPE_RINGBUF, "mon_feature", 0, 0, RING_BYTES, NULL);

	if (fd < 0)
		return fd;
	(void)close(fd);
	return 0;
}

/* Whoever asked is not waited for: links and all go with this process, when they go. */
static void try_all(int answer, uint64_t offset)
{
	struct findings findings = {.ring = try_ring()};

	(void)libbpf_set_print(quiet);
	for (int kind = 0; kind < KINDS; kind++)
		findings.kinds[kind] = try_kind((enum kind)kind, offset, &findings.hits[kind]);
	_exit(write(answer, &findings, sizeof(findings)) != sizeof(findings));
}

/* The child's child tries, so that it is nobody's to wait for. */
static int find(uint64_t offset, struct findings *findings_out)
{
	MON_CLOSE int answer = -1;
	int ends[2], status;
	ssize_t got;
	pid_t child;

	if (pipe2(ends, O_CLOEXEC))
		return -errno;
	answer = ends[0];
	child = fork();
	if (!child) {
		(void)close(ends[0]);
		child = fork();
		if (!child)
			try_all(ends[1], offset);
		_exit(child < 0 ? errno : 0);
	}
	(void)close(ends[1]);
	if (child < 0)
		return -errno;
	while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
	}
	do
		got = read(answer, findings_out, sizeof(*findings_out));
	while (got < 0 && errno == EINTR);
	return got == sizeof(*findings_out) ? 0 : -ECHILD;
}

static const char *why_not(int result, const char *absent)
{
	switch (-result) {
	case 0:
		return NULL;
	case EPERM:
	case EACCES:
		return "this user may not (CAP_SYS_ADMIN, or CAP_BPF with CAP_PERFMON)";
	case EIO:
		return "a link was made, but its probe was never hit";
	case ENOMEM:
		return "no memory";
	case EMFILE:
	case ENFILE:
		return "too many open files";
	default:
		return absent;
	}
}

int mon_features_detect(struct mon_features *features_out, struct mon_error *error)
{
	struct mon_features features = {0};
	struct findings findings;
	uint64_t offset = 0;
	int result = mon_object_check_capabilities(false, error);

	if (result)
		return result;
	result = mon_object_own_offset((uintptr_t)probed, &offset);
	if (result)
		return mon_error_set(error, MON_EXIT_RUNTIME, -result,
				     "cannot read /proc/self/maps: %s", strerror(-result));
	result = find(offset, &findings);
	if (result)
		return mon_error_set(error, MON_EXIT_RUNTIME, -result,
				     "the process that tries what this kernel can do failed: %s",
				     strerror(-result));
	features.btf = access("/sys/kernel/btf/vmlinux", R_OK) ? -errno : 0;
	features.ring = findings.ring;
	features.session = findings.kinds[KIND_SESSION];
	features.multi = findings.kinds[KIND_MULTI];
	features.perf = findings.kinds[KIND_PERF];
	/* The thread that tried and another one called once each. */
	features.multi_pid_filter =
		!features.multi && findings.hits[KIND_MULTI] < 2 ? -EOPNOTSUPP : 0;

	features.btf_why = why_not(features.btf, "the kernel was built without BTF "
						 "(/sys/kernel/btf/vmlinux)");
	features.ring_why = why_not(features.ring, "the kernel has no BPF ring buffer (Linux 5.8)");
	features.session_why =
		why_not(features.session, "the kernel makes no uprobe session links (Linux 6.13)");
	features.multi_why =
		why_not(features.multi, "the kernel makes no uprobe multi links (Linux 6.6)");
	features.perf_why = why_not(features.perf, "the kernel makes no perf uprobe with an attach "
						   "cookie (Linux 5.15)");

	*features_out = features;
	return 0;
}

int mon_features_choose(const struct mon_features *features, enum mon_mode wanted,
			enum mon_mode *mode_out, struct mon_error *error)
{
	const int results[MON_MODES] = {
		[MON_MODE_AUTO] = -ENOTSUP,
		[MON_MODE_SESSION] = features->session,
		[MON_MODE_MULTI] = features->multi,
		[MON_MODE_PERF] = features->perf,
	};
	const char *const why[MON_MODES] = {
		[MON_MODE_SESSION] = features->session_why,
		[MON_MODE_MULTI] = features->multi_why,
		[MON_MODE_PERF] = features->perf_why,
	};

	if (features->btf || features->ring)
		return mon_error_set(error, MON_EXIT_KERNEL, ENOTSUP,
				     "this kernel cannot do it: %s",
				     features->btf ? features->btf_why : features->ring_why);
	if (wanted > MON_MODE_AUTO && wanted < MON_MODES) {
		if (!results[wanted]) {
			*mode_out = wanted;
			return 0;
		}
		if ((results[wanted] == -EPERM || results[wanted] == -EACCES) &&
		    mon_object_check_capabilities(wanted == MON_MODE_PERF, error))
			return -EPERM;
		return mon_error_set(error, MON_EXIT_KERNEL, ENOTSUP,
				     "%s mode does not work here: %s; leave --mode out to take "
				     "the best that does",
				     mon_mode_name(wanted), why[wanted]);
	}
	for (enum mon_mode mode = MON_MODE_SESSION; mode < MON_MODES; mode++) {
		if (results[mode])
			continue;
		*mode_out = mode;
		return 0;
	}
	return mon_error_set(error, MON_EXIT_KERNEL, ENOTSUP, "no kind of uprobe works here: %s",
			     features->perf_why);
}
