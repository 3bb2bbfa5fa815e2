// SPDX-License-Identifier: GPL-2.0-or-later
#include "base/types.h"

#include <stdlib.h>

const char *mon_mode_name(enum mon_mode mode)
{
	static const char *const names[MON_MODES] = {
		[MON_MODE_AUTO] = "auto",
		[MON_MODE_SESSION] = "session",
		[MON_MODE_MULTI] = "multi",
		[MON_MODE_PERF] = "perf",
	};

	return names[mode];
}

const char *mon_failed_if_name(unsigned failed_if)
{
	static const char *const names[MON_FAILED_IFS] = {
		[MON_FAILED_NEGATIVE] = "ret<0",
		[MON_FAILED_ZERO] = "ret==0",
		[MON_FAILED_NOT_ZERO] = "ret!=0",
		[MON_FAILED_NEGATIVE64] = "ret64<0",
	};

	return failed_if < MON_FAILED_IFS ? names[failed_if] : NULL;
}

const char *mon_cost_class_name(enum mon_cost_class cost)
{
	switch (cost) {
	case MON_COST_EMULATED:
		return "emulated";
	case MON_COST_SINGLE_STEP:
		return "single-step";
	case MON_COST_UNKNOWN:
		break;
	}
	return NULL;
}

void mon_function_set_clear(struct mon_function_set *set)
{
	for (size_t i = 0; i < set->function_count; i++) {
		free(set->functions[i].symbol);
		free(set->functions[i].name);
		free(set->functions[i].aliases);
		free(set->functions[i].note);
	}
	free(set->functions);
	for (size_t i = 0; i < set->module_count; i++) {
		free(set->modules[i].path);
		free(set->modules[i].open_path);
	}
	free(set->modules);
	*set = (struct mon_function_set){0};
}
