/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Pins: what lets a capture outlive its monitor. A bpf file system of our own holds one directory
 * for each run, named by its UUID, and in it the run's programs, maps and links. The last thing
 * pinned is the identity: a directory without one is what a crash left, and goes at the next start.
 * A monitor holds a lock (flock) on the directory of its run as long as it lives, so no run is ever
 * adopted twice; the kernel drops it with the process, however that ends.
 *
 * Root's alone: the directory is 0700 and of the caller, symbolic links are not followed, what is
 * read back is checked. Bounds: MON_PINS_RUNS_MAX runs, one identity of at most
 * MON_PINS_IDENTITY_MAX bytes each. The calls that take a base directory may be made from any
 * thread and any process; a struct mon_pins is one thread's.
 */
#ifndef MON_PINS_H
#define MON_PINS_H

#include "bpf/setup.h"
#include "capture/capture.h"

#include <limits.h>

#define MON_PINS_DIRECTORY "/run/monbpf"
#define MON_PINS_RUNS_MAX 256
#define MON_PINS_IDENTITY_MAX 65536
#define MON_PINS_MAGIC 0x31736e69706e6f6dull /* "monpins1" */

/*
 * Raise it whenever a monitor of the last version could no longer go on with what this version
 * pins, or the other way round: a struct of bpf/ means something else (one that merely grows is
 * noticed by its size), a map or a program is new, gone or keyed differently, an option changed its
 * meaning, or struct mon_pins_identity changed.
 */
#define MON_PINS_ABI 4

/* Sizes that both sides must agree on, beside the ABI number. */
#define MON_PINS_SIZES 10

/* The same in all versions, for ever: whoever finds a pin can tell whose it is and what to say. */
struct mon_pins_head {
	uint64_t magic;
	uint32_t abi;
	uint32_t sizes[MON_PINS_SIZES];
	int32_t monitor_pid; /* who holds it, or held it last */
	char version[32];
	char run_uuid[40];
	char database[PATH_MAX]; /* absolute */
};
_Static_assert(sizeof(struct mon_pins_head) == 4224, "never again another");

struct mon_pins_target {
	int32_t pid;
	uint32_t reserved;
	uint64_t start_ticks; /* field 22 of /proc/PID/stat: tells a reused pid from the old one */
};

struct mon_pins_identity {
	/* The caller of mon_capture_pin() fills run_uuid and database; pins/ the rest. */
	struct mon_pins_head head;
	/* The caller's. */
	mon_ns started_ns, armed_ns;
	uint32_t target_count; /* at most MON_TGIDS_MAX */
	struct mon_pins_target targets[MON_TGIDS_MAX];
	char spool[PATH_MAX]; /* absolute; "": it has none */
	/* The capture's own. */
	uint32_t cpu_count;
	uint32_t detached; /* 1: its probes are gone or on their way */
	struct mon_capture_options options;
};

/* What is known of a pinned run. */
struct mon_pins_run {
	char uuid[MON_UUID_BYTES];
	/*
	 * 0: all of `identity` holds; -ENOTSUP: its head does, another version made it; -ENOENT:
	 * nothing does, a crash left it (or its monitor is about to pin the rest, when `busy`).
	 */
	int state;
	bool busy; /* a monitor lives that holds it */
	struct mon_pins_identity identity;
};

/* Freed with free(). No such directory, or nothing in it: 0 runs. */
int mon_pins_list(const char *base_dir, struct mon_pins_run **runs_out, size_t *count_out,
		  struct mon_error *error);
/* The run that writes into this database (an absolute path), whoever's version: 0 or -ENOENT. */
int mon_pins_find(const char *base_dir, const char *database, char uuid_out[MON_UUID_BYTES],
		  struct mon_error *error);
/* Removes what crashes left: directories without an identity that nobody holds. 0 or -errno. */
int mon_pins_sweep(const char *base_dir);

struct mon_pins_removed {
	uint32_t probes, others; /* pins */
};

/*
 * Removes every pin of a run, of whatever version: entries, returns, tracepoints, then the rest.
 * When it returns the probes are gone. -EBUSY while its monitor lives, -ENOENT no such run.
 */
int mon_pins_remove(const char *base_dir, const char *uuid, struct mon_pins_removed *removed_out,
		    struct mon_error *error);

/* 8-4-4-4-12 hexadecimal digits, and nothing else. */
bool mon_pins_is_uuid(const char *text);

/*
 * The directory of one run, held (locked) by this process. For capture/ only: create or open, add
 * or get, seal, unlink, close.
 */
struct mon_pins;

/* Makes the file system, too, where it is not there yet. -EEXIST: such a run is pinned. */
int mon_pins_create(const char *base_dir, const char *uuid, struct mon_pins **pins_out,
		    struct mon_error *error);
/* -ENOENT, -EBUSY, -ENOTSUP, each with a sentence. */
int mon_pins_open(const char *base_dir, const char *uuid, struct mon_pins **pins_out,
		  struct mon_pins_identity *identity_out, struct mon_error *error);
int mon_pins_add(struct mon_pins *pins, const char *name, int fd);
/* A descriptor, owned by the caller, or -errno. */
int mon_pins_get(const struct mon_pins *pins, const char *name);
/* The identity, for the first time or anew. Its head's fixed part is filled in here. */
int mon_pins_seal(struct mon_pins *pins, struct mon_pins_identity *identity);
/* Sorted, freed with free() as one block. NULL prefix: all. */
int mon_pins_names(const struct mon_pins *pins, const char *prefix, char (**names_out)[64],
		   size_t *count_out);
/*
 * Unlinks what starts with @prefix. When it returns, the pins no longer hold what they named, so a
 * descriptor that is closed next is the last.
 */
int mon_pins_unlink(struct mon_pins *pins, const char *prefix);
/* Unlinks one. */
int mon_pins_unlink_one(struct mon_pins *pins, const char *name);
/* Unlinks everything, the identity first, and the directory. */
int mon_pins_unlink_all(struct mon_pins *pins, struct mon_pins_removed *removed_out);
/* Lets go of it and leaves it as it is. Takes NULL. */
void mon_pins_close(struct mon_pins *pins);

#endif
