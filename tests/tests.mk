# SPDX-License-Identifier: GPL-2.0-or-later
#
# tests/unit    one cmocka program for each file of userspace, no root; scripts that print TAP
# tests/kernel  real probes on the programs of tests/targets
# tests/fault   rows of the fault matrix
# tests/bench   ratios, run by `make bench`
# tests/targets what is watched: each file is one program
# tests/harness what test programs share

HARNESS_SOURCES := $(sort $(wildcard tests/harness/*.c))
HARNESS_OBJECTS := $(HARNESS_SOURCES:%.c=$(BUILD)/%.o)
HARNESS := $(BUILD)/tests/libharness.a
TEST_NAMES := $(sort $(basename $(wildcard tests/unit/test_*.c tests/kernel/test_*.c \
	tests/fault/test_*.c)))
TEST_PROGRAMS := $(TEST_NAMES:%=$(BUILD)/%)
BENCH_PROGRAMS := $(patsubst %.c,$(BUILD)/%,$(sort $(wildcard tests/bench/bench_*.c)))
TARGET_C := $(sort $(wildcard tests/targets/*.c))
TARGET_CXX := $(sort $(wildcard tests/targets/*.cc))
TARGET_PROGRAMS := $(TARGET_C:%.c=$(BUILD)/%) $(TARGET_CXX:%.cc=$(BUILD)/%) \
	$(BUILD)/tests/targets/libtarget.so
# Not inlined, a frame pointer, no CET: like Debian 12's packages. Leaf functions get no `push` by
# that; STARTS_WITH_PUSH() of target.h gives it to those that are called millions of times.
# One program's own: TARGET_FLAGS_name, TARGET_LIBS_name.
TARGET_FLAGS_tail := -O2 -foptimize-sibling-calls
TARGET_FLAGS_calls_nopie := -fno-pie -no-pie
TARGET_FLAGS_calls_static := -fPIE -static-pie
TARGET_FLAGS_cold := -O2 -freorder-blocks-and-partition
TARGET_FLAGS_calls_cet := -O0 -fcf-protection=full
TARGET_FLAGS_arguments_cet := -O0 -fcf-protection=full
TARGET_FLAGS_recursion_cet := -O0 -fcf-protection=full
TARGET_FLAGS_peers_pg := -pg
TARGET_FLAGS_longjmp_cet := -O0 -fcf-protection=full
TARGET_FLAGS_stacks_bare := -O2 -fomit-frame-pointer
# All of the library, with the names of its own functions.
TARGET_FLAGS_crypto := -Wno-deprecated-declarations
# What the static library needs itself differs: Debian 13's compresses with zlib and zstd.
TARGET_LIBS_crypto := -Wl,--whole-archive -l:libcrypto.a -Wl,--no-whole-archive \
	$(shell sed -n 's/^Libs.private: *//p' /usr/lib/*/pkgconfig/libcrypto.pc 2>/dev/null) -ldl
TARGET_FLAGS := -g -O1 -fno-inline -fno-ipa-sra -fno-ipa-cp -fno-optimize-sibling-calls \
	-fno-omit-frame-pointer -fcf-protection=none -Wall -Wextra -Werror -pthread

$(BUILD)/tests/targets/%: tests/targets/%.c tests/targets/target.h tests/tests.mk
	$(say) CC $<
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) -D_GNU_SOURCE $(TARGET_FLAGS) $(TARGET_FLAGS_$*) -o $@ $< $(TARGET_LIBS_$*)

$(BUILD)/tests/targets/%: tests/targets/%.cc tests/targets/target.h tests/tests.mk
	$(say) CXX $<
	$(Q)mkdir -p $(@D)
	$(Q)$(CXX) -D_GNU_SOURCE $(TARGET_FLAGS) $(TARGET_FLAGS_$*) -o $@ $< $(TARGET_LIBS_$*)

$(BUILD)/tests/targets/libtarget.so: tests/targets/lib/target.c tests/targets/target.h tests/tests.mk
	$(say) CC $<
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) -D_GNU_SOURCE $(TARGET_FLAGS) -fPIC -shared -o $@ $<

