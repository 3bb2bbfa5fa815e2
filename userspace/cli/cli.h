/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The command line: picks the subcommand, prints, and turns errors into exit codes. The only
 * folder that prints and the only one that sees option strings.
 */
#ifndef MON_CLI_H
#define MON_CLI_H

#include <sys/types.h>

/* Returns the process's exit code (enum mon_exit, or the COMMAND's status). */
int mon_cli_run(int argc, char **argv);

/* Subcommands: argv[0] is the subcommand's name. */
struct mon_config;
int mon_cli_census(const struct mon_config *config); /* attach --census */
int mon_cli_attach(int argc, char **argv);
int mon_cli_list(int argc, char **argv);
int mon_cli_doctor(int argc, char **argv);
int mon_cli_detach(int argc, char **argv);
int mon_cli_report(int argc, char **argv);
int mon_cli_status(int argc, char **argv);
int mon_cli_spool(int argc, char **argv);

/* Who is to own what is made: under sudo whoever asked. */
uid_t mon_cli_owner_uid(void);
gid_t mon_cli_owner_gid(void);

#endif
