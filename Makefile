# TCPエコーサーバーで学ぶ並行サーバー入門
#
# make だけで、できることの一覧が出る。作ったものはすべて build/ に入る。
# ここには読者の打つものがある。テストや測定の作り方は tests/rules.mk にある。
#
# どれにも次の設定をつけられる。変えれば、要るものが作りなおされる。
#   CXX=clang++ CXXFLAGS=-O3   コンパイラーと、最適化などのフラグ
#   SANITIZE=thread            サニタイザーをつけて、build/thread/ に作る
#   STATIC=0                   どの章も動的にリンクして、build/dynamic/ に作る
#   STATIC=1                   どの章も静的にリンクして、build/static/ に作る
#   WERROR=1                   警告があれば失敗とする
#   V=1                        コンパイルのコマンドを見せる

BUILD    := build$(if $(SANITIZE),/$(SANITIZE),$(if $(filter 0,$(STATIC)),/dynamic)$(if $(filter 1,$(STATIC)),/static))
CXXFLAGS ?= -O2 -g
WARNINGS  = -Wall -Wextra -Wpedantic -Wshadow -Wconversion $(if $(filter 1,$(WERROR)),$(STRICT))
# ThreadSanitizer に見せるのは、サーバーのスレッドだけ。テストにもつけると、テストが一つのコアを使いきる。
CHECKED   = $(if $(filter thread-tests/%.cpp,$(SANITIZE)-$<),,$(SANITIZE:%=-fsanitize=% -fno-sanitize-recover=all))
COMPILE   = $(CXX) -std=c++20 $(CXXFLAGS) $(WARNINGS) $(CHECKED) $(CPPFLAGS) -pthread -I.
DYNAMIC   = $(COMPILE) $(LDFLAGS) $^ -o $@
LINK      = $(DYNAMIC) $(if $(filter 1,$(STATIC)),-static)
Q        := $(if $(V),,@)

