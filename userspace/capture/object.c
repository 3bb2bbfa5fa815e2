// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Opens, sizes and loads bpf/monbpf.bpf.c in a child process and receives its descriptors. The
 * child dies with this process, writes one message and ends; it is waited for here, so no other
 * thread's wait ever sees it. Bounds: one message, MON_OBJECT_FDS descriptors, a 16 kB log for
 * each program.
 */
#include "capture/object.h"

#include "bpf/event.h"
#include "bpf/setup.h"
#include "bpf/monbpf.skel.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <inttypes.h>
#include <linux/bpf.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>

#define LOG_BYTES 16384
#define SAID_BYTES 1024
#define LOG_STATS 4			  /* BPF_LOG_STATS: times, no instruction */
#define ATTACH_TYPE_SESSION 57		  /* BPF_TRACE_UPROBE_SESSION, d920179b3d4c */
#define INITIAL_PID_NAMESPACE 0xeffffffcu /* PROC_PID_INIT_INO */

/* What the child says; the descriptors of those that are `present` travel beside it. */
struct message {
	int result;
	uint32_t cpu_count;
	mon_ns verifier_ns;
	bool present[MON_OBJECT_FDS];
	char said[SAID_BYTES]; /* the end of what libbpf and the verifier had to say */
};

/* Child only: the last thing that libbpf complained of. */
static char *said;

static int remember(enum libbpf_print_level level, const char *format, va_list args)
{
	if (level == LIBBPF_WARN && said && !said[0])
		(void)vsnprintf(said, SAID_BYTES, format, args);
	return 0;
}

static void fill_texts(struct mon_setup *setup, const struct mon_capture_options *options)
{
	if (!options->text_count)
		return;
	setup->text_count = options->text_count;
	setup->capture_bytes = options->capture_bytes;
	setup->text_room_bytes = MON_TEXT_ROOM_BYTES(options->capture_bytes);
	setup->texts_bytes = options->text_count * MON_TEXT_STRIDE_BYTES(options->capture_bytes);
	setup->text_record_bytes = (uint32_t)sizeof(struct mon_call_event) + setup->texts_bytes;
	memcpy(setup->texts, options->texts, sizeof(options->texts));
}

static void fill_stacks(struct mon_setup *setup, const struct mon_capture_options *options)
{
	if (!options->stack_frames)
		return;
	setup->stack_frames = options->stack_frames;
	setup->stack_bytes = MON_STACK_BYTES(options->stack_frames);
	setup->stack_record_bytes = (uint32_t)sizeof(struct mon_call_event) + setup->stack_bytes;
	setup->stack_text_record_bytes = setup->stack_record_bytes + setup->texts_bytes;
}

/* One more than the highest CPU that is online: their numbers need not be dense. */
static uint32_t online_span(void)
{
	MON_FCLOSE FILE *file = fopen("/sys/devices/system/cpu/online", "re");
	char list[4096] = "", *last = list;
	unsigned long highest;

	if (!file || !fgets(list, sizeof(list), file))
		return (uint32_t)sysconf(_SC_NPROCESSORS_ONLN);
	for (char *at = list; *at; at++) /* "0-3,8,10-11" */
		if (*at == ',' || *at == '-')
			last = at + 1;
	highest = strtoul(last, NULL, 10);
	return highest < 1u << MON_RING_SCALE_SHIFT ? (uint32_t)highest + 1 : 1;
}

uint32_t mon_object_ring_scale(uint32_t rings, uint32_t cpus)
{
	return cpus > rings ? (rings << MON_RING_SCALE_SHIFT) / cpus : 1u << MON_RING_SCALE_SHIFT;
}

static void fill_setup(struct mon_setup *setup, const struct mon_capture_options *options,
		       uint32_t cpu_count)
{
	struct stat namespace;

	*setup = (struct mon_setup){
		.cpu_count = cpu_count,
		.function_count = options->function_count,
		.threads_max = options->threads_max,
		.arg_count = options->arg_count,
		.wakeup_bytes = options->ring_bytes / 4,
		.ring_count = options->ring_count ? options->ring_count : 1,
		.reader_timeout_ns = options->reader_timeout_ns,
		.returns = options->returns,
		.filter = !options->all_processes,
		.allowance = options->allowance,
		.movable = options->movable,
		.skip_returns = options->may_skip_returns && options->mode == MON_MODE_SESSION &&
				options->returns,
		.judge = options->judge && options->returns,
		.caps = options->caps,
		.records_per_s = options->records_per_s,
	};
	if (options->ring_count > 1)
		setup->ring_scale = mon_object_ring_scale(options->ring_count, online_span());
	fill_texts(setup, options);
	fill_stacks(setup, options);
	if (stat("/proc/self/ns/pid", &namespace) || namespace.st_ino == INITIAL_PID_NAMESPACE)
		return;
	/* As the kernel packs a device number, not as stat() does. */
	setup->namespace_device = (uint64_t)major(namespace.st_dev) << 20 | minor(namespace.st_dev);
	setup->namespace_inode = namespace.st_ino;
}

