/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Named points at which a test build (make CRASH=1) dies of SIGKILL when MON_CRASH=NAME:COUNT is in
 * its environment and the point is passed for the COUNTth time. Nothing in any other build.
 */
#ifndef MON_CRASH_H
#define MON_CRASH_H

#ifdef MON_CRASH_POINTS
void mon_crash_point(const char *name);
#define MON_CRASH_POINT(name) mon_crash_point(name)
#else
#define MON_CRASH_POINT(name) ((void)0)
#endif

#endif
