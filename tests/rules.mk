# テスト、測定、わざと壊したサーバーや別の方式のサーバーや練習問題の答えの作り方と、この本に手を入れる人の打つもの (docs/CONTRIBUTING.md)。
# Makefile が読みこむ。

# make bench で章と並べて測るライブラリ。PEERS= で減らせる。ヘッダーがあるものだけを作る。
PEERS           := asio libevent libuv
header_asio     := asio.hpp
header_libevent := event2/event.h
header_libuv    := uv.h
link_libevent   := -levent_core
link_libuv      := -luv
FOUND           := $(foreach p,$(PEERS),$(if $(wildcard /usr/include/$(header_$p)),$p))

SOURCES  := $(filter-out $(patsubst %,tests/bench/%.cpp,$(filter-out $(FOUND),$(PEERS))),\
              $(wildcard common/*.cpp chapters/*/*.cpp tests/*/*.cpp))
HARNESS  := $(call objects,tests/outside/*.cpp common/*.cpp)
TESTS    := $(call objects,tests/suite/main.cpp tests/suite/servers.cpp tests/suite/*_test.cpp tests/check/*.cpp)
UNIT     := $(call objects,tests/suite/unit_*.cpp)
MUTANTS  := $(patsubst tests/mutants/%.patch,$(BUILD)/mutant/%,$(wildcard tests/mutants/*.patch))
VARIANTS := $(patsubst tests/variants/%.patch,$(BUILD)/variant/%,$(wildcard tests/variants/*.patch))
ANSWERS  := $(patsubst tests/answers/%.patch,$(BUILD)/answer/%,$(wildcard tests/answers/*.patch))
# make bench が測る、選んだ章の別の方式。
MEASURED  = $(patsubst tests/variants/%.patch,$(BUILD)/variant/%,\
              $(shell grep -l $(NUMBERS:%=-e '^Chapter: %-') tests/variants/*.patch))
# テストが動かすサーバーのうち、パッチで作るもの。サニタイザーつきでは、わざと壊したものを動かさず、ノートを調べない。
TESTED   := $(VARIANTS) $(if $(SANITIZE),,$(patsubst %,$(BUILD)/mutant/%,sigpipe no-reuseaddr locked-handling forgotten-close))
SUITES   := $(if $(SANITIZE),-tse=mutant$(comma)notes)

# g++ 12 と 13 は、-O3 で std::string をつなぐと、ありもしない重なりを警告する (GCC のバグ 105651)。
# それだけは誤りとしない。clang++ は -Wrestrict を知らない。
STRICT   := -Werror -Wno-error=restrict -Wno-unknown-warning-option

# -j のついた make から呼ばれたら、その -j に従う。
PARALLEL  = $(if $(findstring jobserver,$(MAKEFLAGS)),,-j$(or $(shell getconf _NPROCESSORS_ONLN),2))
MAKEFLAGS += --no-print-directory

# ThreadSanitizer は、知らせるだけでなく、そこで終わらせる。二度目のシグナルですぐに終わるときに、スレッドが
# 残っているのは誤りではない。
ifdef SANITIZE
export TSAN_OPTIONS := halt_on_error=1 report_thread_leaks=0
endif

# 端末が UTF-8 でなければ、awk や Python に、この本のファイルをその文字コードで読ませない。
ifneq ($(shell locale charmap 2>/dev/null),UTF-8)
export LC_ALL := C
endif

.PHONY: linux diagnosis why see lint-notes soak unit flaky record update-notes check-format tidy doctest

# ---- 打つもの

soak: all $(BUILD)/tests $(VARIANTS) ## たくさんの接続のあとに、何もたまらないことを確かめる (CONNECTIONS=100000 VISITS=1000)
	@CONNECTIONS=$(or $(CONNECTIONS),100000) VISITS=$(or $(VISITS),1000) \
	$(BUILD)/tests --build=$(BUILD) -tc='10000*,50 人が好きな*' --duration=true

flaky: all $(BUILD)/tests $(TESTED) ## すべてのテストを、忙しい中で何度も走らせる (N=20 回、T='*ポート*' で名前を絞る)
	@sh tests/flaky.sh $(or $(N),5) $(BUILD)/tests --build=$(BUILD) $(SUITES) -tc='$(or $(T),*)' $(TEST_FLAGS)

unit: $(BUILD)/unit ## common/ の単体テストだけを走らせる (macOS でも動く)
	@$(BUILD)/unit

diagnosis: all $(BUILD)/tests ## どのわざと壊したサーバーにも make check が名前を言い、正しいものと練習問題の答えは通すことを確かめる
	@$(MAKE) -s $(PARALLEL) $(MUTANTS) $(ANSWERS)
	@sh tests/check/diagnosis.sh $(BUILD) '$(COMPILE) $(LDFLAGS)'

why: all $(BUILD)/tests ## サーバーの行を一つずつ消し、どのテストが気づくかを見る (make why CHAPTER=02)
	@sh tests/check/why.sh $(BUILD) $(or $(CHAPTER),01) '$(COMPILE) $(LDFLAGS)'

see: $(BUILD)/see $(filter $(BINARIES),$(SERVER)) ## 自分のサーバーのどのスレッドがどこで待つかを絵にする (make see SERVER='./my-server {port}')
	@$< '$(or $(SVG),$(BUILD)/see.svg)' "$$SERVER"

record: bench ## 測り直し、docs/record.csv と、ノートの「測る」の表を書き直す (ほかに何も動かさずに)
	@{ echo "# CPU: $$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1) ($$(getconf _NPROCESSORS_ONLN) コア)"; \
	echo "# カーネル: $$(uname -sr | sed 's/-.*//')"; \
	echo "# コンパイラー: $$($(CXX) --version | head -n 1) ($(CXXFLAGS))、$$(getconf GNU_LIBC_VERSION)"; \
	echo "# 日付: $$(date +%Y-%m-%d)"; \
	echo '# コマンド: $(if $(QUICK),QUICK=1 )make bench'; cat $(BUILD)/bench.csv; } >docs/record.csv
	@python3 tests/notes/check_notes.py --quick --update

update-notes: all ## ノートの引用と端末の出力を、本物に合わせて書き直す
	@python3 tests/notes/check_notes.py --update $(NOTES)

lint-notes: $(BUILD)/lint/node_modules ## ノートの日本語と用語を確かめる (textlint。Node が要る)
	@$</.bin/textlint --rules-base-directory "$(CURDIR)/$<" -c tests/notes/lint/textlintrc.json README.md docs/*.md docs/more/*.md

.PHONY: book book-serve test-book book-files recordings
book: docs/node_modules ## ノートから、ブラウザーで読むサイトを build/book に作る (Node が要る)
	@BASE='$(BASE)' npm --prefix docs run -s build

book-serve: book ## そのサイトを、手もとのブラウザーで見る
	@cd build/book && python3 -m http.server -b 127.0.0.1 $(or $(PORT),8000)

test-book: book ## そのサイトを、本物のブラウザーで確かめる (chromium が要る)
	@BASE='$(BASE)' npm --prefix docs test

book-files: $(BUILD)/book.pdf $(BUILD)/book.epub ## ノートを一冊の PDF と EPUB にする (pandoc と chromium が要る)

recordings: all ## サイトで再生する、端末の例の記録を作りなおす
	@python3 tests/notes/check_notes.py --recordings docs/recordings $(or $(NOTES),$$(grep -l "^<!-- 記録: " docs/*.md))

check-format: ## 書式を確かめる (clang-format)
	clang-format --dry-run --Werror $(SOURCES) $(wildcard common/*.h chapters/*/*.h tests/*/*.h)

tidy: compile_commands.json ## 静的解析 (clang-tidy)
	clang-tidy --quiet --warnings-as-errors='*' -p . $(SOURCES)

compile_commands.json: $(BUILD)/flags $(SOURCES) ## エディターや clang-tidy のための、コンパイル方法の一覧を作る
	@{ echo '['; for source in $(SOURCES); do \
		printf '{"directory": "%s", "file": "%s", "command": "%s -c %s"},\n' '$(CURDIR)' "$$source" '$(COMPILE)' "$$source"; \
	done | sed '$$s/,$$//'; echo ']'; } >$@

# 打ちまちがいに答える。

chapter%:
	@echo 'make: $(if $(wildcard chapters/$*-*/server.cpp),第$*章のサーバーは epoll を使うので、Linux でだけ作れます,$(strip \
		)第$*章のサーバーはありません)。あるのは $(NUMBERS:%=chapter%) です (クライアントは make client)' >&2; exit 2

