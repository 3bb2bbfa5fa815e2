/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Each call that was stored as a line of text, for `--print`: told by the store after its COMMIT
 * was OK, so what is printed is what is stored, in the same order, and once. Whoever reads the
 * lines can never stop the store: they wait in a buffer of fixed size, which a thread of its own
 * writes out. Lines that find it full are left out and counted, and a line says so in their place.
 * Nothing allocates after new.
 *
 * Life: new, print (by the thread that pushes to the store) ..., finish, free.
 */
#ifndef MON_PRINT_H
#define MON_PRINT_H

#include "base/types.h"
#include "pipeline/print_line.h"
#include "pipeline/store.h"

#include <stdbool.h>
#include <stdint.h>

#define MON_PRINT_BUFFER_BYTES_DEFAULT (512u << 10)
#define MON_PRINT_BUFFER_BYTES_MIN (16u << 10) /* a few lines of the longest kind */
#define MON_PRINT_BYTES                                                          \
	(MON_PRINT_BUFFER_BYTES_DEFAULT + MON_PRINT_NAMES_BYTES) /* all it takes \
								  */
#define MON_PRINT_FINISH_NS MON_NS_PER_S /* a reader that takes nothing for so long is gone */

struct mon_budget;
struct mon_printer;

struct mon_printer_options {
	int fd; /* written with write(2), blocking; stays the caller's */
	const struct mon_function_set *set; /* outlives the printer */
	mon_ns started_ns;		    /* of the run: zero of the times that are printed */
	/* Positions of each ring: what ends at or before its own is not ours to print. */
	uint64_t marks[MON_RINGS_MAX];
	const char *path; /* of the database, for the line about lines left out; escaped here */
	uint32_t buffer_bytes;	   /* 0: default */
	struct mon_budget *budget; /* may be NULL */
};

struct mon_printer_stats {
	uint64_t lines;	      /* of calls, handed to the reader's descriptor whole */
	uint64_t not_printed; /* calls that are stored and have no line there */
	bool closed;	      /* the reader is gone */
	bool stuck;	      /* it stopped reading: nothing may be written to its descriptor */
};

/* Starts the thread. -ENOMEM, -EINVAL (buffer too small), or what pthread_create(3) says. */
int mon_printer_new(const struct mon_printer_options *options, struct mon_printer **printer_out);
/* After finish. Takes NULL. One that is stuck keeps its memory: its thread still uses it. */
void mon_printer_free(struct mon_printer *printer);

/* The calls of a batch that was committed, but for those that were printed before. Never waits. */
void mon_printer_print(struct mon_printer *printer, const struct mon_batch *batch);

/* Is the reader of the lines gone? What comes is counted as not printed from then on. */
bool mon_printer_is_closed(struct mon_printer *printer);

/*
 * No more comes: writes what waits, as long as the reader takes something each
 * MON_PRINT_FINISH_NS, and ends the thread.
 */
void mon_printer_finish(struct mon_printer *printer, struct mon_printer_stats *stats_out);

#endif