struct program_choice {
	struct bpf_program *program;
	enum mon_object_fd fd;
	bool wanted;
};

#define PROGRAM_CHOICES 15

static size_t choose_programs(struct monbpf_bpf *skeleton,
			      const struct mon_capture_options *options,
			      struct program_choice *choices)
{
	bool session = options->mode == MON_MODE_SESSION, multi = options->mode == MON_MODE_MULTI;
	bool perf = options->mode == MON_MODE_PERF, returns = options->returns;
	bool sift = options->may_skip_returns || options->judge || options->caps, plain = !sift;
	const struct program_choice all[PROGRAM_CHOICES] = {
		{skeleton->progs.mon_session, MON_PROGRAM_ENTRY, plain && session},
		{skeleton->progs.mon_multi_entry, MON_PROGRAM_ENTRY, plain && multi},
		{skeleton->progs.mon_multi_return, MON_PROGRAM_RETURN, plain && multi && returns},
		{skeleton->progs.mon_perf_entry, MON_PROGRAM_ENTRY, plain && perf},
		{skeleton->progs.mon_perf_return, MON_PROGRAM_RETURN, plain && perf && returns},
		{skeleton->progs.mon_session_sift, MON_PROGRAM_ENTRY, sift && session},
		{skeleton->progs.mon_multi_entry_sift, MON_PROGRAM_ENTRY, sift && multi},
		{skeleton->progs.mon_multi_return_sift, MON_PROGRAM_RETURN,
		 sift && multi && returns},
		{skeleton->progs.mon_perf_entry_sift, MON_PROGRAM_ENTRY, sift && perf},
		{skeleton->progs.mon_perf_return_sift, MON_PROGRAM_RETURN, sift && perf && returns},
		{skeleton->progs.mon_thread_exit, MON_PROGRAM_THREAD_EXIT, returns},
		{skeleton->progs.mon_process_exec, MON_PROGRAM_EXEC, true},
		{skeleton->progs.mon_process_fork, MON_PROGRAM_FORK, !options->all_processes},
		{skeleton->progs.mon_flush, MON_PROGRAM_FLUSH, returns},
		{skeleton->progs.mon_open, MON_PROGRAM_OPEN, returns},
	};

	memcpy(choices, all, sizeof(all));
	return PROGRAM_CHOICES;
}

struct map_choice {
	struct bpf_map *map;
	enum mon_object_fd fd;
	bool wanted;
	uint64_t entries; /* 0: as declared */
};

#define MAP_CHOICES 14

static int size_maps(struct monbpf_bpf *skeleton, const struct mon_capture_options *options,
		     uint32_t cpu_count, struct map_choice *choices)
{
	uint64_t functions = (uint64_t)options->function_count + options->own_functions;
	uint64_t slots = functions * cpu_count;
	bool returns = options->returns;
	const struct map_choice all[MAP_CHOICES] = {
		{skeleton->maps.policies, MON_MAP_POLICIES, true, functions},
		{skeleton->maps.counters, MON_MAP_COUNTERS, true, slots},
		{skeleton->maps.histograms, MON_MAP_HISTOGRAMS, true, returns ? functions : 1},
		{skeleton->maps.allowances, MON_MAP_ALLOWANCES, options->allowance, slots},
		{skeleton->maps.armings, MON_MAP_ARMINGS, options->movable, functions},
		{skeleton->maps.windows, MON_MAP_WINDOWS, options->caps, functions + 1},
		{skeleton->maps.ring, MON_MAP_RING, true, options->ring_bytes},
		{skeleton->maps.rings, MON_MAP_RINGS, options->ring_count > 1, options->ring_count},
		{skeleton->maps.threads, MON_MAP_THREADS, returns, 0},
		{skeleton->maps.thread_arguments, MON_MAP_ARGUMENTS, returns && options->arg_count,
		 0},
		{skeleton->maps.open_texts, MON_MAP_TEXTS, returns && options->text_count,
		 options->text_calls},
		{skeleton->maps.thread_names, MON_MAP_NAMES, !returns, 0},
		{skeleton->maps.tgids, MON_MAP_TGIDS, !options->all_processes, 0},
		{skeleton->maps.bss, MON_MAP_LIVE, true, 0},
	};

	memcpy(choices, all, sizeof(all));
	for (size_t i = 0; i < MAP_CHOICES; i++) {
		const struct map_choice *choice = &choices[i];
		int result = 0;

		if (choice->entries > UINT32_MAX)
			return -E2BIG;
		if (!choice->wanted)
			result = bpf_map__set_autocreate(choice->map, false);
		else if (choice->entries)
			result = bpf_map__set_max_entries(choice->map, (uint32_t)choice->entries);
		if (result)
			return result;
	}
	return 0;
}

