/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * For the comparison with other tracers. Each line on stdin is a command:
 *
 *     arm WHICH              calls until a call costs what only a probe costs, says "armed CALLS"
 *     call WHICH CALLS T     T threads make CALLS each: "took NS CALLS", NS the wall time
 *
 * WHICH: push, endbr (`endbr64; push`), one (many_0000), many (10,000 functions in turn). So that
 * it is known when any tool has armed, whatever it prints.
 */
#include <pthread.h>
#include <time.h>

#define TEN_THOUSAND
#define MANY_IS_PART
#define MANY_PROLOGUE() STARTS_WITH_PUSH()
#include "many.c"

#define THREADS_MAX 64
#define ARMED_NS 200 /* an unwatched call takes 2, the cheapest probe some 400 */
#define CALLS_A_TRY 4
#define ARMED_TRIES 3 /* in a row */
#define BETWEEN_US 500

WATCHED int peer_push(int number)
{
	STARTS_WITH_PUSH();
	__asm__ volatile("" : "+r"(number));
	return number;
}

#ifdef __x86_64__
int peer_endbr(int number);
__asm__(".pushsection .text\n"
	".globl peer_endbr\n"
	".type peer_endbr, @function\n"
	"peer_endbr:\n"
	"	endbr64\n"
	"	push %rbp\n"
	"	mov %rsp, %rbp\n"
	"	mov %edi, %eax\n"
	"	pop %rbp\n"
	"	ret\n"
	".size peer_endbr, . - peer_endbr\n"
	".popsection\n");
#else
#define peer_endbr peer_push
#endif

struct work {
	char which[16];
	unsigned long long calls;
};

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void *call(void *argument)
{
	const struct work *work = argument;
	const size_t count = sizeof(functions) / sizeof(functions[0]);
	int (*const one)(int) = !strcmp(work->which, "endbr") ? peer_endbr
				: !strcmp(work->which, "one") ? functions[0]
							      : peer_push;

	if (!strcmp(work->which, "many"))
		for (unsigned long long i = 0; i < work->calls; i++)
			functions[i % count]((int)i);
	else
		for (unsigned long long i = 0; i < work->calls; i++)
			one((int)i);
	return NULL;
}

/* The fastest of a few calls: the first after a sleep is slow without a probe, too. */
static uint64_t fastest_ns(struct work *work)
{
	uint64_t fastest = UINT64_MAX;

	for (int i = 0; i < CALLS_A_TRY; i++) {
		uint64_t from_ns = now_ns(), took_ns;

		call(work);
		took_ns = now_ns() - from_ns;
		if (took_ns < fastest)
			fastest = took_ns;
	}
	return fastest;
}

static void arm(const char *which)
{
	struct work work = {.calls = 1};
	int armed = 0;

	(void)snprintf(work.which, sizeof(work.which), "%s", which);
	while (armed < ARMED_TRIES) {
		armed = fastest_ns(&work) > ARMED_NS ? armed + 1 : 0;
		usleep(BETWEEN_US);
	}
	target_say("armed %d\n", armed * CALLS_A_TRY);
}

static void time_calls(const struct work *work, unsigned threads)
{
	pthread_t others[THREADS_MAX];
	uint64_t from_ns = now_ns();

	for (unsigned i = 1; i < threads; i++)
		if (pthread_create(&others[i], NULL, call, (void *)(uintptr_t)work) != 0)
			exit(1);
	call((void *)(uintptr_t)work);
	for (unsigned i = 1; i < threads; i++)
		pthread_join(others[i], NULL);
	target_say("took %llu %llu\n", (unsigned long long)(now_ns() - from_ns),
		   work->calls * threads);
}

int main(void)
{
	char line[64], which[16];
	struct work work;
	unsigned threads;

	target_say("ready\n");
	while (target_line(line, sizeof(line))) {
		if (sscanf(line, "arm %15s", which) == 1)
			arm(which);
		else if (sscanf(line, "call %15s %llu %u", work.which, &work.calls, &threads) ==
				 3 &&
			 threads >= 1 && threads <= THREADS_MAX)
			time_calls(&work, threads);
		else
			return 2;
	}
	return 0;
}
