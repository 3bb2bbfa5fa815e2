// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A capture that outlives its process: pinned by one, adopted by the next; see capture.h and
 * pins.h. Everything is pinned under a fixed name, links are numbered as they come. A capture that
 * is not pinned passes through the calls of state.h unchanged.
 */
#include "capture/state.h"

#include "base/text.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

static const char *const object_names[MON_OBJECT_FDS] = {
	[MON_PROGRAM_ENTRY] = "program-entry",
	[MON_PROGRAM_RETURN] = "program-return",
	[MON_PROGRAM_THREAD_EXIT] = "program-thread-exit",
	[MON_PROGRAM_EXEC] = "program-exec",
	[MON_PROGRAM_FORK] = "program-fork",
	[MON_PROGRAM_FLUSH] = "program-flush",
	[MON_PROGRAM_OPEN] = "program-open",
	[MON_MAP_POLICIES] = "map-policies",
	[MON_MAP_COUNTERS] = "map-counters",
	[MON_MAP_HISTOGRAMS] = "map-histograms",
	[MON_MAP_ALLOWANCES] = "map-allowances",
	[MON_MAP_WINDOWS] = "map-windows",
	[MON_MAP_RING] = "map-ring",
	[MON_MAP_THREADS] = "map-threads",
	[MON_MAP_ARGUMENTS] = "map-arguments",
	[MON_MAP_TEXTS] = "map-texts",
	[MON_MAP_NAMES] = "map-names",
	[MON_MAP_TGIDS] = "map-tgids",
	[MON_MAP_LIVE] = "map-live",
};

MON_DEFINE_CLEANUP(capture, struct mon_capture *, mon_capture_free)
MON_DEFINE_CLEANUP(pins, struct mon_pins *, mon_pins_close)

bool mon_probes_is_return(const char *pin_name)
{
	size_t length = strlen(pin_name);

	return length > 2 && !strcmp(pin_name + length - 2, "-r");
}

/* None of them is pinned when it fails. */
static int pin_probes(struct mon_capture *capture, struct mon_pins *pins, size_t from)
{
	size_t first = capture->links_pinned;
	char name[64];

	for (size_t i = from; i < capture->probe_count; i++) {
		const struct mon_probe *probe = &capture->probes[i];
		int result;

		(void)snprintf(name, sizeof(name), MON_PIN_LINK "%04zu-%c", capture->links_pinned,
			       probe->at_return ? 'r' : 'e');
		result = mon_pins_add(pins, name, probe->fd);
		if (!result) {
			capture->links_pinned++;
			continue;
		}
		while (capture->links_pinned > first) {
			probe = &capture->probes[from + --capture->links_pinned - first];
			(void)snprintf(name, sizeof(name), MON_PIN_LINK "%04zu-%c",
				       capture->links_pinned, probe->at_return ? 'r' : 'e');
			(void)mon_pins_unlink_one(pins, name);
		}
		return result;
	}
	return 0;
}

int mon_capture_pin_probes(struct mon_capture *capture, size_t from)
{
	return capture->pins ? pin_probes(capture, capture->pins, from) : 0;
}

static int pin_all(struct mon_capture *capture, struct mon_pins *pins)
{
	char name[64];
	int result = 0;

	for (size_t i = 0; i < MON_OBJECT_FDS && !result; i++)
		if (capture->object.fds[i] >= 0)
			result = mon_pins_add(pins, object_names[i], capture->object.fds[i]);
	for (size_t i = 0; i < MON_ARRAY_COUNT(capture->tracepoints) && !result; i++) {
		(void)snprintf(name, sizeof(name), MON_PIN_TRACEPOINT "%zu", i);
		if (capture->tracepoints[i] >= 0)
			result = mon_pins_add(pins, name, capture->tracepoints[i]);
	}
	return result ? result : pin_probes(capture, pins, 0);
}

/* The caller's part of @from; the rest of @to stays. */
static void take_identity(struct mon_pins_identity *to, const struct mon_pins_identity *from)
{
	(void)snprintf(to->head.database, sizeof(to->head.database), "%s", from->head.database);
	to->started_ns = from->started_ns;
	to->armed_ns = from->armed_ns;
	to->target_count = from->target_count;
	memcpy(to->targets, from->targets, sizeof(to->targets));
	memcpy(to->spool, from->spool, sizeof(to->spool));
}

int mon_capture_pin(struct mon_capture *capture, const char *base_dir,
		    const struct mon_pins_identity *identity, struct mon_error *error)
{
	MON_CLEANUP(mon_cleanup_pins) struct mon_pins *pins = NULL;
	MON_FREE struct mon_pins_identity *pinned = calloc(1, sizeof(*pinned));
	int result;

	if (!pinned)
		return mon_error_set(error, MON_EXIT_RUNTIME, ENOMEM, "out of memory");
	if (capture->pins || identity->target_count > MON_TGIDS_MAX)
		return mon_error_set(error, MON_EXIT_RUNTIME, EINVAL, "nothing that can be pinned");
	take_identity(pinned, identity);
	pinned->options = capture->options;
	pinned->cpu_count = capture->object.cpu_count;
	result = mon_pins_create(base_dir, identity->head.run_uuid, &pins, error);
	if (result)
		return result;
	capture->links_pinned = 0;
	result = pin_all(capture, pins);
	if (!result)
		result = mon_pins_seal(pins, pinned);
	if (result) {
		(void)mon_pins_unlink_all(pins, NULL);
		return mon_error_set(error, MON_EXIT_RUNTIME, -result,
				     "cannot pin the run in %s: %s", MON_ESCAPED(base_dir),
				     strerror(-result));
	}
	capture->pins = TAKE_PTR(pins);
	capture->identity = TAKE_PTR(pinned);
	return 0;
}