/* "verification time 1234 usec" is in each program's log. */
static mon_ns read_verifier_ns(const char *log)
{
	const char *found = strstr(log, "verification time ");
	uint64_t us;

	return found && sscanf(found, "verification time %" SCNu64, &us) == 1 ? us * MON_NS_PER_US
									      : 0;
}

static int set_session_type(struct monbpf_bpf *skeleton)
{
	enum bpf_attach_type type = (enum bpf_attach_type)ATTACH_TYPE_SESSION;
	int result = bpf_program__set_expected_attach_type(skeleton->progs.mon_session, type);

	return result ? result
		      : bpf_program__set_expected_attach_type(skeleton->progs.mon_session_sift,
							      type);
}

/* Child: number 0 is the one that was loaded, the others are as large. */
static int make_rings(const struct mon_capture_options *options, int *fds)
{
	for (uint32_t i = 0; i < options->ring_count; i++) {
		int *fd = &fds[MON_MAP_RING + i];

		if (i)
			*fd = bpf_map_create(BPF_MAP_TYPE_RINGBUF, "ring", 0, 0,
					     (uint32_t)options->ring_bytes, NULL);
		if (*fd < 0 || bpf_map_update_elem(fds[MON_MAP_RINGS], &i, fd, BPF_ANY))
			return -errno;
	}
	return 0;
}

/* Child: fills @message and the descriptors, which stay the skeleton's. */
static int load(const struct mon_capture_options *options, struct message *message, int *fds)
{
	static char logs[PROGRAM_CHOICES][LOG_BYTES];
	struct program_choice programs[PROGRAM_CHOICES];
	struct map_choice maps[MAP_CHOICES];
	struct monbpf_bpf *skeleton;
	int cpus = libbpf_num_possible_cpus(), result;

	if (cpus < 0)
		return cpus;
	message->cpu_count = (uint32_t)cpus;
	skeleton = monbpf_bpf__open();
	if (!skeleton)
		return -errno;
	fill_setup((struct mon_setup *)&skeleton->rodata->setup, options, message->cpu_count);
	result = size_maps(skeleton, options, message->cpu_count, maps);
	if (!result && options->text_count)
		result = bpf_map__set_value_size(
			skeleton->maps.open_texts,
			MON_TEXTS_CALL_BYTES(options->text_count, options->capture_bytes));
	if (result)
		return result;
	choose_programs(skeleton, options, programs);
	for (size_t i = 0; i < PROGRAM_CHOICES && !result; i++) {
		result = bpf_program__set_autoload(programs[i].program, programs[i].wanted);
		if (!result && programs[i].wanted)
			result = bpf_program__set_log_buf(programs[i].program, logs[i], LOG_BYTES);
		if (!result && programs[i].wanted)
			result = bpf_program__set_log_level(programs[i].program, LOG_STATS);
	}
	if (!result && options->mode == MON_MODE_SESSION)
		result = set_session_type(skeleton);
	if (!result)
		result = monbpf_bpf__load(skeleton);
	for (size_t i = 0; i < PROGRAM_CHOICES; i++) {
		message->verifier_ns += read_verifier_ns(logs[i]);
		if (result && programs[i].wanted && bpf_program__fd(programs[i].program) < 0 &&
		    logs[i][0]) {
			size_t length = strnlen(logs[i], LOG_BYTES), from = 0;

			if (length > SAID_BYTES / 2)
				from = length - SAID_BYTES / 2;
			(void)snprintf(message->said, sizeof(message->said), "%s: %s",
				       bpf_program__name(programs[i].program), logs[i] + from);
		}
	}
	if (result)
		return result;
	for (size_t i = 0; i < PROGRAM_CHOICES; i++)
		if (programs[i].wanted)
			fds[programs[i].fd] = bpf_program__fd(programs[i].program);
	for (size_t i = 0; i < MAP_CHOICES; i++)
		if (maps[i].wanted)
			fds[maps[i].fd] = bpf_map__fd(maps[i].map);
	return options->ring_count > 1 ? make_rings(options, fds) : 0;
}