$(BUILD)/mutant/% $(BUILD)/variant/% $(BUILD)/answer/%:
	@echo 'make: $(if $(NAME),NAME=$* はありません,NAME=名前 をつけてください)。あるのは次のとおりです' >&2
	@grep '^Chapter: ' tests/$(notdir $(@D))s/*.patch | awk -F '[/.: ]+' \
		'{ printf "  %-16s make $(notdir $(@D)) NAME=%s\n", $$NF, $$3 }' | sort >&2; exit 2

# ---- 作り方

.PHONY: first-check
first-check:
	@echo '確かめるためのテストをビルドしています (初めの一回だけ、1 分ほどかかります)'

$(BUILD)/demo: $(BUILD)/obj/tests/demo/demo.o $(HARNESS)
$(BUILD)/see: $(BUILD)/obj/tests/demo/see.o $(HARNESS)
$(BUILD)/bench: $(BUILD)/obj/tests/bench/bench.o $(HARNESS)
$(BUILD)/tests: $(TESTS) $(HARNESS) | $(BUILD)/no_memory.so $(BUILD)/see
$(BUILD)/unit: $(UNIT) $(call objects,common/*.cpp)
$(BUILD)/demo $(BUILD)/see $(BUILD)/bench $(BUILD)/tests $(BUILD)/unit:
	$(Q)$(DYNAMIC)

$(BUILD)/no_memory.so: tests/suite/no_memory.cpp $(BUILD)/flags
	$(Q)$(COMPILE) $(LDFLAGS) -shared -fPIC $< -o $@

bench: $(FOUND:%=$(BUILD)/peer/%)
$(FOUND:%=$(BUILD)/peer/%): $(BUILD)/peer/%: $(BUILD)/obj/tests/bench/%.o $(call objects,common/*.cpp)
	@mkdir -p $(@D)
	$(Q)$(DYNAMIC) $(link_$*)

# 外からサーバーを見る道具は、/proc などを使うので、Linux でだけ作れる。単体テストは、どこでも作れる。
$(filter-out $(UNIT),$(call objects,tests/*/*.cpp)): | linux
linux:
	@[ $(SYSTEM) = Linux ] || { echo 'make: デモ、テスト、測定には Linux が要ります (単体テストは make unit)' >&2; exit 2; }

