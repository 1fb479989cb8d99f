// make check が、壊れたサーバーを見逃さず、何が起きたかと、どの壊し方と同じかを言うことを確かめる。

#include "tests/outside/process.h"
#include "tests/suite/servers.h"

#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>
#include <sstream>

namespace {

std::string contents_of(const std::filesystem::path& path) {
    std::ostringstream contents;
    contents << std::ifstream(path).rdbuf();
    return contents.str();
}

bool contains(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
}

// server を、chapter のサーバーとして確かめる。test は、走らせるテストの名前の初め。
Process check(const std::string& server, const std::string& chapter, const std::string& test = "") {
    return Process({"/usr/bin/env", "CONNECTIONS=1000", "SILENT=200", build_directory + "/tests",
                    "--server=" + server, "--chapter=" + chapter, "--deadline=10",
                    "-tc=" + test + "*"});
}

} // namespace

TEST_SUITE("diagnosis") {
    // 表は make diagnosis が、壊したサーバーのすべてに make check のテストを走らせて作る。
    TEST_CASE("make check は、どのわざと壊したサーバーにも、その名前を言う") {
        int diagnosed = 0;
        for (const auto& entry :
             std::filesystem::recursive_directory_iterator(build_directory + "/diagnosis")) {
            if (entry.path().extension() != ".out") {
                continue;
            }
            const std::string mutant = entry.path().stem();
            const std::string chapter = entry.path().parent_path().filename();
            CAPTURE(mutant);
            CAPTURE(chapter);
            const std::string patch = contents_of("tests/mutants/" + mutant + ".patch");
            const std::string result = contents_of(entry.path());
            const bool fails = contains(result, "  × ");
            if (contains(patch, "\nChapter: " + chapter)) { // 外から見えるものには Read: がある
                CHECK(fails == contains(patch, "\nRead: "));
            }
            if (!fails) {
                continue;
            }
            ++diagnosed;
            const std::string table = entry.path().parent_path().string() + ".tsv";
            Process process({"/bin/sh", "tests/check.sh", "--explain", table, entry.path()});
            CHECK(process.wait() == 0);
            const std::string said = process.output();
            CAPTURE(said);
            CHECK(contains(said, "make mutant NAME=" + mutant + " "));
            CHECK(lines_with(said, "診断: ").size() == 1); // その一つで、すべてが説明できる
            CHECK(contains(result, "    読むところ: docs/"));
        }
        CHECK(diagnosed >= 20);
    }

    TEST_CASE("make check は、正しいサーバーを、だれが何で書いたものでも通す") {
        const std::string chapter02 = build_directory + "/chapter02 {port}";
        const std::string python = "python3 -c 'import socket, sys, threading, asyncio\n";
        const std::string threads =
            python +
            "def serve(c):\n"
            "    try:\n"
            "        while data := c.recv(65536): c.sendall(data)\n"
            "    except OSError: pass\n"
            "    finally: c.close()\n"
            "s = socket.create_server((\"127.0.0.1\", int(sys.argv[1])), backlog=1000)\n"
            "while True:\n"
            "    threading.Thread(target=serve, args=(s.accept()[0],), daemon=True).start()"
            "' {port}";
        const std::string events =
            python + "async def serve(r, w):\n"
                     "    try:\n"
                     "        while data := await r.read(65536): w.write(data); await w.drain()\n"
                     "    except OSError: pass\n"
                     "    finally: w.close()\n"
                     "async def main():\n"
                     "    s = await asyncio.start_server(serve, \"127.0.0.1\", sys.argv[1], "
                     "backlog=1000)\n"
                     "    await s.serve_forever()\n"
                     "asyncio.run(main())' {port}";
        struct Row {
            std::string server;
            const char* chapter;
        };
        const Row rows[] = {
            {"cd " + build_directory + " && ./chapter02 {port}; true", "02"},
            {"VERBOSE=1 " + chapter02, "02"},
            {build_directory + "/mutant/ignored-sigchld {port}", "02"},
            {threads, "03"},
            {events, "03"},
            {events, "05"},
            {events, "06"},
            {"python3 tests/readers/draining.py {port} {idle-ms} {clients} {grace-ms}", "08"},
        };
        for (const Row& row : rows) {
            CAPTURE(row.server);
            Process process = check(row.server, row.chapter);
            CHECK(process.wait(std::chrono::minutes{10}) == 0);
            INFO(process.output());
            CHECK(contains(process.output(), " passed, 0 failed\n"));
        }
    }

    TEST_CASE("make check は、章をビルドし直して試し、書き換えてあれば、壊し方とは比べない") {
        Process plan({"/usr/bin/env", "-u", "MAKEFLAGS", "make", "-n", "-W",
                      "chapters/01-iterative/server.cpp", "BUILD=" + build_directory, "check",
                      "SERVER=" + build_directory + "/chapter01 {port}"});
        CHECK(plan.wait() == 0);
        CHECK(contains(plan.output(), " chapters/01-iterative/server.cpp"));
        // 一つのテストに落ちる build/tests の代わりと、章を一つ書き換えたリポジトリ。
        Process edited({"/bin/sh", "-ec", R"(
            check=$PWD/tests/check.sh
            rm -rf "$0/edited"
            mkdir -p "$0/edited/build" "$0/edited/chapters/01-iterative" "$0/edited/common"
            cd "$0/edited"
            printf '#!/bin/sh\necho "  × some test"\nexit 1\n' >build/tests
            chmod +x build/tests
            echo original >chapters/01-iterative/server.cpp
            git init -q
            git add .
            git -c user.name=reader -c user.email=reader@example.com commit -q -m original
            echo edited >chapters/01-iterative/server.cpp
            SERVER=x sh "$check" build 01)",
                        build_directory});
        CHECK(edited.wait() == 1);
        CHECK(contains(edited.output(), "診断: chapters/01-iterative/server.cpp を書き換えたまま"));
        CHECK(edited.errors().empty());
    }
}

