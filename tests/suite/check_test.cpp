// make check が、サーバーの終わり方や、確かめられないわけを言うことを確かめる。
// 壊し方を言い当てることは、tests/check/diagnosis.sh が確かめる。

#include "tests/suite/servers.h"

namespace {

// server を、chapter のサーバーとして確かめる。test は、走らせるテストの名前の初め。
Process check(const std::string& server, const std::string& chapter, const std::string& test = "") {
    return Process({"/usr/bin/env", "CONNECTIONS=1000", "SILENT=200", build_directory + "/tests",
                    "--server=" + server, "--chapter=" + chapter, "--deadline=10",
                    "-tc=" + test + "*"});
}

// make see の絵を、標準エラー出力に描かせる。
std::string picture_of(const std::string& server) {
    Process see({build_directory + "/see", "/dev/stderr", server});
    REQUIRE(see.wait(std::chrono::minutes{10}) == 0);
    return see.errors();
}

bool installed(const std::string& tool) {
    return Process({"/bin/sh", "-c", "command -v " + tool}).wait() == 0;
}

constexpr const char* waiting = "class='waiting'"; // 返事を待つ
constexpr const char* leaving = "class='leaving'"; // 閉じてもらうのを待つ

} // namespace

TEST_SUITE("server") {
    TEST_CASE("make check は、章をビルドし直して試す") {
        Process plan({"/usr/bin/env", "-u", "MAKEFLAGS", "make", "-n", "-W",
                      "chapters/01-iterative/server.cpp", "BUILD=" + build_directory, "check",
                      "SERVER=" + build_directory + "/chapter01 {port}"});
        CHECK(plan.wait() == 0);
        CHECK(contains(plan.output(), " chapters/01-iterative/server.cpp"));
        // 初めは、テストのビルドに時間がかかる。
        Process first({"/usr/bin/env", "-u", "MAKEFLAGS", "-u", "MAKELEVEL", "make", "-n",
                       "BUILD=" + build_directory + "/none", "check", "SERVER=x"});
        CHECK(first.wait() == 0);
        CHECK(first.output().starts_with("echo '確かめるためのテストをビルドしています"));
    }

    TEST_CASE("make check は、どう起こしたサーバーも試し、すべて通れば、次にすることを言う") {
        for (const std::string& server : {"cd " + build_directory + " && ./chapter01 {port}; true",
                                          "VERBOSE=1 " + build_directory + "/chapter01 {port}"}) {
            CAPTURE(server);
            Process process = check(server, "01");
            CHECK(process.wait(std::chrono::minutes{10}) == 0);
            INFO(process.output());
            CHECK(contains(process.output(), "次は、第2章: "));
            CHECK(contains(process.output(), " passed, 0 failed\n"));
        }
    }
}

TEST_SUITE("mutant") {
    TEST_CASE("make check は、終わったサーバーの最後の言葉と、送ったシグナルの名前を言う") {
        Process died =
            check("echo hello; exec " + build_directory + "/mutant/sigpipe {port}", "03", "去った");
        CHECK(died.wait(std::chrono::minutes{10}) == 1);
        CHECK(contains(died.output(), "シグナル SIGPIPE で終わっていました\n"));
        CHECK(contains(died.output(), "サーバーの書いたものの最後:\n      | hello\n"));
        Process restarted =
            check(build_directory + "/mutant/no-reuseaddr {port}", "01", "止めたあと");
        CHECK(restarted.wait(std::chrono::minutes{10}) == 1);
        CHECK(contains(restarted.output(), "止めるために送ったシグナル: SIGTERM\n"));
        CHECK(contains(restarted.output(), "終了ステータス 1 で終わっていました\n"));
    }

    TEST_CASE("make check は、確かめられないものなら、わけを言って 2 で終わる") {
        const std::string good = build_directory + "/chapter01 {port}";
        const struct {
            std::string server;
            std::string chapter;
            std::string reason;
        } rows[] = {
            {good, "1", "CHAPTER は、サーバーのある章の番号です (01 のように): 1\n"},
            {good, "00", "CHAPTER は、サーバーのある章の番号です (01 のように): 00\n"},
            {build_directory + "/no-such-server {port}", "01", "サーバーが待ち受けません: "},
            {"setsid -f " + good + " >/dev/null", "01", "サーバーが裏へ回りました"},
            {good + " 127.0.0.2", "01", "127.0.0.1 の "}, // そこで待ち受けていない
        };
        for (const auto& row : rows) {
            CAPTURE(row.server);
            Process process = check(row.server, row.chapter, "二人目");
            CHECK(process.wait() == 2);
            CHECK(process.errors().starts_with(row.reason));
            CHECK(process.output().empty());
        }
        Process nothing({"/bin/sh", "tests/check/check.sh", build_directory, "01"});
        CHECK(nothing.wait() == 2);
        CHECK(contains(nothing.errors(), "127.0.0.1 の {port} で"));
        // 読者の環境が足りないときは、サーバーのせいにしない。
        Process few = run(build_directory + "/tests", "--chapter=03 --server='" + good + "'",
                          "ulimit -n 200");
        CHECK(few.wait() == 2);
        CHECK(few.errors().starts_with("ディスクリプタの数の上限 (ulimit -n) が 200 なので"));
    }

    TEST_CASE("make check は、当てはまらないことも、確かめていないことも、成功に数えない") {
        Process process = check(build_directory + "/chapter01 {port}", "01", "黙ったまま");
        CHECK(process.wait() == 1); // 一つも確かめていない
        CHECK(process.output() == "  ほか 1 個は、この章には当てはまらない\n0 passed, 0 failed\n");
        Process silent = check(build_directory + "/chapter08 {port}", "08", "止めても");
        CHECK(silent.wait() == 1);
        CHECK(silent.output() == "0 passed, 0 failed, 1 skipped ({grace-ms} がないので、ドレインは"
                                 "確かめていません)\n");
    }

    TEST_CASE(
        "make see は、どの言語のサーバーでも、誰が待たされ、どのスレッドがどこで待つかを見せる") {
        std::vector<std::string> servers;
        for (const char* const chapter : {"02", "04", "06", "10"}) {
            servers.push_back(build_directory + "/chapter" + chapter + " {port}");
        }
        if (installed("python3")) {
            servers.emplace_back("python3 tests/readers/threads.py {port}");
        }
        if (installed("java")) {
            servers.emplace_back("java tests/readers/Threads.java {port}");
        }
        if (installed("go")) {
            const std::string program = build_directory + "/goroutines";
            Process go({"/usr/bin/env", "GO111MODULE=off", "go", "build", "-o", program,
                        "tests/readers/goroutines.go"});
            REQUIRE(go.wait(std::chrono::minutes{10}) == 0);
            servers.push_back(program + " {port}");
        }
        for (const std::string& server : servers) {
            const std::string picture = picture_of(server);
            CAPTURE(picture);
            CHECK(!contains(picture, waiting));
            CHECK(!contains(picture, leaving));
            CHECK((contains(picture, ">accept<") || contains(picture, ">epoll_wait<")));
        }
        CHECK(contains(picture_of(build_directory + "/chapter01 {port}"), waiting));
    }

    TEST_CASE("make see の絵では、わざと壊したサーバーが、もとのサーバーと違って見える") {
        const std::string locked = picture_of(build_directory + "/mutant/locked-handling {port}");
        CHECK(contains(locked, waiting));
        CHECK(!contains(locked, leaving));
        const std::string forgotten =
            picture_of(build_directory + "/mutant/forgotten-close {port}");
        CHECK(!contains(forgotten, waiting));
        CHECK(contains(forgotten, leaving));
    }
}