static int send_message(int socket, struct message *message, const int *fds)
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof(int) * MON_OBJECT_FDS)];
	} control = {0};
	struct iovec data = {.iov_base = message, .iov_len = sizeof(*message)};
	struct msghdr header = {.msg_iov = &data, .msg_iovlen = 1};
	int sent[MON_OBJECT_FDS];
	size_t count = 0;

	for (size_t i = 0; i < MON_OBJECT_FDS; i++) {
		message->present[i] = !message->result && fds[i] >= 0;
		if (message->present[i])
			sent[count++] = fds[i];
	}
	if (count) {
		control.header.cmsg_level = SOL_SOCKET;
		control.header.cmsg_type = SCM_RIGHTS;
		control.header.cmsg_len = CMSG_LEN(sizeof(int) * count);
		memcpy(CMSG_DATA(&control.header), sent, sizeof(int) * count);
		header.msg_control = &control;
		header.msg_controllen = CMSG_SPACE(sizeof(int) * count);
	}
	return sendmsg(socket, &header, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

static void child_main(int socket, pid_t parent, const struct mon_capture_options *options)
{
	static struct message message;
	int fds[MON_OBJECT_FDS];

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	for (size_t i = 0; i < MON_OBJECT_FDS; i++)
		fds[i] = -1;
	said = message.said;
	(void)libbpf_set_print(remember);
	message.result = load(options, &message, fds);
	_exit(send_message(socket, &message, fds) ? 1 : 0);
}

static int receive_message(int socket, struct message *message, struct mon_object *object)
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof(int) * MON_OBJECT_FDS)];
	} control;
	struct iovec data = {.iov_base = message, .iov_len = sizeof(*message)};
	struct msghdr header = {
		.msg_iov = &data,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	int received[MON_OBJECT_FDS];
	size_t count = 0, next = 0;
	struct cmsghdr *part;
	ssize_t got;

	do
		got = recvmsg(socket, &header, MSG_CMSG_CLOEXEC);
	while (got < 0 && errno == EINTR);
	if (got < 0)
		return -errno;
	part = CMSG_FIRSTHDR(&header);
	if (part && part->cmsg_level == SOL_SOCKET && part->cmsg_type == SCM_RIGHTS) {
		count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		memcpy(received, CMSG_DATA(part), count * sizeof(int));
	}
	for (size_t i = 0; i < MON_OBJECT_FDS && (size_t)got == sizeof(*message); i++)
		if (message->present[i] && next < count)
			object->fds[i] = received[next++];
	if ((size_t)got == sizeof(*message) && next == count && !(header.msg_flags & MSG_CTRUNC))
		return 0;
	while (next < count)
		(void)close(received[next++]);
	return (header.msg_flags & MSG_CTRUNC) ? -EMFILE : -ECHILD;
}

static int explain(int result, const struct mon_capture_options *options, const char *text,
		   struct mon_error *error)
{
	char line[SAID_BYTES * 2];
	size_t used = 0;

