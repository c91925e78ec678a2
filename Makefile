# millrace: one binary, build/millrace. `make help` lists the targets.
#
# BUILD=dir         where everything made goes (default build; build-<sanitizer> for sanitizer builds)
# SANITIZE=address,undefined | thread
# FAISS_PREFIX=dir  an installed FAISS 1.7.3 with its C API instead of the one that `make deps` builds
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := /bin/bash
MAKEFLAGS += --no-builtin-rules

SANITIZE ?=
BUILD ?= build$(if $(SANITIZE),-$(firstword $(subst $(comma), ,$(SANITIZE))))
comma := ,
CC = gcc
ROOMS := config queues providers retrieval workers
VERSION := 0.1.0

# Where the libraries that we build ourselves lie: asked at each run (10 ms), rewritten only when the answer changes.
ifneq ($(filter-out help deps clean,$(or $(MAKECMDGOALS),help)),)
DEPS_ENV := MILLRACE_DEPS='$(MILLRACE_DEPS)' FAISS_PREFIX='$(FAISS_PREFIX)'
$(shell mkdir -p $(BUILD) && $(DEPS_ENV) deploy/deps/deps.sh env >$(BUILD)/deps.mk.new && \
	(cmp -s $(BUILD)/deps.mk.new $(BUILD)/deps.mk || cp $(BUILD)/deps.mk.new $(BUILD)/deps.mk))
include $(BUILD)/deps.mk
endif
DEPS_CFLAGS = $(HIREDIS_CFLAGS) $(RDKAFKA_CFLAGS) $(FAISS_CFLAGS)
DEPS_LDLIBS = $(FAISS_LDLIBS) $(RDKAFKA_LDLIBS) $(HIREDIS_LDLIBS)

SYSTEM_PACKAGES := libcurl jansson libmicrohttpd yaml-0.1 libxml-2.0 icu-uc icu-i18n libcrypto libssl
WARNINGS := -Wall -Wextra -Wshadow -Wconversion -Wmissing-prototypes -Wstrict-prototypes -Wformat=2 -Wundef -Wvla -Werror
OPTIMISE := $(if $(SANITIZE),-O1 -fno-omit-frame-pointer -fsanitize=$(SANITIZE) -fno-sanitize-recover=all,-O2)
HARDEN := -fstack-protector-strong $(if $(SANITIZE),,-D_FORTIFY_SOURCE=2)
PACKAGE_CFLAGS := $(shell pkg-config --cflags $(SYSTEM_PACKAGES) 2>/dev/null)
PACKAGE_LIBS := $(shell pkg-config --libs $(SYSTEM_PACKAGES) 2>/dev/null)
# Sanitizer builds have a runner of their own behind Criterion's macros: tests/sanitize/README.md.
CFLAGS_ALL = -std=gnu17 -D_GNU_SOURCE $(if $(SANITIZE),-Itests/sanitize) -I. -g $(OPTIMISE) $(HARDEN) $(WARNINGS) -DMILLRACE_VERSION='"$(VERSION)"' \
	$(PACKAGE_CFLAGS) $(DEPS_CFLAGS) $(CFLAGS)
LDLIBS_ALL = $(DEPS_LDLIBS) $(PACKAGE_LIBS) -lev -lstemmer -lpthread -lm
RUNNER := $(if $(SANITIZE),$(BUILD)/tests/sanitize/inprocess.o)
CRITERION_LDLIBS := $(if $(SANITIZE),,-lcriterion)
LDFLAGS_ALL = $(if $(SANITIZE),-fsanitize=$(SANITIZE)) -Wl,-z,relro,-z,now $(LDFLAGS)

sources_of = $(sort $(wildcard $(1)/*.c $(1)/*/*.c))
objects_of = $(patsubst %.c,$(BUILD)/%.o,$(call sources_of,$(1)))
# Every room is an archive; a test of a room links that room and those below it.
archives := $(ROOMS:%=$(BUILD)/lib%.a)
below_config := config
below_queues := queues config
below_providers := providers config
below_retrieval := retrieval config
below_workers := workers queues providers retrieval config

define room_rules
$(BUILD)/lib$(1).a: $(filter-out $(BUILD)/workers/main.o,$(call objects_of,$(1)))
	@rm -f $$@ && gcc-ar rcs $$@ $$^
