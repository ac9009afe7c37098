# Makefile -- every program of the suite. `make help` lists what can be made.
#
# A build is a folder: build/cpu, build/asan, build/emulated, build/cuda, build/cuda-fp32, each with
# bin/ (programs), tests/ (test programs) and obj/. BUILD chooses; `make asan` is BUILD=asan.

BUILD  ?= cpu
B      := build/$(BUILD)
PREFIX ?= /usr/local
CC      = gcc
CXX     = g++
NVCC   ?= $(shell command -v nvcc 2>/dev/null)
# The processor that kernels/cpu is compiled for; x86-64-v3 makes programs that can be carried.
ARCH   ?= native
# The GPUs that the cuda builds carry code for; newer ones compile what is meant for the last.
NVARCH ?= sm_80 sm_90
# How hard nvcc tries.
NVOPT  ?= -O3

VERSION := $(shell git describe --always --dirty 2>/dev/null || echo unknown)

# ---- what there is -----------------------------------------------------------------------------

TOOLS     := tokenize shuffle pack verify peek
# Speaks to the network; made where libcurl and OpenSSL are.
FETCH     := fetch
TRAINERS  := train eval generate
# Runs no model, so that the CPU build's serves all; made where msgpack-c is.
CONVERT   := convert
# Tests that meet the device are made in every build; the rest say nothing about a device.
DEVICE_TESTS := $(patsubst tests/%.c,%,$(wildcard tests/golden_ops.c tests/golden_model.c tests/device_*.c))
# Measures, for scripts/bench; made with the tests so that it stays whole.
BENCHES      := bench_model
HOST_TESTS   := $(filter-out $(DEVICE_TESTS),$(patsubst tests/%.c,%,$(wildcard tests/golden_*.c tests/test_*.c)))

# ---- how each build compiles -------------------------------------------------------------------

WARN     = -Wall -Wextra -Wshadow -Wvla -Wwrite-strings -Wno-missing-field-initializers
CWARN    = $(WARN) -Wstrict-prototypes -Wmissing-prototypes
ifdef CI
WARN    += -Werror
endif
DEFS     = -D_GNU_SOURCE -DTTT_BUILD='"$(BUILD)"'
OPT      = -O2 -g
OPT.kernels = -O3
CFLAGS   = -std=c11 $(OPT) $(CWARN) $(DEFS) $(SANITIZE) $(REAL) -MMD -MP -pthread
# Kernels on the CPU: OpenMP, no -ffast-math; loops ask for reassociation with `omp simd`, and a
# product and a sum may be one instruction (c11 alone forbids it).
CFLAGS.kernels = $(OPT.kernels) -march=$(ARCH) -fopenmp -fno-math-errno -fno-trapping-math -ffp-contract=fast
# GCC's OpenMP library statically: a shared one starts before the program can ask it to wait
# passively (kernels/cpu/device.c). Clang's asks later by itself.
GOMP    := $(if $(findstring clang,$(CC)),,$(filter /%,$(shell $(CC) -print-file-name=libgomp.a)))
CXXFLAGS = -std=c++17 $(OPT) $(WARN) $(DEFS) $(SANITIZE) $(REAL) -MMD -MP -pthread
NVGEN    = $(foreach a,$(NVARCH),-gencode arch=$(a:sm_%=compute_%),code=[$a,$(a:sm_%=compute_%)])
NVFLAGS  = -std=c++17 $(NVOPT) -lineinfo -MMD $(DEFS) $(REAL) -Xcompiler -Wall,-Wextra $(NVGEN)
LIBS.formats = -ljansson -lxxhash -lz
LIBS.tools   = -larchive
LIBS.fetch   = -lcurl -lcrypto
LIBS.kernels = $(or $(GOMP),-fopenmp) -ldl
LIBS.convert = -lmsgpackc
LIBS.generate =
# A program needs the libraries it calls, not all that the rule names.
LINK     = $(CC) $(SANITIZE) -Wl,--as-needed

