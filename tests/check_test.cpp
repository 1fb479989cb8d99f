// make check が、壊れたサーバーを見逃さず、何が起きたかを日本語で言うことを確かめる。

#include "tests/process.h"
#include "tests/servers.h"

#include <doctest/doctest.h>

#include <list>

namespace {

// server を、chapter のサーバーとして確かめる。test は、走らせるテストの名前の初め。
// seconds は、出来事が起きなかったと決めるまでの時間。
std::vector<std::string> check_command(const std::string& server, const std::string& chapter,
                                       const std::string& test, const std::string& seconds) {
    return {build_directory + "/tests", "--server=" + server + " {port}", "--chapter=" + chapter,
            "--deadline=" + seconds, "-tc=" + test + "*"};
}
Process check(const std::string& server, const std::string& chapter, const std::string& test,
              const std::string& seconds) {
    return Process(check_command(server, chapter, test, seconds));
}

} // namespace

TEST_SUITE("mutant") {
    TEST_CASE("make check は、壊れたサーバーを見つける") {
        struct Row {
            std::string mutant;
            std::string chapter;
            std::string test;
        };
        const Row rows[] = {
            {"text-only", "01", "64 MiB"},
            {"one-recv", "01", "64 MiB"},
            {"ignored-end", "01", "書き終えた"},
            {"no-reuseaddr", "01", "止めたあと"},
            {"reap-after-accept", "02", "一人が"},
            {"one-reap-per-signal", "02", "50 人がいっせい"},
            {"no-reaping", "02", "50 人がいっせい"},
            {"forgotten-close", "02", "書き終えた"},
            {"forgotten-server-close", "02", "親プロセス"},
            {"join-at-once", "03", "二人目"},
            {"partial-send", "03", "SIGSTOP"},
            {"sigpipe", "03", "去った"},
            {"fatal-reset", "03", "RST"},
            {"unbounded-buffer", "03", "読まない"},
        };
        std::list<Process> processes; // 待つ時間が長いので、いっせいに走らせる
        for (const Row& row : rows) {
            processes.emplace_back(check_command(build_directory + "/mutant/" + row.mutant,
                                                 row.chapter, row.test, "10"));
        }
        for (auto process = processes.begin(); const Row& row : rows) {
            CAPTURE(row.mutant);
            CHECK(process->wait() == 1);
            const std::string output = (process++)->output();
            INFO(output);
            CHECK(output.find("  × " + row.test) != std::string::npos);
            CHECK(output.find("    読むところ: docs/") != std::string::npos);
            CHECK(output.find("    値を入れると: ") != output.find("    起きたこと: "));
            CHECK(output.find("0 passed, 1 failed\n") != std::string::npos);
        }
    }

    TEST_CASE("make check は、正しいサーバーを通す") {
        for (const std::string test : {"64 MiB", "書き終えた", "読まない", "二人目", "RST",
                                       "SIGSTOP", "50 人がいっせい", "止めたあと"}) {
            CAPTURE(test);
            Process process = check(build_directory + "/chapter03", "03", test, "30");
            CHECK(process.wait() == 0);
            INFO(process.output());
            CHECK(process.output().find("1 passed, 0 failed\n") != std::string::npos);
        }
    }

    TEST_CASE("make check は、SIGCHLD を無視してゾンビを作らないサーバーも通す") {
        Process process =
            check(build_directory + "/mutant/ignored-sigchld", "02", "50 人がいっせい", "30");
        CHECK(process.wait() == 0);
        INFO(process.output());
        CHECK(process.output().find("1 passed, 0 failed\n") != std::string::npos);
    }

    TEST_CASE("make check は、確かめられないものなら、わけを言って 2 で終わる") {
        const std::string good = build_directory + "/chapter01";
        const char* const chapters[] = {"1", "04", "abc"};
        for (const char* const chapter : chapters) {
            Process process = check(good, chapter, "二人目", "1");
            CHECK(process.wait() == 2);
            CHECK(process.errors() ==
                  std::string("CHAPTER は 01, 02, 03 のどれかです: ") + chapter + "\n");
        }
        Process missing = check(build_directory + "/no-such-server", "01", "二人目", "1");
        CHECK(missing.wait() == 2);
        CHECK(missing.errors().starts_with("サーバーが待ち受けません: "));
        CHECK(missing.output().empty());
    }

    TEST_CASE("make check は、その章に当てはまらないテストを、成功に数えない") {
        Process process = check(build_directory + "/chapter01", "01", "黙ったまま", "30");
        CHECK(process.wait() == 1); // 一つも確かめていない
        INFO(process.output());
        CHECK(process.output().find("  － 黙ったまま") != std::string::npos);
        CHECK(process.output().find("0 passed, 0 failed\n") != std::string::npos);
    }
}