TEST_SUITE("mutant") {
    TEST_CASE("make check は、終わったサーバーの最後の言葉と、送ったシグナルの名前を言う") {
        Process died =
            check("echo hello; exec " + build_directory + "/mutant/sigpipe {port}", "03", "去った");
        CHECK(died.wait(std::chrono::minutes{10}) == 1);
        CHECK(contains(died.output(), "シグナル 13 (Broken pipe) で終わっていました\n"));
        CHECK(contains(died.output(), "サーバーの書いたものの最後:\n      | hello\n"));
        Process restarted =
            check(build_directory + "/mutant/no-reuseaddr {port}", "01", "止めたあと");
        CHECK(restarted.wait(std::chrono::minutes{10}) == 1);
        CHECK(contains(restarted.output(), "止めるために送ったシグナル: SIGTERM\n"));
        CHECK(contains(restarted.output(), "終了ステータス 1 で終わっていました\n"));
    }

    TEST_CASE("make check は、確かめられないものなら、わけを言って 2 で終わる") {
        const std::string good = build_directory + "/chapter01 {port}";
        for (const std::string chapter : {"1", "00", "abc"}) {
            Process process = check(good, chapter, "二人目");
            CHECK(process.wait() == 2);
            CHECK(process.errors() ==
                  "CHAPTER は、サーバーのある章の番号です (01 のように): " + chapter + "\n");
        }
        Process missing = check(build_directory + "/no-such-server {port}", "01", "二人目");
        CHECK(missing.wait() == 2);
        CHECK(missing.errors().starts_with("サーバーが待ち受けません: "));
        CHECK(missing.output().empty());
        Process nothing({"/bin/sh", "tests/check.sh", build_directory, "01"});
        CHECK(nothing.wait() == 2);
        CHECK(contains(nothing.errors(), "127.0.0.1 の {port} で待ち受けてください"));
    }

    TEST_CASE("make check は、その章に当てはまらないテストを、成功に数えない") {
        Process process = check(build_directory + "/chapter01 {port}", "01", "黙ったまま");
        CHECK(process.wait() == 1); // 一つも確かめていない
        INFO(process.output());
        CHECK(contains(process.output(), "  － 黙ったまま"));
        CHECK(contains(process.output(), "0 passed, 0 failed\n"));
    }
}
