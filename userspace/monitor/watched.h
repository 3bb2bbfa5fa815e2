/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is watched: processes, their modules, the functions that match, and what would hurt. */
#ifndef MON_WATCHED_H
#define MON_WATCHED_H

#include "attach/command.h"
#include "attach/hazards.h"
#include "attach/target.h"
#include "monitor/config.h"

struct mon_watched {
	struct mon_target targets[MON_TARGETS_MAX];
	size_t target_count;	    /* 0 with --binary */
	struct mon_command command; /* pid 0: none. Held until it is released */
	struct mon_function_set set;
	struct mon_hazard hazard;
	uint32_t unread; /* with --binary: processes that could not be looked at for hazards */
	char title[256]; /* "redis-server (pid 4242)", escaped */
};

int mon_watched_find(const struct mon_config *config, struct mon_watched *watched_out,
		     struct mon_error *error);
void mon_watched_clear(struct mon_watched *watched);
/* Rough bytes of names and tables, for the plan. */
uint64_t mon_watched_bytes(const struct mon_watched *watched);

#endif
