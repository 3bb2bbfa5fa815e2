/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Databases for reports, made from the schema file and INSERTs, independent of the store, and what
 * a report says of them: compared with tests/golden/report, or MON_UPDATE_GOLDEN=1 writes those
 * files anew. Whatever goes wrong fails the test.
 */
#ifndef HARNESS_REPORT_H
#define HARNESS_REPORT_H

#include "report/report.h"

#include <sqlite3.h>

extern char report_path[300]; /* of the one database */

/* For a cmocka group: a directory of its own. */
int report_setup(void **state);
int report_teardown(void **state);

char *report_file(const char *path); /* all of it, or NULL; the caller's */
sqlite3 *report_database(void);	     /* anew, with nothing in it but the schema */
void report_sql(sqlite3 *database, const char *sql);
/* Of @count calls nine tenths took @ns, the others twice that. */
void report_histogram(sqlite3 *database, const char *table, int id, uint64_t ns, uint64_t count);

/* Of the database when @options name no other. The text is the caller's. */
int report_text(struct mon_report_options options, char **text_out, struct mon_error *error);
void report_golden(const char *name, struct mon_report_options options);

#endif