	/* One line of plain text: it comes from libbpf and the kernel, not from a target. */
	for (; *text && used + 1 < sizeof(line); text++)
		line[used++] = (unsigned char)*text < ' ' || *text > '~' ? ' ' : *text;
	while (used && line[used - 1] == ' ')
		used--;
	line[used] = '\0';
	if (result == -EPERM || result == -EACCES) {
		int missing = mon_object_check_capabilities(options->mode == MON_MODE_PERF, error);

		if (missing)
			return missing;
	}
	if (result == -ENOMEM || result == -E2BIG)
		return mon_error_set(error, MON_EXIT_RUNTIME, -result,
				     "the kernel had no memory for the maps (%u functions, ring of "
				     "%" PRIu64 " bytes): watch fewer functions or take a smaller "
				     "--ring-size",
				     options->function_count, options->ring_bytes);
	return mon_error_set(
		error, result == -EPERM ? MON_EXIT_PERMISSION : MON_EXIT_KERNEL, -result,
		"loading the BPF programs for %s mode failed (%s)%s%s; `monbpf doctor` "
		"says what this kernel can do",
		mon_mode_name(options->mode), strerror(-result), used ? ": " : "", line);
}

int mon_object_check_options(const struct mon_capture_options *options)
{
	uint64_t ring = options->ring_bytes;

	if (options->mode != MON_MODE_SESSION && options->mode != MON_MODE_MULTI &&
	    options->mode != MON_MODE_PERF)
		return -EINVAL;
	if (options->ring_count > MON_SETUP_RINGS_MAX || !options->function_count ||
	    options->arg_count > 6 || ring < 4096 || ring > 1ull << 31 || (ring & (ring - 1)) ||
	    options->reader_timeout_ns > MON_READER_TIMEOUT_MAX_NS ||
	    options->text_count > MON_TEXTS_MAX)
		return -EINVAL;
	if (options->text_count &&
	    (!options->capture_bytes || !options->text_calls ||
	     options->capture_bytes > MON_CAPTURE_BYTES_MAX(options->text_count)))
		return -EINVAL;
	if (options->stack_frames &&
	    (options->stack_frames > MON_STACK_FRAMES_MAX ||
	     !MON_RECORD_FITS(options->text_count, options->capture_bytes, options->stack_frames)))
		return -EINVAL;
	for (uint32_t i = 0; i < options->text_count; i++)
		if (!options->texts[i].argument ||
		    options->texts[i].argument > MON_EVENT_ARGS_MAX ||
		    options->texts[i].length_argument > MON_EVENT_ARGS_MAX)
			return -EINVAL;
	return 0;
}

int mon_object_load(const struct mon_capture_options *options, struct mon_object *object_out,
		    struct mon_error *error)
{
	mon_ns started = mon_clock_now(&mon_clock_system);
	struct mon_object object = {0};
	struct message message = {0};
	int pair[2], result, status;
	pid_t parent = getpid(), child;

	for (size_t i = 0; i < MON_OBJECT_FDS; i++)
		object.fds[i] = -1;
	result = mon_object_check_options(options);
	if (result)
		return mon_error_set(error, MON_EXIT_USAGE, -result,
				     "no capture can be made of these options");
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		return mon_error_set(error, MON_EXIT_RUNTIME, errno, "no socket pair: %s",
				     strerror(errno));
	child = fork();
	if (!child)
		child_main(pair[1], parent, options);
	(void)close(pair[1]);
	if (child < 0) {
		result = -errno;
		(void)close(pair[0]);
		return mon_error_set(error, MON_EXIT_RUNTIME, -result, "cannot fork: %s",
				     strerror(-result));
	}
	result = receive_message(pair[0], &message, &object);
	(void)close(pair[0]);
	while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
	}
	message.said[sizeof(message.said) - 1] = '\0';
	if (!result)
		result = message.result;
	if (result) {
		mon_object_clear(&object);
		return explain(result, options, message.said, error);
	}
	object.cpu_count = message.cpu_count;
	object.verifier_ns = message.verifier_ns;
	object.load_ns = mon_clock_now(&mon_clock_system) - started;
	*object_out = object;
	return 0;
}

void mon_object_clear(struct mon_object *object)
{
	for (size_t i = 0; i < MON_OBJECT_FDS; i++) {
		if (object->fds[i] >= 0)
			(void)close(object->fds[i]);
		object->fds[i] = -1;
	}
}

uint64_t mon_object_bytes(const struct mon_object *object)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < MON_OBJECT_FDS; i++) {
		MON_FCLOSE FILE *info = NULL;
		char path[64], line[256];
		uint64_t bytes;

		if (object->fds[i] < 0)
			continue;
		(void)snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", object->fds[i]);
		info = fopen(path, "re");
		while (info && fgets(line, sizeof(line), info))
			if (sscanf(line, "memlock: %" SCNu64, &bytes) == 1)
				sum += bytes;
	}
	return sum;
}
