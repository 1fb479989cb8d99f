// ノートの引用、リンク、名前が正しいことと、まちがえれば見つかることを確かめる。
// 端末の例まで動かすのは make check-notes。

#include "tests/outside/process.h"

#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>

namespace {

// リポジトリのコピー。消えるときに消す。
struct Copy {
    std::filesystem::path root = std::filesystem::temp_directory_path() / "echo-notes-XXXXXX";
    Copy() {
        std::string name = root;
        root = mkdtemp(name.data());
        for (const char* const entry :
             {"README.md", "LICENSE", "Makefile", "chapters", "common", "tests"}) {
            copy(entry);
        }
        for (const auto& entry : std::filesystem::directory_iterator("docs")) {
            if (entry.path().filename() != "node_modules") { // make book が入れた
                copy(entry);
            }
        }
    }
    Copy(const Copy&) = delete;
    Copy& operator=(const Copy&) = delete;
    ~Copy() { std::filesystem::remove_all(root); }

    void copy(const std::filesystem::path& entry) const {
        std::filesystem::create_directories((root / entry).parent_path());
        std::filesystem::copy(entry, root / entry, std::filesystem::copy_options::recursive);
    }

    // ファイルの中の from を、初めの一つだけ to に変える。変えた行の番号を返す。
    int edit(const std::string& file, const std::string& from, const std::string& to) const {
        std::string text = read_text(root / file);
        const size_t at = text.find(from);
        REQUIRE(at != std::string::npos);
        const auto line = 1 + std::count(text.begin(), text.begin() + static_cast<long>(at), '\n');
        text.replace(at, from.size(), to);
        std::ofstream(root / file) << text;
        return static_cast<int>(line);
    }
};

Process check(const std::filesystem::path& root, const std::vector<std::string>& arguments,
              const Process::Options& options = {}) {
    std::vector<std::string> command = {"/usr/bin/env", "python3",
                                        root / "tests/notes/check_notes.py"};
    command.insert(command.end(), arguments.begin(), arguments.end());
    return Process(command, options);
}

// 検査が失敗し、どの場所のことも一度ずつ言う。
void check_told(Process process, const std::vector<std::string>& places) {
    CHECK(process.wait() == 1);
    INFO(process.output());
    for (const std::string& place : places) {
        CAPTURE(place);
        CHECK(lines_with(process.output(), "", place).size() == 1);
    }
}

} // namespace

