/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a process holds: its peak, and its BPF maps and programs, which VmHWM does not show. */
#ifndef HARNESS_MEMORY_H
#define HARNESS_MEMORY_H

#include <stdint.h>
#include <sys/types.h>

/* VmHWM in bytes. Fails the test when the process is gone. */
uint64_t memory_peak_bytes(pid_t pid);
/* Sum of memlock in /proc/PID/fdinfo, each map and program once. */
uint64_t memory_bpf_bytes(pid_t pid);

/* BPF maps that it has mapped: in VmHWM and, a second time, in memory_bpf_bytes. */
uint64_t memory_mapped_bpf_bytes(pid_t pid);
/* The peak and the BPF memory, each page once: what the machine has less of. */
uint64_t memory_total_bytes(pid_t pid);

#endif