$(BUILD)/tests/unit-$(1): $(patsubst %.c,$(BUILD)/%.o,$(sort $(wildcard tests/unit/$(1)/*.c))) $(RUNNER) $(below_$(1):%=$(BUILD)/lib%.a)
	@echo "  link $$@"
	@$(CC) $$(LDFLAGS_ALL) -o $$@ $$(filter %.o,$$^) -Wl,--start-group $$(filter %.a,$$^) -Wl,--end-group $(CRITERION_LDLIBS) $$(LDLIBS_ALL)
.PHONY: unit-$(1)
unit-$(1): $(BUILD)/tests/unit-$(1)
	$(BUILD)/tests/unit-$(1) --jobs 2
endef
$(foreach room,$(ROOMS),$(eval $(call room_rules,$(room))))

$(BUILD)/%.o: %.c $(BUILD)/deps.mk
	@mkdir -p $(@D)
	@echo "  cc   $<"
	@$(CC) $(CFLAGS_ALL) -MMD -MP -c -o $@ $<

$(BUILD)/millrace: $(BUILD)/workers/main.o $(archives)
	@echo "  link $@"
	@$(CC) $(LDFLAGS_ALL) -o $@ $< -Wl,--start-group $(archives) -Wl,--end-group $(LDLIBS_ALL)

# ---- Tests' own programs
FAKES := $(BUILD)/tests/fakes/provider_stub
$(FAKES): $(patsubst %.c,$(BUILD)/%.o,$(sort $(wildcard tests/fakes/*.c)))
	@echo "  link $@"
	@$(CC) $(LDFLAGS_ALL) -o $@ $^ -lm

FLOOR := $(patsubst tests/bench/floor/%.c,$(BUILD)/tests/bench/floor/%,$(sort $(wildcard tests/bench/floor/*.c)))
BENCH := $(BUILD)/tests/bench/produce $(BUILD)/tests/bench/measure $(FLOOR)
$(BENCH): %: %.o
	@echo "  link $@"
	@$(CC) $(LDFLAGS_ALL) -o $@ $< $(LDLIBS_ALL)

$(BUILD)/tests/flow_tests: $(patsubst %.c,$(BUILD)/%.o,$(sort $(wildcard tests/flow/*.c))) $(RUNNER) $(archives)
	@echo "  link $@"
	@$(CC) $(LDFLAGS_ALL) -o $@ $(filter %.o,$^) -Wl,--start-group $(archives) -Wl,--end-group $(CRITERION_LDLIBS) $(LDLIBS_ALL)

# Allocations and what only a broker gives are bent to the test's own: tests/torture/README.md.
TORTURE := $(BUILD)/tests/torture/torture
TORTURE_WRAPS := malloc calloc realloc reallocarray strdup strndup free task_wait metrics_counter metrics_gauge metrics_histogram \
	record_header record_header_at source_new source_free source_done source_drop source_park source_current source_hold source_held source_stop \
	producer_send index_reader_new index_reader_free index_reader_hold index_reader_lag index_reader_error
$(TORTURE): $(patsubst %.c,$(BUILD)/%.o,$(sort $(wildcard tests/torture/*.c))) $(archives)
	@echo "  link $@"
	@$(CC) $(LDFLAGS_ALL) $(TORTURE_WRAPS:%=-Wl,--wrap=%) -no-pie -o $@ $(filter %.o,$^) -Wl,--start-group $(archives) -Wl,--end-group $(LDLIBS_ALL)

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)

UNITS := $(ROOMS:%=$(BUILD)/tests/unit-%)
RUN_UNITS = $(foreach unit,$(UNITS),'$(unit) --jobs 2')
RUN_FLOW = 'MILLRACE_STUB=$(FAKES) $(BUILD)/tests/flow_tests --jobs 2'
run_torture = 'MILLRACE_STUB=$(FAKES) tests/torture/run.sh $(TORTURE) $(1)'
RUN_RULES = tests/lint/includes.sh tests/lint/banned.sh tests/lint/style.sh tests/lint/sizes.sh
FULL = $(MAKE) --no-print-directory

.PHONY: help all deps demo test unit flow system asan ubsan tsan fuzz torture chaos bench lint format install clean
help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | sort | awk -F'\t' '{printf "  make %-10s %s\n", $$1, $$2}'

all: $(BUILD)/millrace ## build the binary, build/millrace

deps: ## install or build what millrace stands on (Debian 12, as root or with sudo)
	@deploy/deps/deps.sh install

demo: ## install, build, and run the main job: ingest a collection, ask it questions
	@$(FULL) deps
	@$(FULL) -j2 all
	@BUILD=$(BUILD) deploy/demo.sh

test: ## install, build, and run every test
	@$(FULL) deps
	@$(FULL) -j2 all $(UNITS) $(BUILD)/tests/flow_tests $(TORTURE) $(FAKES)
	@tests/run.sh $(RUN_UNITS) $(RUN_FLOW) $(call run_torture,--sample 200 --seed 1) $(RUN_RULES) 'tests/system/run.sh --build $(BUILD)' \
		'tests/system/chaos/run.sh --build $(BUILD) --short --seed 11'

unit: $(UNITS) ## the unit tests alone
	@tests/run.sh $(RUN_UNITS)

flow: $(BUILD)/tests/flow_tests $(FAKES) ## a whole worker on the embedded broker
	@tests/run.sh $(RUN_FLOW)

system: all $(FAKES) ## the binary against real Kafka and Redis, from outside
	@tests/run.sh 'tests/system/run.sh --build $(BUILD)'

asan: ## unit and flow tests under AddressSanitizer
	@$(FULL) SANITIZE=address -j2 unit-programs && $(FULL) SANITIZE=address sanitized

ubsan: ## the same under UndefinedBehaviorSanitizer
	@$(FULL) SANITIZE=undefined,float-cast-overflow -j2 unit-programs && $(FULL) SANITIZE=undefined,float-cast-overflow sanitized

tsan: ## the same under ThreadSanitizer
	@$(FULL) SANITIZE=thread -j2 unit-programs && $(FULL) SANITIZE=thread sanitized

# Exit codes of their own, so that none passes for another; ThreadSanitizer's runtime of gcc 12 can't bear much address randomisation.
SANITIZER_OPTIONS = ASAN_OPTIONS=detect_leaks=1:detect_stack_use_after_return=1:strict_string_checks=1:exitcode=99 \
	UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1:exitcode=98 \
	TSAN_OPTIONS=suppressions=$(CURDIR)/tests/sanitize/tsan.supp:history_size=5:second_deadlock_stack=1:exitcode=66 \
	$(if $(findstring thread,$(SANITIZE)),$(shell setarch -R true 2>/dev/null && echo setarch -R))
.PHONY: unit-programs sanitized
unit-programs: $(UNITS) $(BUILD)/tests/flow_tests $(FAKES)
sanitized: unit-programs
	@$(SANITIZER_OPTIONS) tests/run.sh 'tests/sanitize/selftest.sh $(SANITIZE)' $(RUN_UNITS) $(RUN_FLOW)

torture: $(TORTURE) $(FAKES) ## the n-th allocation of every request's life fails, for every n
	@tests/run.sh $(call run_torture,$(TORTURE_OPTIONS))

chaos: all $(FAKES) ## 50,000 requests while everything is killed in turn, judged by what is left
	@tests/run.sh 'tests/system/chaos/run.sh --build $(BUILD) $(CHAOS)'

bench: all $(FAKES) $(BENCH) ## one worker beside the sum of its bare parts, on real Kafka
	@tests/bench/bench.sh --build $(BUILD)

fuzz: ## fuzz the request decoder and the configuration loader for a minute each
	@tests/fuzz/run.sh 60

lint: ## the house rules, then clang-tidy and cppcheck where they are installed
	@tests/run.sh tests/lint/selftest.sh $(RUN_RULES) tests/lint/cppcheck.sh "LINT_CFLAGS='$(PACKAGE_CFLAGS) $(DEPS_CFLAGS)' tests/lint/tidy.sh"

format: ## lay the sources out by .clang-format
	@tests/lint/format.sh --write

PREFIX ?= /usr/local
install: all ## install the binary and its FAISS libraries under $(DESTDIR)$(PREFIX)
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/lib/millrace
	cp -a $(FAISS_LIBDIR)/libfaiss.so* $(wildcard $(FAISS_LIBDIR)/glibc-hwcaps) $(DESTDIR)$(PREFIX)/lib/millrace/
	@$(CC) $(LDFLAGS_ALL) -Wl,-rpath,$(PREFIX)/lib/millrace -o $(DESTDIR)$(PREFIX)/bin/millrace $(BUILD)/workers/main.o -Wl,--start-group $(archives) -Wl,--end-group $(LDLIBS_ALL)

clean: ## remove what was built
	rm -rf build build-*
