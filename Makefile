# TCPエコーサーバーで学ぶ並行サーバー入門
#
# make だけで、できることの一覧が出る。作ったものはすべて build/ に入る。
# V=1 をつけると、コンパイルのコマンドをすべて見せる。
# make test SANITIZE=thread のように SANITIZE を渡すと、検査つきで build/thread/ に作る。
# STATIC=0 なら、第2章も動的にリンクして build/dynamic/ に作る (第2章のノートの 8 節)。

SHELL    := /bin/sh
CXX      := $(if $(filter default,$(origin CXX)),g++,$(CXX))
BUILD    := build$(if $(SANITIZE),/$(SANITIZE),$(if $(filter 0,$(STATIC)),/dynamic))
CXXFLAGS ?= -O2 -g
WARNINGS := -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror
COMPILE  := $(CXX) -std=c++20 $(CXXFLAGS) $(WARNINGS) -pthread -I. $(addprefix -isystem,$(wildcard /opt/homebrew/include)) \
            $(if $(SANITIZE),-fsanitize=$(SANITIZE) -fno-sanitize-recover=all -DSANITIZE)
Q        := $(if $(V),,@)
JOBS     := $(shell getconf _NPROCESSORS_ONLN)

CHAPTERS := $(sort $(patsubst chapters/%/server.cpp,%,$(wildcard chapters/*/server.cpp)))
NUMBERS  := $(foreach c,$(CHAPTERS),$(firstword $(subst -, ,$c)))
SOURCES  := $(wildcard common/*.cpp chapters/*/*.cpp tests/*.cpp)
COMMON   := $(patsubst %.cpp,$(BUILD)/obj/%.o,$(wildcard common/*.cpp))
HARNESS  := $(patsubst %.cpp,$(BUILD)/obj/%.o,tests/client.cpp tests/process.cpp)
TESTS    := $(patsubst %.cpp,$(BUILD)/obj/%.o,tests/main.cpp tests/servers.cpp $(wildcard tests/*_test.cpp)) $(HARNESS)
BINARIES := $(NUMBERS:%=$(BUILD)/chapter%)
MUTANTS  := $(patsubst tests/mutants/%.patch,$(BUILD)/mutant/%,$(wildcard tests/mutants/*.patch))
PROGRAMS := $(BUILD)/client $(BINARIES)

.PHONY: help all clean demo test check bench soak unit check-notes update-notes setup check-format tidy mutant client doctest
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

help: ## この一覧を出す
	@echo 'make chapterNN            第NN章のサーバーを build/chapterNN に作る (NN: $(NUMBERS))'
	@echo 'make diffNN               前の章から変わったところを見る'
	@awk -F ':.*## ' '/^[a-z_. -]+:.*## / {printf "make %-20s %s\n", $$1, $$2}' Makefile

all: $(PROGRAMS) ## クライアントと、すべての章のサーバーを作る

client: $(BUILD)/client ## クライアントを build/client に作る
	@echo '使い方: $< <port> [address]'

$(NUMBERS:%=chapter%): chapter%: $(BUILD)/chapter%
	@echo '動かし方: $< 7777      (止めるには Ctrl-C)'

chapter%:
	@echo 'make: 第$*章のサーバーはありません。あるのは $(NUMBERS:%=chapter%) です (クライアントは make client)' >&2; exit 2

# 章の番号から、前の章と比べる。diff は違いがあると 1 で終わるので、2 以上だけを失敗とする。
diff%:
	@set -- $$(printf '%s\n' $(CHAPTERS) | grep -B1 '^$*-'); \
	if [ $$# -ne 2 ]; then \
		echo 'make: diff$* はありません。あるのは $(patsubst %,diff%,$(wordlist 2,99,$(NUMBERS))) です' >&2; exit 2; fi; \
	color=$$(diff --color=auto /dev/null /dev/null 2>/dev/null && echo --color=auto); \
	diff -u $$color --label chapters/$$1/server.cpp --label chapters/$$2/server.cpp \
		chapters/$$1/server.cpp chapters/$$2/server.cpp || [ $$? -eq 1 ]

clean: ## build/ を消す
	rm -rf build compile_commands.json

demo: $(BINARIES) $(BUILD)/demo ## 三つのクライアントがどう待たされるかを見る (SVG=demo.svg で絵にもする)
	@$(BUILD)/demo $(if $(SVG),--svg $(SVG)) $(BINARIES)

check: $(if $(SERVER),$(BUILD)/tests) ## あなたのサーバーを確かめる (make check SERVER='./my-server {port}' CHAPTER=02)
	@$(if $(SERVER),,echo "使い方: make check SERVER='./my-server {port}' CHAPTER=01" >&2; exit 2;) \
	$(BUILD)/tests --server="$$SERVER" --chapter=$(or $(CHAPTER),01) --deadline=10 $(TEST_FLAGS)

test: ## すべてのテストを走らせる
	@$(MAKE) -s -j$(JOBS) $(PROGRAMS) $(BUILD)/tests $(if $(SANITIZE),,$(BUILD)/demo $(MUTANTS))
	@$(if $(SANITIZE),TSAN_OPTIONS=halt_on_error=1) $(BUILD)/tests --build=$(BUILD) $(if $(SANITIZE),-tse=mutant) $(TEST_FLAGS)

bench: $(BINARIES) $(BUILD)/bench ## 接続と往復の費用を測って並べる (QUICK=1 で短く、SERVERS='cmd {port}; ...' で追加)
	@$(BUILD)/bench --csv $(BUILD)/bench.csv --pictures $(BUILD) --extra "$$SERVERS" $(BINARIES)

soak: all $(BUILD)/tests ## 長いあいだ働かせても、何もたまらないことを確かめる (一つの章に 10 分)
	@$(BUILD)/tests --build=$(BUILD) --no-skip -ts=soak

unit: $(BUILD)/unit ## common/ の単体テストだけを走らせる (macOS でも動く)
	@$(BUILD)/unit

doctest:
	@echo '#include <doctest/doctest.h>' | $(COMPILE) -E -x c++ - >/dev/null 2>&1 || \
		{ echo 'make: テストに要る doctest がありません。make setup で入ります' >&2; exit 2; }

check-notes: all ## ノートの引用と端末の出力が、本物と同じかを確かめる
	@python3 tests/check_notes.py $(NOTES)

update-notes: all ## ノートの引用と端末の出力を、本物に合わせて書き直す
	@python3 tests/check_notes.py --update $(NOTES)

setup: ## テストと実験と測定に要るものを入れる
	@sh tests/setup.sh

mutant: $(BUILD)/mutant/$(or $(NAME),?) ## わざと壊したサーバーを作る (make mutant NAME=forgotten-close)
	@echo '動かし方: $< 7777      (止めるには Ctrl-C)'

check-format: ## 書式を確かめる (clang-format)
	clang-format --dry-run --Werror $(SOURCES) $(wildcard common/*.h tests/*.h)

tidy: compile_commands.json ## 静的解析 (clang-tidy)
	clang-tidy --quiet --warnings-as-errors='*' -p . $(SOURCES)

compile_commands.json: Makefile $(SOURCES) ## エディターや clang-tidy のための、コンパイル方法の一覧を作る
	@{ echo '['; separator=; for source in $(SOURCES); do \
		printf '%s{"directory": "%s", "file": "%s", "command": "%s -c %s"}' \
			"$$separator" '$(CURDIR)' "$$source" '$(COMPILE)' "$$source"; \
		separator=', '; done; echo; echo ']'; } > $@

# ここから先は、作り方。

$(BUILD)/obj/%.o: %.cpp
	@mkdir -p $(@D)
	$(if $(V),,@echo 'コンパイル: $<')
	$(Q)$(COMPILE) -MMD -MP -c $< -o $@

$(BUILD)/client: $(BUILD)/obj/chapters/00-client/client.o $(COMMON)
$(BUILD)/demo: $(BUILD)/obj/tests/demo.o $(HARNESS) $(COMMON)
$(BUILD)/bench: $(BUILD)/obj/tests/bench.o $(HARNESS) $(COMMON)
$(BUILD)/tests: $(TESTS) $(COMMON)
$(filter-out $(HARNESS),$(TESTS)): | doctest
$(BUILD)/unit: $(patsubst %,$(BUILD)/obj/tests/%.o,main unit_test) $(COMMON)
$(foreach c,$(CHAPTERS),$(eval $(BUILD)/chapter$(firstword $(subst -, ,$c)): $(BUILD)/obj/chapters/$c/server.o $(COMMON)))

# fork の手間の多くは、メモリ領域の一覧とページの表をコピーすること。共有ライブラリがなければ、
# どちらも短い (第2章のノートの 8 節)。
ifeq ($(shell uname)$(SANITIZE)$(filter 0,$(STATIC)),Linux)
$(BUILD)/chapter02: LDFLAGS := -static
endif

$(PROGRAMS) $(BUILD)/demo $(BUILD)/bench $(BUILD)/tests $(BUILD)/unit:
	$(Q)$(COMPILE) $(LDFLAGS) $^ -o $@

$(BUILD)/mutant/%: tests/mutants/%.patch tests/mutant.sh $(wildcard chapters/*/server.cpp common/*) \
                $(COMMON)
	$(if $(V),,@echo 'コンパイル: $@')
	$(Q)sh tests/mutant.sh $@ '$(COMPILE)' $(BUILD)/obj

$(BUILD)/mutant/%:
	@echo 'make: $(if $(NAME),変異 "$*" はありません,NAME=名前 をつけてください)。あるのは次のとおりです' >&2
	@printf '  make mutant NAME=%s\n' $(notdir $(MUTANTS)) >&2; exit 2

-include $(patsubst %.cpp,$(BUILD)/obj/%.d,$(SOURCES))