CHAPTERS := $(sort $(patsubst chapters/%/server.cpp,%,$(wildcard chapters/*/server.cpp)))
SYSTEM   := $(shell uname -s)
# epoll は Linux にしかない。ほかの OS では、それを使う章は作らない。
BUILT    := $(if $(filter Linux,$(SYSTEM)),$(CHAPTERS),$(patsubst chapters/%/server.cpp,%,\
              $(shell grep -L sys/epoll.h $(CHAPTERS:%=chapters/%/server.cpp))))
NUMBERS  := $(foreach c,$(BUILT),$(firstword $(subst -, ,$c)))
BINARIES := $(NUMBERS:%=$(BUILD)/chapter%)
CLIENTS  := $(BUILD)/client $(BUILD)/client05
comma    := ,
objects   = $(patsubst %.cpp,$(BUILD)/obj/%.o,$(wildcard $1))

.PHONY: help all client client05 demo test check bench mutant variant answer predict check-notes setup clean FORCE
.DELETE_ON_ERROR:
.SECONDEXPANSION:

help: ## この一覧を出す
	@echo 'make chapterNN             第NN章のサーバーを build/chapterNN に作る (NN: $(NUMBERS))'
	@echo 'make diffNN                前の章から変わったところを見る (FROM=01 で第1章から)'
	@awk -F ':.*## ' '/^[a-z_. -]+:.*## / {printf "make %-21s %s\n", $$1, $$2}' Makefile tests/rules.mk

all: $(CLIENTS) $(BINARIES) ## クライアントと、すべての章のサーバーを作る

client: $(BUILD)/client ## クライアントを build/client に作る (第5章のものは make client05)
client05: $(BUILD)/client05
client client05:
	@echo '使い方: $< <port> [address]'

$(NUMBERS:%=chapter%): chapter%: $(BUILD)/chapter%
	@echo '動かし方: $< 7777      (止めるには Ctrl-C)'

diff%:
	@sh tests/diff.sh $* '$(FROM)' $(CHAPTERS)

demo: $(BINARIES) $(BUILD)/demo ## 三つのクライアントがどう待たされるかを見る (SVG=demo.svg で絵にもする)
	@SVG='$(SVG)' $(BUILD)/demo $(filter-out %11,$(BINARIES)) # 第11章はエコーサーバーではない

test: $(filter setup,$(MAKECMDGOALS)) ## すべてのテストを走らせる
	@$(MAKE) -s $(PARALLEL) all $(BUILD)/tests
	@$(MAKE) -s $(PARALLEL) -k $(TESTED) || :
	@$(BUILD)/tests --build=$(BUILD) $(SUITES) $(TEST_FLAGS)

check: $(if $(SERVER),$(if $(wildcard $(BUILD)/tests),,first-check) $(BUILD)/tests $(filter $(BINARIES),$(SERVER))) $(if $(EXERCISE),all) ## 自分のサーバーを確かめる (make check SERVER='./my-server {port}' CHAPTER=02 か EXERCISE=02-3)
	@sh tests/check/$(if $(EXERCISE),exercise.sh $(BUILD) $(EXERCISE),check.sh $(BUILD) $(or $(CHAPTER),01) $(TEST_FLAGS))

bench: $(BINARIES) $(BUILD)/bench ## 接続と往復のコストを測って並べる (QUICK=1 で短く、CHAPTERS='05 06' で選ぶ、SERVERS='cmd {port}; ...' で追加)
	@$(foreach p,$(filter-out $(FOUND),$(PEERS)),echo '$p は測りません: $(header_$p) がありません (make setup)';)
	@$(if $(MEASURED),$(MAKE) -s $(PARALLEL) -k $(MEASURED) || :)
	@$(BUILD)/bench $(BUILD)/bench.csv $(BINARIES) $(if $(MEASURED),$$(ls $(MEASURED) 2>/dev/null)) $(FOUND:%=$(BUILD)/peer/%)

mutant: $(BUILD)/mutant/$(or $(NAME),?) ## わざと壊したサーバーを作る (make mutant NAME=forgotten-close)
variant: $(BUILD)/variant/$(or $(NAME),?) ## 章にない、別の方式のサーバーを作る (make variant NAME=prefork)
mutant variant:
	@edited=$$(git diff --name-only -- chapters common 2>/dev/null | tr '\n' ' '); [ -z "$$edited" ] || \
	echo "注意: 書き換えたままのソースから作った: $$edited(戻すには git checkout chapters common)"
	@echo '動かし方: $< 7777      (止めるには Ctrl-C)'

answer: $(BUILD)/answer/$(or $(NAME),?) ## 練習問題の答えを作る (make answer NAME=02-3)
	@echo '動かし方: $< 7777      (止めるには Ctrl-C)'
	@sed -n 's|^+++ b/\(.*\)|変わったところ: diff -u \1 $<.src/\1|p' tests/answers/$(NAME).patch

predict: all ## ノートの例の結果を予想し、動かして答え合わせをする (make predict CHAPTER=02)
	@command -v python3 >/dev/null && [ $(SYSTEM) = Linux ] || \
	{ echo 'make: predict には Linux と python3 が要ります (python3 は make setup で入ります)' >&2; exit 2; }
	@python3 tests/notes/check_notes.py --predict $(or $(wildcard docs/$(or $(CHAPTER),01)-*.md),\
		$(error 第$(CHAPTER)章のノートはありません (make predict CHAPTER=02 のように打ちます)))

check-notes: all ## ノートの引用と端末の出力が、本物と同じかを確かめる (NOTES=docs/01-iterative.md で一つだけ)
	@python3 tests/notes/check_notes.py $(NOTES)

setup: ## テストと実験と測定に要るものを入れる
	@sh tests/setup.sh

clean: ## build/ を消す
	rm -rf build compile_commands.json

# ここから先は作り方。chapters/NN-名前/ と common/ の .cpp から、build/chapterNN ができる。

$(BUILD)/client: $(call objects,chapters/00-client/client.cpp common/*.cpp)
$(BUILD)/client05: $(call objects,chapters/05-poll/client.cpp common/*.cpp)
$(BINARIES): $(BUILD)/chapter%: $$(call objects,chapters/$$*-*/server.cpp common/*.cpp)
$(CLIENTS) $(BINARIES):
	$(Q)$(LINK)

$(BUILD)/obj/%.o: %.cpp $(BUILD)/flags
	@mkdir -p $(@D)
	$(if $(V),,@echo 'コンパイル: $<')
	$(Q)$(COMPILE) -MMD -MP -c $< -o $@

# fork の手間の多くは、メモリ領域の一覧とページテーブルをコピーすること。共有ライブラリがなければ
# どちらも短いので、第2章だけは、できるところでは静的にリンクする (第2章のノートの 7 節)。
ifeq ($(SANITIZE)$(STATIC),)
$(BUILD)/chapter02: LINK = $(DYNAMIC) -static 2>/dev/null || \
	{ $(DYNAMIC) && echo 'chapter02: 静的ライブラリがないので、動的にリンクした'; }
endif

include tests/rules.mk