# ttt-train calls operations through trainer/report/profile_ops.c, which can time them: its table says which.
WRAP     := $(patsubst %,-Xlinker --wrap=%,device_replay \
              $(shell sed -nE 's/^(OP|COLLECTIVE).([a-z0-9_]+),.*/\2/p' trainer/report/profile_ops.c))

BACKEND = cpu
ifeq ($(BUILD),asan)
SANITIZE = -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
OPT      = -O1 -g
# Compiled in a third of the time, and as fast: the checks are what takes it.
OPT.kernels =
endif
ifeq ($(BUILD),emulated-bf16)
REAL    = -DTTT_BF16
endif
ifeq ($(BUILD),fuzz)
override CC = clang
SANITIZE = -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined
DEFS    += -DFUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION
OPT      = -O1 -g
endif
ifneq ($(filter emulated emulated-bf16,$(BUILD)),)
BACKEND = emulated
# Vector accesses that a GPU would refuse, and indices beyond shared arrays.
SANITIZE = -fsanitize=alignment,bounds -fno-sanitize-recover=all
LINK    = $(CXX) $(SANITIZE)
LIBS.kernels =
endif
ifeq ($(BUILD),cuda)
BACKEND = cuda
REAL    = -DTTT_BF16
endif
ifeq ($(BUILD),cuda-fp32)
BACKEND = cuda
endif
ifeq ($(BACKEND),cuda)
ifeq ($(NVCC),)
$(error no nvcc here: the $(BUILD) build needs the CUDA toolkit; set NVCC=/path/to/nvcc)
endif
# Linking adds code of its own, for the same GPUs.
LINK    = $(NVCC) $(NVGEN) -Xcompiler -pthread
LIBS.kernels = -lcublas -ldl
endif

# ---- who may see whom --------------------------------------------------------------------------

# A room sees its own headers and those of the rooms named here, so that the compiler keeps the order:
# formats <- tools, formats <- trainer, kernels <- trainer, and the same within each.
FORMATS := formats/base formats/tokenizer formats/arrays formats/json formats/tok
SEES.formats/tokenizer  := formats/base
SEES.formats/arrays     := formats/base
SEES.formats/json       := formats/base formats/tokenizer
SEES.formats/tok        := formats/base formats/arrays

TOOL_ROOMS := tools/fetch tools/tokenize tools/order tools/pack tools/verify tools/peek
SEES.tools/fetch        := $(FORMATS)
SEES.tools/tokenize     := $(FORMATS)
SEES.tools/order        := $(FORMATS)
SEES.tools/pack         := $(FORMATS) tools/order
SEES.tools/verify       := $(FORMATS) tools/order
SEES.tools/peek         := $(FORMATS)
SEES.tools              := $(FORMATS) $(TOOL_ROOMS)

SEES.kernels/cpu        := kernels

SEES.trainer/report     := $(FORMATS) kernels
SEES.trainer/data       := $(FORMATS)
SEES.trainer/ranks      := $(FORMATS) kernels trainer/data
SEES.trainer/model      := $(FORMATS) kernels trainer/report trainer/data trainer/ranks
SEES.trainer/checkpoint := $(SEES.trainer/model) trainer/model
SEES.trainer/run        := $(SEES.trainer/checkpoint) trainer/checkpoint
SEES.trainer/eval       := $(SEES.trainer/run)
SEES.trainer/generate   := $(SEES.trainer/run)
SEES.trainer/convert    := $(SEES.trainer/run)
TRAINER_ROOMS := $(patsubst SEES.%,%,$(sort $(filter SEES.trainer/%,$(.VARIABLES))))
SEES.trainer            := $(FORMATS) kernels $(TRAINER_ROOMS)

SEES.tests              := $(FORMATS) $(TOOL_ROOMS) kernels $(TRAINER_ROOMS)
SEES.tests/bench        := $(SEES.tests)
SEES.tests/fuzz         := $(SEES.tests) tests

house = $(firstword $(subst /, ,$<))
room  = $(patsubst %/,%,$(dir $<))
sees  = $(SEES.$(room):%=-I%)

# ---- files -------------------------------------------------------------------------------------