TEST_SUITE("notes") {
    TEST_CASE("引用、リンク、名前は、どれも本物と同じ") {
        Process process = check(".", {"--quick"});
        CHECK(process.wait() == 0);
        CHECK(process.errors().empty());
        INFO(process.output());
        CHECK(contains(process.output(), "を確かめました"));
    }

    TEST_CASE("一語でも違えば、ファイルと行を言って失敗する") {
        struct Row {
            const char* file;
            const char* from;
            const char* to;
        };
        const Row rows[] = {
            {"docs/02-fork.md", "        const pid_t pid = fork();",
             "        const pid_t pid = vfork();"},
            {"docs/05-poll.md", "-    client.unsent = std::vector<char>(data.begin() + sent",
             "-    client.unsent = std::vector<char>(data.begin()"},
            {"docs/01-iterative.md", "bool send_all(", "bool send_most("},
            {"README.md", "docs/02-fork.md", "docs/02-forks.md"},
            {"docs/00-introduction.md", "`make test`", "`make tset`"},
            {"docs/05-poll.md", "EXERCISE=05-4", "EXERCISE=05-3"},
            {"tests/mutants/no-reaping.patch", "「ゾンビを作る」", "「ゾンビを残す」"},
        };
        const Copy copy;
        std::vector<std::string> places;
        for (const Row& row : rows) {
            const int line = copy.edit(row.file, row.from, row.to);
            places.push_back(row.file + (":" + std::to_string(line)) + ":");
        }
        check_told(check(copy.root, {"--quick"}), places);
    }

    TEST_CASE("端末の例の出力が違えば、ファイルと行を言って失敗する") {
        const Copy copy;
        const int line = copy.edit("README.md", "default 127.0.0.1\n", "default 127.0.0.2\n");
        check_told(check(copy.root, {copy.root / "README.md"}),
                   {"README.md:" + std::to_string(line) + ":"});
    }

    TEST_CASE("「測る」の表は、測定の記録と上から二桁で比べ、書き直す") {
        const Copy copy;
        std::ofstream(copy.root / "docs/record.csv")
            << "# CPU: x\n# コマンド: make bench\nserver,load,connections,result,median\n"
               "chapter01,churn,32,CPU us,1249.9\nchapter01,hold,1,KiB,0.2049\n";
        const auto note = copy.root / "docs/99-table.md";
        const std::string start =
            "<!-- 測定: 環境 -->\n| 項目 | 値 |\n|---|---|\n| CPU | x |\n\n"
            "<!-- 測定: churn 32 CPU us / hold 9 KiB | hold 9 KiB か hold 1 KiB -->\n"
            "| 方式 | 接続一本の CPU 時間 | メモリ | 上限 |\n|---|---|---|---|\n| 第1章 | ";
        const std::string good = start + "1,200 µs / – | 0.20 KiB (一本) | 1 本 |\n";
        const auto problem = [&](const std::string& text, bool update) {
            std::ofstream(note) << text;
            Process process = update ? check(copy.root, {"--quick", "--update", note})
                                     : check(copy.root, {"--quick", note});
            process.wait();
            return process.output();
        };
        CHECK(problem(good, false) == "測った行 2 件を確かめました\n");
        const std::string wrong = start + "1,300 µs / – | 0.20 KiB (一本) | 1 本 |\n";
        CHECK(problem(wrong, false).starts_with("docs/99-table.md:9: docs/record.csv と違"));
        CHECK(problem(wrong, true).starts_with("docs/99-table.md:9: 書き換えました"));
        CHECK(read_text(note) == good);
        for (const std::string& bad :
             {start + "1,200 µs / 3 µs | 0.20 KiB | 1 本 |\n", "| 方式 | 接続一本の |\n" + good,
              std::string("<!-- 測定: 環境 -->\n| 項目 | 値 |\n|---|---|\n| CPU | y |\n")}) {
            CHECK(problem(bad, false).starts_with("docs/99-table.md:"));
        }
    }

    TEST_CASE("予想の問いは、本物の出力で答え合わせをする") {
        const Copy copy;
        const auto note = copy.root / "docs/99-predict.md";
        const auto answers = copy.root / "answers.txt";
        const std::string start = "```console\n$ echo one\none\n```\n";
        const std::string session =
            "```console\n$ echo $((1 + 2)) lines; echo x\n3 lines\nx\n```\n";
        const auto ask = [](const std::string& answer) {
            return "**予想** どうなりますか。\n<!-- 答え: " + answer + " -->\n\n";
        };

        SUBCASE("正しい答え、まちがった答え、入力の終わり") {
            std::ofstream(note) << start << ask("数 /./") << session << ask("/(.*) lines/")
                                << session << ask("はい /^3 lines$/") << session << "## 次の節\n"
                                << ask("いいえ /^one$/") << session << ask("数 /./") << session;
            std::ofstream(answers) << "２ 行\n4\nＹＥＳ\n いいえ";
            Process process = check(copy.root, {"--predict", note}, {.input = answers});
            CHECK(process.wait() == 0);
            CHECK(process.errors().empty());
            const std::string output = process.output();
            INFO(output);
            size_t at = 0;
            for (const char* const part :
                 {"$ echo one\n    one\n", "○ 答えは 2\n", "× 答えは 3\n", "○ 答えは はい\n",
                  "次の節", "○ 答えは いいえ\n", "4 問のうち、3 問が当たりました\n"}) {
                CAPTURE(std::string(part));
                at = output.find(part, at);
                REQUIRE(at != std::string::npos);
            }
        }
        SUBCASE("答え方の違うもの、飛ばすもの、字下げ") {
            const std::string indented = "```console\n$ printf '%9sx\\n-%9sy\\n' '' ''\n"
                                         "         x\n-         y\n```\n";
            std::ofstream(note) << ask("はい /^3/") << session << ask("いいえ /^4/") << session
                                << ask("数 /./") << session << indented << ask("はい /x/")
                                << indented;
            std::ofstream(answers) << "2\nもちろん\nはい\n\n3 行くらい\nn\n";
            Process process = check(copy.root, {"--predict", note}, {.input = answers});
            CHECK(process.wait() == 0);
            const std::string output = process.output();
            INFO(output);
            const std::string hint = "はい か いいえ (y か n) で答えてください";
            CHECK(contains(output, hint));
            CHECK(output.find(hint) == output.rfind(hint)); // 一つの問いに一度だけ言う
            CHECK(contains(output, "○ 答えは はい\n"));
            CHECK(contains(output, "－ 答えは いいえ\n"));
            CHECK(contains(output, "             x\n    -         y\n"));
            CHECK(contains(output, "3 問のうち、1 問が当たりました、1 問を飛ばしました\n"));
        }
        SUBCASE("考えている間に、端末の例の時間は過ぎない") {
            std::ofstream(note) << start << ask("はい /^made$/")
                                << "```console\n$ echo > made; ls made\nmade\n```\n";
            // 答える人は、問いのあとの例が動くまで考える。動かなければ、10 秒であきらめる。
            const std::string script =
                "cd \"$0\" && for i in $(seq 100); do [ -e made ] && echo y && exit; sleep 0.1; "
                "done | python3 tests/notes/check_notes.py --predict \"$1\"";
            Process process({"/bin/sh", "-c", script, copy.root, note});
            CHECK(process.wait() == 0);
            CHECK(contains(process.output(), "1 問のうち、1 問が当たりました\n"));
        }
        SUBCASE("いくつもの端末を、一つの囲みに書いたもの") {
            const std::string several = "```console\nA$ cat\nB$ seq 2\nB: 1\nB: 2\nA> hi\nA: hi\n"
                                        "A> ^D\n```\n";
            const std::string shuffled = "```console\nA$ cat\nA> two\nB$ echo one\nB: one\n"
                                         "A: two\nA> ^D\n```\n(順不同)\n";
            const auto check_note = [&](const std::string& text) {
                std::ofstream(note) << "\n## 節\n" << text;
                Process process = check(copy.root, {note});
                process.wait();
                return process.output();
            };
            const std::string good = ask("はい /^hi$/") + several + shuffled + ask("数 /^[12]/") +
                                     several + ask("いいえ /^3/") + several +
                                     "```console\nA$ date\nA: now\n```\n\n(値は環境による)\n";
            CHECK(check_note(good) == "予想の問い 3 件、端末の例 4 件を確かめました\n");
            CHECK(check_note(ask("いいえ /^hi$/") + several).find("予想の問い") !=
                  std::string::npos);
            CHECK(
                check_note("```console\nA$ echo x\nx\n```\n").find("docs/99-predict.md:5: A$ か") ==
                0);
            CHECK(check_note("```console\nA$ cat\nB$ echo x\nB: y\n```\n")
                      .find("docs/99-predict.md:6: 出力") == 0);
            std::ofstream(note) << "\n## 節\n" << ask("はい /^hi$/") << several;
            std::ofstream(answers) << "はい\n";
            Process process = check(copy.root, {"--predict", note}, {.input = answers});
            CHECK(process.wait() == 0);
            CHECK(contains(process.output(), "    A$ cat\n    B$ seq 2\n\n予想:"));
            CHECK(contains(process.output(), "1 問のうち、1 問が当たりました"));
        }
        SUBCASE("まちがった問い") {
            const std::string pid = "```console\n$ echo pid $$\npid 99999\n```\n";
            const std::string dots = "```console\n$ seq 3\n...\n3\n```\n";
            std::string text;
            std::vector<std::string> places;
            for (const std::string& wrong :
                 {ask("行") + session, ask("/lines/") + session, ask("はい /(/") + session,
                  ask("/(.*) words/") + session, ask("数 /./") + dots,
                  ask("数 /./") + "文\n" + session, ask("数 /./"), ask("/pid (.*)/") + pid,
                  "\n<!-- 答え: 数 /./ -->\n" + session}) {
                text += "## 節\n" + start;
                const auto line = std::count(text.begin(), text.end(), '\n') + 2;
                places.push_back("docs/99-predict.md:" + std::to_string(line) + ": 予想の問い");
                text += wrong;
            }
            std::ofstream(note) << text;
            check_told(check(copy.root, {note}), places);
        }
    }

    TEST_CASE("make check EXERCISE は、初めに何をしているかを言い、道具がなければ正解と言わない") {
        const Copy copy;
        copy.edit("tests/notes/terminal.py", "{'strace', ", "{'no-such-tool', 'strace', ");
        std::filesystem::create_directory(copy.root / "build");
        const auto exercise = [&](const std::string& example) {
            std::ofstream(copy.root / "tests/answers/99-1.patch")
                << "Chapter: 01-iterative\n\n```console\n" + example + "```\n\n--- a/x\n";
            return Process(
                {"/bin/sh", "-c", "cd \"$0\" && sh tests/check/exercise.sh build 99-1", copy.root});
        };
        Process right = exercise("A$ echo x\nA: x\n");
        CHECK(right.wait() == 0);
        CHECK(right.output().starts_with("練習問題 99-1 の端末の例を動かしています"));
        CHECK(right.output().ends_with("正解です: 練習問題 99-1\n"));
        Process wrong = exercise("A$ echo y\nA: x\n");
        CHECK(wrong.wait() == 1);
        Process missing = exercise("A$ no-such-tool x\n");
        CHECK(missing.wait() == 2);
        CHECK(missing.errors() ==
              "確かめるのに要る no-such-tool がありません (make setup で入ります)\n");
    }
}
