// SPDX-License-Identifier: GPL-2.0-or-later
#include "tests/harness/vfs.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sqlite3.h>
#include <string.h>

struct vfs_fault vfs_sync, vfs_write, vfs_read;

/* The real file comes after it, in the memory that SQLite gives. */
struct shim_file {
	sqlite3_file base;
	sqlite3_io_methods methods;
	sqlite3_file real[];
};

static sqlite3_vfs shim, *unix_vfs;

static sqlite3_file *real(sqlite3_file *file)
{
	return ((struct shim_file *)file)->real;
}

static int strike(struct vfs_fault *fault)
{
	if (fault->nth == 0 || --fault->nth > 0)
		return SQLITE_OK;
	fault->failed++;
	fault->nth = fault->persistent ? 1 : 0;
	if (fault->hook)
		fault->hook();
	return fault->code;
}

static int shim_close(sqlite3_file *file)
{
	return real(file)->pMethods->xClose(real(file));
}

static int shim_read(sqlite3_file *file, void *bytes, int size, sqlite3_int64 offset)
{
	int code = strike(&vfs_read);

	return code ? code : real(file)->pMethods->xRead(real(file), bytes, size, offset);
}

static int shim_write(sqlite3_file *file, const void *bytes, int size, sqlite3_int64 offset)
{
	int code = strike(&vfs_write);

	return code ? code : real(file)->pMethods->xWrite(real(file), bytes, size, offset);
}

static int shim_truncate(sqlite3_file *file, sqlite3_int64 size)
{
	return real(file)->pMethods->xTruncate(real(file), size);
}

/* As a disk that lost what it was given: the file system does not try again. */
static int shim_sync(sqlite3_file *file, int flags)
{
	int code = strike(&vfs_sync);

	return code ? code : real(file)->pMethods->xSync(real(file), flags);
}

static int shim_size(sqlite3_file *file, sqlite3_int64 *size_out)
{
	return real(file)->pMethods->xFileSize(real(file), size_out);
}

static int shim_lock(sqlite3_file *file, int level)
{
	return real(file)->pMethods->xLock(real(file), level);
}

static int shim_unlock(sqlite3_file *file, int level)
{
	return real(file)->pMethods->xUnlock(real(file), level);
}

static int shim_reserved(sqlite3_file *file, int *reserved_out)
{
	return real(file)->pMethods->xCheckReservedLock(real(file), reserved_out);
}

static int shim_control(sqlite3_file *file, int op, void *arg)
{
	return real(file)->pMethods->xFileControl(real(file), op, arg);
}

static int shim_sector(sqlite3_file *file)
{
	return real(file)->pMethods->xSectorSize(real(file));
}

static int shim_device(sqlite3_file *file)
{
	return real(file)->pMethods->xDeviceCharacteristics(real(file));
}

static int shim_shm_map(sqlite3_file *file, int page, int size, int extend, void volatile **map_out)
{
	return real(file)->pMethods->xShmMap(real(file), page, size, extend, map_out);
}

static int shim_shm_lock(sqlite3_file *file, int offset, int count, int flags)
{
	return real(file)->pMethods->xShmLock(real(file), offset, count, flags);
}

static void shim_shm_barrier(sqlite3_file *file)
{
	real(file)->pMethods->xShmBarrier(real(file));
}

static int shim_shm_unmap(sqlite3_file *file, int remove)
{
	return real(file)->pMethods->xShmUnmap(real(file), remove);
}

static int shim_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags,
		     int *flags_out)
{
	struct shim_file *shim_file = (struct shim_file *)file;
	int code;

	(void)vfs;
	memset(shim_file, 0, sizeof(*shim_file));
	code = unix_vfs->xOpen(unix_vfs, name, shim_file->real, flags, flags_out);
	if (code != SQLITE_OK)
		return code;
	shim_file->methods = (sqlite3_io_methods){
		.iVersion = 2,
		.xClose = shim_close,
		.xRead = shim_read,
		.xWrite = shim_write,
		.xTruncate = shim_truncate,
		.xSync = shim_sync,
		.xFileSize = shim_size,
		.xLock = shim_lock,
		.xUnlock = shim_unlock,
		.xCheckReservedLock = shim_reserved,
		.xFileControl = shim_control,
		.xSectorSize = shim_sector,
		.xDeviceCharacteristics = shim_device,
		.xShmMap = shim_shm_map,
		.xShmLock = shim_shm_lock,
		.xShmBarrier = shim_shm_barrier,
		.xShmUnmap = shim_shm_unmap,
	};
	shim_file->base.pMethods = &shim_file->methods;
	return SQLITE_OK;
}

void vfs_install(void)
{
	unix_vfs = sqlite3_vfs_find("unix");
	assert_non_null(unix_vfs);
	shim = *unix_vfs;
	shim.zName = "shim";
	shim.szOsFile = (int)sizeof(struct shim_file) + unix_vfs->szOsFile;
	shim.xOpen = shim_open;
	shim.pNext = NULL;
	assert_int_equal(sqlite3_vfs_register(&shim, 1), SQLITE_OK);
}

void vfs_remove(void)
{
	vfs_sync = vfs_write = vfs_read = (struct vfs_fault){0};
	if (!unix_vfs)
		return;
	assert_int_equal(sqlite3_vfs_unregister(&shim), SQLITE_OK);
	assert_int_equal(sqlite3_vfs_register(unix_vfs, 1), SQLITE_OK);
	unix_vfs = NULL;
}