$(BUILD)/tests/targets/calls_nopie $(BUILD)/tests/targets/calls_static: tests/targets/calls.c
$(BUILD)/tests/targets/calls_cet: tests/targets/calls.c
$(BUILD)/tests/targets/arguments_cet: tests/targets/arguments.c
$(BUILD)/tests/targets/recursion_cet: tests/targets/recursion.c
$(BUILD)/tests/targets/longjmp_cet: tests/targets/longjmp.c
$(BUILD)/tests/targets/many_10000: tests/targets/many.c
$(BUILD)/tests/targets/peers: tests/targets/many.c
$(BUILD)/tests/targets/peers_pg: tests/targets/peers.c tests/targets/many.c
$(BUILD)/tests/targets/crypto: tests/targets/crypto_forms.h
$(BUILD)/tests/targets/texts: tests/targets/texts.h
$(BUILD)/tests/targets/stacks $(BUILD)/tests/targets/stacks_bare: tests/targets/stacks.h
$(BUILD)/tests/targets/stacks_bare: tests/targets/stacks.c

# Loaded into the program by the tests that want it to be short of memory.
PRELOADS := $(patsubst %.c,$(BUILD)/%.so,$(sort $(wildcard tests/harness/preload/*.c)))
$(BUILD)/tests/harness/preload/%.so: tests/harness/preload/%.c
	$(say) CC $<
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) -D_GNU_SOURCE -g -O1 -fno-builtin -fPIC -shared -Wall -Wextra -Werror -o $@ $<

$(HARNESS): $(HARNESS_OBJECTS)
	$(say) AR $@
	$(Q)rm -f $@
	$(Q)ar rcs $@ $^

$(TEST_PROGRAMS): $(BUILD)/%: $(BUILD)/%.o $(HARNESS) $(LIBRARY)
	$(say) LINK $@
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ -lcmocka $(LDLIBS) -lm

$(BENCH_PROGRAMS): $(BUILD)/%: $(BUILD)/%.o $(HARNESS) $(LIBRARY)
	$(say) LINK $@
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ -lcmocka $(LDLIBS) -lm

$(BUILD)/tests/bench/bench_peers: $(BUILD)/tests/bench/peers.o

# Programs that do nothing, to compare with.
$(BUILD)/tests/bench/empty.bpf.o: tests/bench/empty.bpf.c vmlinux/vmlinux.h
	$(say) BPF $<
	$(Q)mkdir -p $(@D)
	$(Q)$(CLANG) $(BPF_CFLAGS) -c -o $@ $<
$(BUILD)/tests/bench/empty.skel.h: $(BUILD)/tests/bench/empty.bpf.o
	$(say) SKEL $@
	$(Q)$(BPFTOOL) gen skeleton $< name empty_bpf > $@.tmp && mv $@.tmp $@
$(BUILD)/tests/bench/bench_capture.o $(BUILD)/tests/bench/bench_peers.o: $(BUILD)/tests/bench/empty.skel.h

# The program that dies at named points, for tests that kill it (base/crash.h).
crash:
	$(Q)$(MAKE) --no-print-directory CRASH=1 build/crash/monbpf

tests: all $(TEST_PROGRAMS) $(TARGET_PROGRAMS) $(PRELOADS) crash

check-unit: $(filter $(BUILD)/tests/unit/%,$(TEST_PROGRAMS)) all $(TARGET_PROGRAMS)
	$(Q)tests/run --only unit --build $(BUILD)

check: deps
	$(Q)$(MAKE) --no-print-directory tests
	$(Q)tests/run --build $(BUILD)

bench: deps
	$(Q)$(MAKE) --no-print-directory tests $(BENCH_PROGRAMS)
	$(Q)tests/bench/run --build $(BUILD)

bench-deps:
	$(Q)tests/bench/deps

-include $(TEST_NAMES:%=$(BUILD)/%.d) $(HARNESS_OBJECTS:.o=.d) $(BENCH_PROGRAMS:%=%.d) \
	$(BUILD)/tests/bench/peers.d

# The one test that loads the programs by itself.
$(BUILD)/tests/kernel/test_programs.o: $(BUILD)/bpf/monbpf.skel.h

# BTF of a whole header, which clang writes only of what is used.
$(BUILD)/tests/kernel/vmlinux_types.o: tests/kernel/vmlinux_types.c vmlinux/vmlinux.h
	$(say) CC $<
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) -gbtf -fno-eliminate-unused-debug-types -Wno-unknown-pragmas \
		-D__TARGET_ARCH_$(BPF_ARCH) -Ivmlinux -c -o $@ $<
$(BUILD)/tests/kernel/test_vmlinux: | $(BUILD)/tests/kernel/vmlinux_types.o
