# SPDX-License-Identifier: GPL-2.0-or-later
#
# make          builds build/monbpf as an ordinary user, offline, without a running kernel's BTF
# make demo     installs what is missing, builds, watches a real redis-server, prints the report
# make check    installs, builds, runs every test this kernel and user permit
# make bench    prints the cost of everything, as ratios in one run; beside other tracers when
#               `make bench-deps` has installed them
#
# DEBUG=1 (ASan, UBSan), TSAN=1, CRASH=1 (dies at named points), V=1, PREFIX=, DESTDIR=. Everything built goes below build/.

PREFIX ?= /usr/local
DESTDIR ?=
CC := $(if $(filter default,$(origin CC)),gcc,$(CC))
CXX := $(if $(filter default,$(origin CXX)),g++,$(CXX))
CLANG ?= clang
# Ubuntu's bpftool is a wrapper that fails when its tools are for another kernel than the running one.
BPFTOOL ?= $(firstword $(shell for tool in bpftool /usr/sbin/bpftool /usr/lib/linux-tools/*/bpftool; \
	do $$tool version >/dev/null 2>&1 && echo $$tool; done) bpftool)
VERSION := 0.1.0

BUILD := build
ifeq ($(DEBUG),1)
BUILD := build/debug
SANITIZE := -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
OPTIMIZE := -O1 -g -DMON_DEBUG=1
else ifeq ($(TSAN),1)
BUILD := build/tsan
SANITIZE := -fsanitize=thread
OPTIMIZE := -O1 -g -DMON_DEBUG=1
else ifeq ($(CRASH),1)
BUILD := build/crash
SANITIZE :=
OPTIMIZE := -O2 -g -D_FORTIFY_SOURCE=2 -DMON_CRASH_POINTS
else
SANITIZE :=
OPTIMIZE := -O2 -g -D_FORTIFY_SOURCE=2
endif

ifeq ($(V),1)
Q :=
say = @true
else
Q := @
say = @printf '  %-5s %s\n'
endif

ARCH := $(shell uname -m)
BPF_ARCH := $(if $(filter aarch64,$(ARCH)),arm64,x86)

WARN := -Wall -Wextra -Werror -Wunused-function -Wshadow -Wstrict-prototypes -Wmissing-prototypes \
	-Wformat=2 -Wformat-security -Wvla -Wwrite-strings -Wpointer-arith
CPPFLAGS += -D_GNU_SOURCE -DMON_VERSION='"$(VERSION)"' -I. -Iuserspace -I$(BUILD)
CFLAGS += -std=gnu11 $(OPTIMIZE) $(WARN) -fstack-protector-strong -fPIE -pthread $(SANITIZE)
LDFLAGS += -pie -Wl,-z,relro,-z,now -Wl,--as-needed -pthread $(SANITIZE)
LDLIBS := -lbpf -ldw -lelf -lsqlite3 -liberty $(if $(filter x86_64,$(ARCH)),-lZydis)

BPF_CFLAGS := -target bpf -mcpu=v3 -O2 -g -Wall -Wextra -Werror -Wno-unused-parameter \
	-D__TARGET_ARCH_$(BPF_ARCH) -I. -Ivmlinux -Ibpf

SOURCES := $(sort $(wildcard userspace/*/*.c))
OBJECTS := $(SOURCES:%.c=$(BUILD)/%.o)
BPF_SOURCES := $(sort $(wildcard bpf/*.bpf.c))
SKELETONS := $(BPF_SOURCES:bpf/%.bpf.c=$(BUILD)/bpf/%.skel.h)
LIBRARY := $(BUILD)/libmonbpf.a

.DEFAULT_GOAL := all
.SUFFIXES:
.SECONDARY:
.PHONY: all deps demo check check-unit bench bench-deps tests crash install uninstall clean format

all: $(BUILD)/monbpf

$(BUILD)/monbpf: $(BUILD)/userspace/main.o $(LIBRARY)
	$(say) LINK $@
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)

$(LIBRARY): $(OBJECTS)
	$(say) AR $@
	$(Q)rm -f $@
	$(Q)ar rcs $@ $^

$(BUILD)/%.o: %.c Makefile
	$(say) CC $<
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

# Everything in capture/ sees the skeletons; nobody else does.
$(filter $(BUILD)/userspace/capture/%,$(OBJECTS)): $(SKELETONS)
$(BUILD)/userspace/pipeline/store_schema.o: userspace/pipeline/schema.sql

$(BUILD)/bpf/%.bpf.o: bpf/%.bpf.c $(wildcard bpf/*.h) vmlinux/vmlinux.h Makefile
	$(say) BPF $<
	$(Q)mkdir -p $(@D)
	$(Q)$(CLANG) $(BPF_CFLAGS) -c -o $@ $<

$(BUILD)/bpf/%.skel.h: $(BUILD)/bpf/%.bpf.o
	$(say) SKEL $@
	$(Q)$(BPFTOOL) gen skeleton $< name $(subst -,_,$*)_bpf > $@.tmp && mv $@.tmp $@

include tests/tests.mk

deps:
	$(Q).ci/deps

demo: deps
	$(Q)$(MAKE) --no-print-directory all
	$(Q)tests/harness/demo $(BUILD)/monbpf

install: all
	install -d $(DESTDIR)$(PREFIX)/bin
	install -m 0755 $(BUILD)/monbpf $(DESTDIR)$(PREFIX)/bin/monbpf
	install -d $(DESTDIR)$(PREFIX)/share/man/man1
	install -m 0644 docs/monbpf.1 $(DESTDIR)$(PREFIX)/share/man/man1/monbpf.1
	install -d $(DESTDIR)$(PREFIX)/share/bash-completion/completions
	install -m 0644 docs/monbpf.bash $(DESTDIR)$(PREFIX)/share/bash-completion/completions/monbpf

uninstall:
	rm -f $(DESTDIR)$(PREFIX)/bin/monbpf $(DESTDIR)$(PREFIX)/share/man/man1/monbpf.1 \
		$(DESTDIR)$(PREFIX)/share/bash-completion/completions/monbpf

format:
	$(Q)clang-format -i $$(git ls-files -co --exclude-standard '*.c' '*.h' ':!vmlinux/*')

clean:
	rm -rf build

-include $(OBJECTS:.o=.d) $(BUILD)/userspace/main.d