int mon_capture_pin_update(struct mon_capture *capture, const struct mon_pins_identity *identity)
{
	if (!capture->pins || identity->target_count > MON_TGIDS_MAX)
		return -EINVAL;
	take_identity(capture->identity, identity);
	return mon_pins_seal(capture->pins, capture->identity);
}

/* Those that this run never had stay -1; what it cannot do without is missed when it is mapped. */
static int adopt_object(struct mon_capture *capture)
{
	int *fds = capture->object.fds;

	for (size_t i = 0; i < MON_OBJECT_FDS; i++) {
		fds[i] = mon_pins_get(capture->pins, object_names[i]);
		if (fds[i] < 0 && fds[i] != -ENOENT)
			return fds[i];
		if (fds[i] < 0)
			fds[i] = -1;
	}
	return fds[MON_PROGRAM_ENTRY] < 0 || fds[MON_MAP_RING] < 0 ? -EBADMSG : 0;
}

static int adopt_tracepoints(struct mon_capture *capture)
{
	char name[64];

	for (size_t i = 0; i < MON_ARRAY_COUNT(capture->tracepoints); i++) {
		int fd;

		(void)snprintf(name, sizeof(name), MON_PIN_TRACEPOINT "%zu", i);
		fd = mon_pins_get(capture->pins, name);
		if (fd < 0 && fd != -ENOENT)
			return fd;
		capture->tracepoints[i] = fd < 0 ? -1 : fd;
	}
	return 0;
}

static int adopt_links(struct mon_capture *capture)
{
	MON_FREE char(*names)[64] = NULL;
	size_t count;
	int result = mon_pins_names(capture->pins, MON_PIN_LINK, &names, &count);

	if (result)
		return result;
	mon_probes_want_descriptors(2 * count);
	for (size_t i = 0; i < count && !result; i++) {
		size_t number;

		result = mon_capture_keep_probe(capture, mon_pins_get(capture->pins, names[i]),
						mon_probes_is_return(names[i]));
		if (sscanf(names[i] + strlen(MON_PIN_LINK), "%zu", &number) == 1 &&
		    number >= capture->links_pinned)
			capture->links_pinned = number + 1;
	}
	return result;
}

/* Which functions were armed is not pinned; links of every process serve whoever comes. */
static void fill_armed(struct mon_capture *capture)
{
	const struct mon_capture_options *options = &capture->options;
	int wide = options->all_processes || options->wide_links ? MON_ARMED_WIDE : 0;

	if (capture->probe_count)
		memset(capture->armed, MON_ARMED_SOMEWHERE | wide, options->function_count);
}

int mon_capture_adopt(const char *base_dir, const char *uuid, struct mon_capture **capture_out,
		      struct mon_pins_identity *identity_out, struct mon_error *error)
{
	MON_CLEANUP(mon_cleanup_capture) struct mon_capture *capture = NULL;
	MON_CLEANUP(mon_cleanup_pins) struct mon_pins *pins = NULL;
	MON_FREE struct mon_pins_identity *identity = calloc(1, sizeof(*identity));
	int result;

	if (!identity)
		return mon_error_set(error, MON_EXIT_RUNTIME, ENOMEM, "out of memory");
	result = mon_pins_open(base_dir, uuid, &pins, identity, error);
	if (result)
		return result;
	result = mon_object_check_options(&identity->options);
	if (!result) {
		capture = mon_capture_allocate(&identity->options);
		result = capture ? 0 : -ENOMEM;
	}
	if (!result) {
		capture->object.cpu_count = identity->cpu_count;
		capture->pins = TAKE_PTR(pins);
		capture->identity = TAKE_PTR(identity);
		result = adopt_object(capture);
	}
	if (!result)
		result = mon_capture_map_arrays(capture);
	if (!result)
		result = adopt_links(capture);
	if (!result)
		result = adopt_tracepoints(capture);
	if (!result) /* the identity names this process from now on */
		result = mon_pins_seal(capture->pins, capture->identity);
	if (result)
		return mon_error_set(error, MON_EXIT_UNAVAILABLE, -result,
				     "run %s cannot be gone on with (%s): remove it with `monbpf "
				     "detach --run %s`",
				     uuid, strerror(-result), uuid);
	fill_armed(capture);
	*identity_out = *capture->identity;
	*capture_out = TAKE_PTR(capture);
	return 0;
}

int mon_capture_unpin_probes(struct mon_capture *capture)
{
	int result = 0, failed;

	if (!capture->pins)
		return 0;
	if (!capture->identity->detached) {
		capture->identity->detached = 1;
		result = mon_pins_seal(capture->pins, capture->identity);
	}
	failed = mon_pins_unlink(capture->pins, MON_PIN_LINK);
	return failed ? failed : result;
}

int mon_capture_unpin_tracepoints(struct mon_capture *capture)
{
	return capture->pins ? mon_pins_unlink(capture->pins, MON_PIN_TRACEPOINT) : 0;
}

int mon_capture_unpin(struct mon_capture *capture)
{
	int result;

	if (!capture->pins)
		return 0;
	result = mon_pins_unlink_all(capture->pins, NULL);
	if (result)
		return result;
	mon_pins_close(TAKE_PTR(capture->pins));
	return 0;
}