obj      = $(patsubst %,$B/obj/%.o,$1)
# Programs stand in tools/ and trainer/, what they are made of in the rooms below.
SUPPORT.formats := $(wildcard formats/*/*.c)
SUPPORT.tools   := $(wildcard tools/*/*.c)
SUPPORT.trainer := $(wildcard trainer/*/*.c)
HAS_CURL    := $(shell printf '\043include <curl/curl.h>\n\043include <openssl/evp.h>\n' | \
                 $(CC) -E -x c - >/dev/null 2>&1 && echo yes)
ifeq ($(HAS_CURL),)
NETWORK         := $(patsubst %,tools/fetch/%.c,copy gcs gcs_auth gcs_jwt http http_passing lane remote \
                     sources pour transport)
SUPPORT.tools   := $(filter-out $(NETWORK),$(SUPPORT.tools))
FETCH           :=
ifeq ($(BACKEND),cpu)
$(info ttt-fetch is left out: no curl/curl.h or openssl/evp.h here (Debian: libcurl4-openssl-dev libssl-dev))
endif
endif
HAS_MSGPACK := $(shell $(CC) -E -x c -include msgpack.h /dev/null >/dev/null 2>&1 && echo yes)
ifeq ($(HAS_MSGPACK),)
SUPPORT.formats := $(filter-out formats/arrays/flax.c,$(SUPPORT.formats))
HOST_TESTS      := $(filter-out test_flax,$(HOST_TESTS))
CONVERT         :=
ifeq ($(BACKEND),cpu)
$(info ttt-convert is left out: no msgpack.h here (Debian: libmsgpack-dev))
endif
endif
# A person's lines are edited where libedit is.
HAS_EDIT    := $(shell $(CC) -E -x c -include editline/readline.h /dev/null >/dev/null 2>&1 && echo yes)
SUPPORT.trainer := $(filter-out trainer/generate/ask_$(if $(HAS_EDIT),plain,edit).c,$(SUPPORT.trainer))
ifneq ($(HAS_EDIT),)
LIBS.generate = -ledit
endif
# Ranks of the CPU build speak over MPI: trainers linked with it are programs of their own, for which
# the plain ones look beside them, so that a single rank needs no MPI.
MPICC   ?= $(shell command -v mpicc 2>/dev/null)
MPI      = OMPI_CC='$(CC)' MPICH_CC='$(CC)' $(MPICC)
MPI_LINK = $(MPI) $(SANITIZE) -Wl,--as-needed
ifeq ($(BACKEND),cpu)
KERNELS  := $(filter-out kernels/cpu/comm_mpi.c,$(wildcard kernels/cpu/*.c)) $(wildcard kernels/*.c)
ifeq ($(MPICC),)
$(info ttt-train-mpi is left out: no mpicc here (Debian: libopenmpi-dev openmpi-bin))
endif
else
MPICC    :=
# Those of the CUDA builds over NCCL, of which only the header has to be there; the emulation has one.
HAS_NCCL := $(or $(filter emulated,$(BACKEND)),$(shell echo '#include <nccl.h>' | \
              $(CXX) -E -I$(dir $(NVCC))../include -x c++ - >/dev/null 2>&1 && echo yes))
KERNELS  := $(wildcard kernels/cuda/*.cu) kernels/comm_mesh.c
ifeq ($(HAS_NCCL),)
KERNELS  := $(filter-out kernels/cuda/comm.cu,$(KERNELS)) kernels/comm_one.c
$(info the $(BUILD) build runs a single rank: no nccl.h here)
endif
endif
ifeq ($(BACKEND),emulated)
KERNELS  += $(wildcard tests/emulated/*.cc)
endif

LIB.formats := $B/obj/libformats.a
LIB.tools   := $B/obj/libtools.a
LIB.kernels := $B/obj/libkernels.a
LIB.trainer := $B/obj/libtrainer.a

TRAINER_BIN := $(TRAINERS:%=$B/bin/ttt-%)
MPI_BIN     := $(if $(MPICC),$(TRAINERS:%=$B/bin/ttt-%-mpi))
RANKS_TESTS := $(patsubst tests/%.c,$B/tests/%,$(wildcard tests/ranks_*.c))
MPI_TEST_BIN := $(if $(MPICC),$(RANKS_TESTS))
NCCL_TEST_BIN := $(if $(HAS_NCCL),$(RANKS_TESTS))
CONVERT_BIN := $(CONVERT:%=$B/bin/ttt-%)
TOOL_BIN    := $(patsubst %,$B/bin/ttt-%,$(TOOLS) $(FETCH))
DEVICE_TEST_BIN := $(DEVICE_TESTS:%=$B/tests/%)
BENCH_BIN    := $(BENCHES:%=$B/tests/%)
HOST_TEST_BIN   := $(HOST_TESTS:%=$B/tests/%)

ifeq ($(BACKEND),cpu)
PROGRAMS := $(TOOL_BIN) $(TRAINER_BIN) $(MPI_BIN) $(CONVERT_BIN)
TESTS    := $(HOST_TEST_BIN) $(DEVICE_TEST_BIN) $(MPI_TEST_BIN) $(BENCH_BIN)
else
PROGRAMS := $(TRAINER_BIN)
TESTS    := $(DEVICE_TEST_BIN) $(NCCL_TEST_BIN)
endif

.PHONY: fuzz bench all tests test asan emulated emulated-bf16 cuda cuda-fp32 install deb docs man format clean help
.DELETE_ON_ERROR:

all: $(PROGRAMS)
tests: all $(TESTS)

asan emulated emulated-bf16 cuda cuda-fp32:
	+@$(MAKE) --no-print-directory BUILD=$@ tests

# What the device reaches at the trainer's operations, in every build.
BENCH := $B/bench/bench_device
bench: $(BENCH)
$(BENCH): $(call obj,$(wildcard tests/bench/*.c)) $(LIB.trainer) $(LIB.kernels) $(LIB.formats)
	@mkdir -p $(@D)
	$(call run,link,$(LINK) $^ -o $@ $(LIBS.kernels) $(LIBS.formats) -lpthread -lm)

# libFuzzer's targets; FUZZ_S=300 runs each for so many seconds.
FUZZ_S ?= 0
FUZZ   := $(patsubst tests/fuzz/%.c,build/fuzz/tests/%,$(wildcard tests/fuzz/*.c))
fuzz:
	+@$(MAKE) --no-print-directory BUILD=fuzz $(FUZZ)
	@for f in $(if $(filter-out 0,$(FUZZ_S)),$(FUZZ)); do \
	    mkdir -p build/fuzz/corpus/$${f##*/} && echo "== $$f" && \
	    $$f -max_total_time=$(FUZZ_S) -max_len=4096 -verbosity=0 -print_final_stats=1 \
	        build/fuzz/corpus/$${f##*/} || exit 1; done

test:
	+@$(MAKE) --no-print-directory BUILD=cpu tests
	@tests/run --build cpu

# ---- rules -------------------------------------------------------------------------------------

# A line for what is made, none with -s; V=1 shows the command.
SILENT := $(findstring s,$(firstword -$(MAKEFLAGS)))
run = $(if $V$(SILENT),,@printf '  %-5s %s\n' $1 $@ &&) $2

# Objects are made again when how they are made has changed.
HOW := $(CC) $(CXX) $(CFLAGS) $(CFLAGS.kernels) $(CXXFLAGS)
ifeq ($(BACKEND),cuda)
HOW += $(NVCC) $(NVFLAGS)
endif
HOW := $(filter-out -Werror,$(HOW))
ifneq ($(HOW),$(file <$B/obj/how))
$(shell mkdir -p $B/obj)
$(file >$B/obj/how,$(HOW))
endif

$B/obj/lib%.a:
	@rm -f $@
	$(call run,ar,ar rcs $@ $^)
$(LIB.formats): $(call obj,$(SUPPORT.formats))
$(LIB.tools):   $(call obj,$(SUPPORT.tools))
$(LIB.kernels): $(call obj,$(KERNELS))
$(LIB.trainer): $(call obj,$(SUPPORT.trainer))

$(TOOL_BIN): $B/bin/ttt-%: $B/obj/tools/%.c.o $(LIB.tools) $(LIB.formats)
	@mkdir -p $(@D)
	$(call run,link,$(LINK) $^ -o $@ $(LIBS.$*) $(LIBS.tools) $(LIBS.formats) -pthread -lm)

# Nothing else needs msgpack-c.
$(CONVERT_BIN) $B/tests/test_flax: LIBS.formats += $(LIBS.convert)

$B/bin/ttt-train $(filter %train-mpi,$(MPI_BIN)): LINK_HOW = $(WRAP)
$(TRAINER_BIN) $(CONVERT_BIN): $B/bin/ttt-%: $B/obj/trainer/%.c.o $(LIB.trainer) $(LIB.kernels) $(LIB.formats)
	@mkdir -p $(@D)
	$(call run,link,$(LINK) $(LINK_HOW) $^ -o $@ $(LIBS.$*) $(LIBS.kernels) $(LIBS.formats) -lpthread -lm)

$(MPI_BIN): $B/bin/ttt-%-mpi: $B/obj/trainer/%.c.o $B/obj/kernels/cpu/comm_mpi.c.o $(LIB.trainer) $(LIB.kernels) $(LIB.formats)
	@mkdir -p $(@D)
	$(call run,link,$(MPI_LINK) $(LINK_HOW) $^ -o $@ $(LIBS.$*) $(LIBS.kernels) $(LIBS.formats) -lpthread -lm)

$(MPI_TEST_BIN): $B/tests/%: $B/obj/tests/%.c.o $B/obj/kernels/cpu/comm_mpi.c.o $(LIB.trainer) $(LIB.kernels) $(LIB.formats)
	@mkdir -p $(@D)
	$(call run,link,$(MPI_LINK) $^ -o $@ $(LIBS.kernels) $(LIBS.formats) -lpthread -lm)

$B/obj/kernels/cpu/comm_mpi.c.o: kernels/cpu/comm_mpi.c $B/obj/how
	@mkdir -p $(@D)
	$(call run,cc,$(MPI) $(CFLAGS) $(CFLAGS.kernels) $(sees) -c $< -o $@)

$(DEVICE_TEST_BIN) $(NCCL_TEST_BIN) $(BENCH_BIN): $B/tests/%: $B/obj/tests/%.c.o $(LIB.trainer) $(LIB.kernels) $(LIB.formats)
	@mkdir -p $(@D)
	$(call run,link,$(LINK) $^ -o $@ $(LIBS.kernels) $(LIBS.formats) -lpthread -lm)

$(HOST_TEST_BIN): $B/tests/%: $B/obj/tests/%.c.o $(LIB.trainer) $(LIB.tools) $(LIB.kernels) $(LIB.formats)
	@mkdir -p $(@D)
	$(call run,link,$(LINK) $^ -o $@ $(LIBS.kernels) $(LIBS.tools) $(LIBS.formats) -lpthread -lm)

$B/tests/fuzz_%: $B/obj/tests/fuzz/fuzz_%.c.o $(LIB.tools) $(LIB.formats)
	@mkdir -p $(@D)
	$(call run,link,$(LINK) -fsanitize=fuzzer $^ -o $@ $(LIBS.tools) $(LIBS.formats) -pthread -lm)

$B/obj/%.c.o: %.c $B/obj/how
	@mkdir -p $(@D)
	$(call run,cc,$(CC) $(CFLAGS) $(CFLAGS.$(house)) $(sees) -c $< -o $@)

$B/obj/%.cc.o: %.cc $B/obj/how
	@mkdir -p $(@D)
	$(call run,c++,$(CXX) $(CXXFLAGS) -Itests/emulated -Ikernels -c $< -o $@)

ifeq ($(BACKEND),emulated)
# The same text, compiled by a plain C++ compiler against headers that run each thread as a fiber.
$B/obj/%.cu.o: %.cu $B/obj/how
	@mkdir -p $(@D)
	$(call run,c++,$(CXX) $(CXXFLAGS) -x c++ -Itests/emulated -Ikernels -Ikernels/cuda -c $< -o $@)
else
$B/obj/%.cu.o: %.cu $B/obj/how
	@mkdir -p $(@D)
	$(call run,nvcc,$(NVCC) $(NVFLAGS) -Ikernels -Ikernels/cuda -c $< -o $@)
endif

# The version is in one object, so that a commit makes nothing else again.
ifneq ($(VERSION),$(file <$B/obj/version))
$(file >$B/obj/version,$(VERSION))
endif
$B/obj/formats/base/version.c.o: $B/obj/version
$B/obj/formats/base/version.c.o: DEFS += -DTTT_VERSION='"$(VERSION)"'

-include $(shell find $B/obj -name '*.d' 2>/dev/null)

# ---- around the code ---------------------------------------------------------------------------

# Manual pages and completions, from what every program says of its flags.
man: all
	@scripts/make-man $B/bin build/man

install: all man
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/share/doc/ttt
	install -m 755 $(PROGRAMS) scripts/ttt-plot $(DESTDIR)$(PREFIX)/bin
	install -m 644 README.md LICENSE docs/*.md $(DESTDIR)$(PREFIX)/share/doc/ttt
	install -d $(DESTDIR)$(PREFIX)/share/man/man1 $(DESTDIR)$(PREFIX)/share/bash-completion/completions \
	    $(DESTDIR)$(PREFIX)/share/zsh/site-functions
	install -m 644 build/man/man1/* $(DESTDIR)$(PREFIX)/share/man/man1
	install -m 644 build/man/bash/* $(DESTDIR)$(PREFIX)/share/bash-completion/completions
	install -m 644 build/man/zsh/* $(DESTDIR)$(PREFIX)/share/zsh/site-functions
	@for build in cuda cuda-fp32; do for p in $(TRAINERS); do \
	    if [ -x build/$$build/bin/ttt-$$p ]; then \
	        install -m 755 build/$$build/bin/ttt-$$p $(DESTDIR)$(PREFIX)/bin/ttt-$$p-$$build; fi; done; done

# The package is for any machine of its kind, so that it is built beside build/cpu and not in it.
PACKAGED := $(if $(filter native,$(ARCH)),x86-64-v3,$(ARCH))
deb:
	+@scripts/make-deb B=build/deb ARCH=$(PACKAGED)

docs: all
	@scripts/make-docs

format:
	@git ls-files '*.c' '*.h' '*.cu' '*.cuh' '*.cc' | xargs clang-format -i

clean:
	rm -rf build

help:
	@echo 'make               the CPU programs, in build/cpu/bin'
	@echo 'make tests         and their test programs, in build/cpu/tests'
	@echo 'make test          and run the tests'
	@echo 'make asan          programs and tests under AddressSanitizer and UBSan, in build/asan'
	@echo 'make bench         build/cpu/bench/bench_device: times the operations of BUILD'
	@echo 'make fuzz          libFuzzer targets, in build/fuzz/tests; FUZZ_S=300 runs each so long'
	@echo 'make emulated      the CUDA kernels run by the CPU, for tests, in build/emulated'
	@echo 'make emulated-bf16 the same with bf16 storage'
	@echo 'make cuda          the trainer for NVIDIA GPUs, bf16, in build/cuda (needs nvcc)'
	@echo 'make cuda-fp32     the same in fp32, in build/cuda-fp32'
	@echo 'make install PREFIX=/usr/local DESTDIR='
	@echo 'make deb           a package for Debian 12, build/ttt_VERSION_ARCHITECTURE.deb'
	@echo 'make man           manual pages and completions of bash and zsh, in build/man'
	@echo 'make docs          docs/tools.md from every --help'
	@echo 'make format        clang-format in place'
	@echo 'make clean'
	@echo 'CC=clang           another compiler; CI=1 for -Werror; V=1 shows every command'
	@echo 'ARCH=x86-64-v3     programs to be carried to other machines; NVARCH=sm_90 for one kind of GPU'