# macOS の doctest は、コンパイラーが初めから探すところにはない。
$(TESTS) $(UNIT) doctest: CPPFLAGS += $(addprefix -isystem,$(wildcard /opt/homebrew/include))
$(TESTS) $(UNIT): | doctest
doctest:
	@echo '#include <doctest/doctest.h>' | $(COMPILE) -E -x c++ - >/dev/null 2>&1 || \
		{ echo 'make: テストに要る doctest がありません。make setup で入ります' >&2; exit 2; }

PATCHED  := tests/check/patched.sh $(wildcard chapters/*/*.cpp chapters/*/*.h common/*.h) $(call objects,common/*.cpp)
$(MUTANTS) $(VARIANTS) $(ANSWERS): $(BUILD)/%: tests/$$(*D)s/$$(*F).patch $(PATCHED)
	$(if $(V),,@echo 'コンパイル: $@')
	$(Q)sh tests/check/patched.sh $@ $< '$(COMPILE) $(LDFLAGS)' $(BUILD)/obj

$(BUILD)/lint/node_modules: tests/notes/lint/package.json
	@mkdir -p $(@D) && cp $< $(@D)
	@npm install --prefix $(@D) --no-package-lock --no-audit --no-fund --silent && touch $@

# 一冊にするノートを、読む順に。> [!NOTE] の囲みが一つでも残れば、作らない。
ONE_BOOK = $(foreach n,00 $(NUMBERS),$(wildcard docs/$n-*.md docs/more/$n-*.md)) $(wildcard docs/more/[a-z]*.md)
PANDOC   = pandoc -f gfm --toc --toc-depth=2 --lua-filter docs/.vitepress/one-book.lua --resource-path docs \
	--metadata title=TCPエコーサーバーで学ぶ並行サーバー入門 --metadata lang=ja --quiet

$(BUILD)/book.html: $$(ONE_BOOK) docs/.vitepress/one-book.lua docs/.vitepress/print.css
	@$(PANDOC) -t html5 --self-contained --css docs/.vitepress/print.css $(ONE_BOOK) -o $@ && ! grep -n '\[!' $@

$(BUILD)/book.pdf: $(BUILD)/book.html
	@$(or $(CHROMIUM),chromium) --headless --no-sandbox --no-pdf-header-footer --print-to-pdf=$@ $< 2>/dev/null

$(BUILD)/book.epub: $(BUILD)/book.html
	@$(PANDOC) -t epub3 $(ONE_BOOK) -o $@

docs/node_modules: docs/package-lock.json
	@npm --prefix docs ci --no-audit --no-fund --silent && touch $@

# コンパイルのしかたを書いておくファイル。しかたが変われば新しくなり、すべてが作りなおされる。
$(BUILD)/flags: FORCE
	@mkdir -p $(@D); now='$(COMPILE) $(LDFLAGS)'; \
	[ "$$now" = "$$(cat $@ 2>/dev/null)" ] || echo "$$now" > $@

-include $(patsubst %.cpp,$(BUILD)/obj/%.d,$(SOURCES))
