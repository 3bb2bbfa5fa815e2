/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One record on its way from ring to row, and what it must look like to be believed: from the ring,
 * and again from the spool, whose checksum tells damage and not who wrote it.
 */
#ifndef MON_RECORD_H
#define MON_RECORD_H

#include "bpf/event.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Rings of one run: one for so many CPUs as it was begun with, see bpf/emit.bpf.h. */
#define MON_RINGS_MAX 16

/* So many bytes of any record may be read, whatever its header says. */
#define MON_RING_READABLE_BYTES MON_RECORD_MAX_BYTES

/* In the ring's own memory it is valid until its position is acknowledged. */
struct mon_record {
	uint64_t position;   /* of its header: its identity */
	uint64_t end;	     /* position after it: acknowledging this gives its space back */
	const void *data;    /* struct mon_call_event or mon_task_event, by the first byte */
	uint32_t size_bytes; /* as the header says; see MON_RING_READABLE_BYTES */
	uint16_t ring;	     /* which one, below MON_RINGS_MAX: (ring, position) is its identity */
	int16_t invalid;     /* 0, or why it must be set aside: EBADMSG size, EPROTO fields */
};

/* What the records of one run look like. */
struct mon_record_shape {
	uint32_t function_count; /* a record that names a function past it is invalid */
	uint32_t arg_count;
	uint32_t text_count, capture_bytes; /* no record with texts is as short as one without */
	uint32_t stack_frames;		    /* room of each stack; 0: no record has one */
	bool any_capture; /* what the run captured is not known: bounds are all that is checked */
};

/* What lies behind a call: its stack and its texts. */
struct mon_record_parts {
	const struct mon_stack *stack; /* NULL: none */
	const void *texts;	       /* `text_bytes` of them */
	uint32_t text_bytes;
};
/* Of a call record that was checked. */
struct mon_record_parts mon_record_parts(const void *data, uint32_t size);

/*
 * Where the last record of each ring that is among them ends. Rings that have none keep what
 * @ends_out[MON_RINGS_MAX] says.
 */
void mon_record_ends(const struct mon_record *records, size_t count, uint64_t *ends_out);

/* 0, or why the record must be set aside: EBADMSG, EPROTO. Looks at no byte past @size. */
int16_t mon_record_check(const struct mon_record_shape *shape, const void *data, uint32_t size);

#endif
