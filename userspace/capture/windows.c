// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Functions that leave the link they share and are armed for a while at a time (bpf/arming.h). A
 * link cannot lose one of its functions, so it is made anew without them; both are there for a
 * moment, and one store for each function says which of them counts. When counting begins and ends
 * is therefore known to the store, however long the kernel takes over a link.
 */
#include "capture/state.h"

#include "capture/closer.h"

#include <errno.h>
#include <string.h>

/*
 * Calls that an old link saw begin may return for so long: most do. Those that begin meanwhile are
 * ignored, and paid for.
 */
#define OVERLAP_NS (250 * MON_NS_PER_MS)

static int prepare(struct mon_capture *capture)
{
	if (!capture->options.movable || capture->pins)
		return -ENOTSUP;
	return mon_capture_need_closer(capture);
}

static uint32_t next_generation(struct mon_capture *capture)
{
	if (++capture->generation == MON_GENERATION_NONE)
		capture->generation = 1;
	return capture->generation;
}

static void switch_to(struct mon_capture *capture, uint32_t function, uint32_t generation)
{
	__atomic_store_n(&capture->armings[function].current, generation, __ATOMIC_RELEASE);
}

static uint32_t current_of(const struct mon_capture *capture, uint32_t function)
{
	return __atomic_load_n(&capture->armings[function].current, __ATOMIC_RELAXED);
}

/* The probes of @owner go, and with them calls of @functions (copied) from before @alive_from. */
static int close_links(struct mon_capture *capture, uint32_t owner, const uint32_t *functions,
		       size_t count, uint32_t alive_from, mon_ns delay_ns)
{
	struct mon_closing closing = {
		.function_count = count, .alive_from = alive_from, .delay_ns = delay_ns};
	int result;

	closing.functions = calloc(count + 1, sizeof(*closing.functions));
	if (!closing.functions)
		return -ENOMEM;
	memcpy(closing.functions, functions, count * sizeof(*functions));
	result = mon_capture_take_probes(capture, owner, &closing.probes, &closing.probe_count);
	if (result) {
		free(closing.functions);
		return result;
	}
	mon_closer_close(capture->closer, &closing);
	return 0;
}

/* Those that stay on the shared link: armed, and not among @leaving, which are marked NONE. */
static size_t collect_staying(struct mon_capture *capture, const struct mon_function_set *set,
			      const uint8_t *leaving, uint32_t *staying)
{
	size_t count = 0;

	for (uint32_t i = 0; i < set->function_count; i++)
		if (!leaving[i] && !set->functions[i].attach_error &&
		    (capture->armed[i] & MON_ARMED_SOMEWHERE) &&
		    !(capture->armed[i] & MON_ARMED_ALONE))
			staying[count++] = i;
	return count;
}

static int remake_shared(struct mon_capture *capture, struct mon_function_set *set,
			 const uint32_t *functions, size_t count, mon_ns *at_ns)
{
	MON_FREE uint8_t *leaving = calloc(set->function_count + 1, 1);
	MON_FREE uint32_t *staying = calloc(2 * set->function_count + 1, sizeof(*staying));
	uint32_t generation = next_generation(capture);
	size_t staying_count, cut_count, old_count = capture->probe_count;
	int result = 0;

	if (!leaving || !staying)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++)
		leaving[functions[i]] = 1;
	staying_count = collect_staying(capture, set, leaving, staying);
	if (staying_count)
		result = mon_capture_arm_functions(capture, set, staying, staying_count, generation,
						   MON_PROBE_SHARED);
	if (result)
		return result;
	/* The new ones stay when the old ones are taken out. */
	for (size_t i = old_count; i < capture->probe_count; i++)
		capture->probes[i].function = MON_PROBE_NEW;
	for (size_t i = 0; i < count; i++)
		switch_to(capture, functions[i], MON_GENERATION_NONE);
	*at_ns = mon_clock_now(&mon_clock_system);
	for (size_t i = 0; i < staying_count; i++)
		switch_to(capture, staying[i], generation);
	/* In the other modes a return is told to whatever link is there. */
	cut_count = capture->options.mode == MON_MODE_SESSION ? staying_count : 0;
	memcpy(staying + cut_count, functions, count * sizeof(*functions));
	result = close_links(capture, MON_PROBE_SHARED, staying, cut_count + count, generation,
			     OVERLAP_NS);
	for (size_t i = 0; i < capture->probe_count; i++)
		if (capture->probes[i].function == MON_PROBE_NEW)
			capture->probes[i].function = MON_PROBE_SHARED;
	return result;
}

int mon_capture_release(struct mon_capture *capture, struct mon_function_set *set,
			const uint32_t *functions, size_t count, mon_ns *at_ns_out)
{
	int result = prepare(capture);

	if (result)
		return result;
	if (capture->options.mode != MON_MODE_PERF) {
		result = remake_shared(capture, set, functions, count, at_ns_out);
	} else {
		for (size_t i = 0; i < count; i++)
			switch_to(capture, functions[i], MON_GENERATION_NONE);
		*at_ns_out = mon_clock_now(&mon_clock_system);
		for (size_t i = 0; i < count && !result; i++)
			result = close_links(capture, functions[i], &functions[i], 1,
					     next_generation(capture), OVERLAP_NS);
	}
	if (result)
		return result;
	for (size_t i = 0; i < count; i++)
		capture->armed[functions[i]] |= MON_ARMED_ALONE;
	return 0;
}

int mon_capture_window_open(struct mon_capture *capture, struct mon_function_set *set,
			    uint32_t function, mon_ns *from_ns_out)
{
	uint32_t generation;
	int result = prepare(capture);

	if (result)
		return result;
	if (!(capture->armed[function] & MON_ARMED_ALONE) ||
	    current_of(capture, function) != MON_GENERATION_NONE)
		return -EALREADY;
	generation = next_generation(capture);
	result = mon_capture_arm_functions(capture, set, &function, 1, generation, function);
	if (result)
		return result;
	switch_to(capture, function, generation);
	*from_ns_out = mon_clock_now(&mon_clock_system);
	return 0;
}

void mon_capture_window_close(struct mon_capture *capture, uint32_t function, mon_ns *to_ns_out)
{
	switch_to(capture, function, MON_GENERATION_NONE);
	*to_ns_out = mon_clock_now(&mon_clock_system);
	/* Without memory they stay until the end, ignored and paid for. */
	(void)close_links(capture, function, &function, 1, next_generation(capture), OVERLAP_NS);
}

uint64_t mon_capture_ignored(const struct mon_capture *capture, uint32_t function)
{
	return capture->armings
		       ? __atomic_load_n(&capture->armings[function].ignored, __ATOMIC_RELAXED)
		       : 0;
}
