/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Ownership seen where it is held: tags for locals that own something, and the two macros that
 * give it away. A tagged local is always initialised: pointers NULL, descriptors -1.
 */
#ifndef MON_CLEANUP_H
#define MON_CLEANUP_H

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static inline void mon_cleanup_free(void *pointer)
{
	free(*(void **)pointer);
}

static inline void mon_cleanup_fd(const int *fd)
{
	if (*fd >= 0)
		(void)close(*fd);
}

static inline void mon_cleanup_file(FILE **file)
{
	if (*file)
		(void)fclose(*file);
}

#define MON_CLEANUP(function) __attribute__((cleanup(function)))
#define MON_FREE MON_CLEANUP(mon_cleanup_free)
#define MON_CLOSE MON_CLEANUP(mon_cleanup_fd)
#define MON_FCLOSE MON_CLEANUP(mon_cleanup_file)

/* Defines mon_cleanup_<name>, for MON_CLEANUP(), out of a free function that takes NULL. */
#define MON_DEFINE_CLEANUP(name, type, free_function)       \
	static inline void mon_cleanup_##name(type *object) \
	{                                                   \
		free_function(*object);                     \
	}

#define TAKE_PTR(pointer)                               \
	({                                              \
		__typeof__(pointer) taken_ = (pointer); \
		(pointer) = NULL;                       \
		taken_;                                 \
	})

#define TAKE_FD(fd)                \
	({                         \
		int taken_ = (fd); \
		(fd) = -1;         \
		taken_;            \
	})

#define MON_ARRAY_COUNT(array) (sizeof(array) / sizeof((array)[0]))

#endif
