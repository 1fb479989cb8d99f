// 時間と数の上限。

#include "tests/client.h"
#include "tests/process.h"
#include "tests/servers.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <glob.h>
#include <unistd.h>

namespace {

using Clock = std::chrono::steady_clock;

// 時計を進めるためのライブラリ libfaketime の場所。なければ空。
std::string find_faketime() {
    for (const char* const pattern :
         {"/usr/lib*/faketime/libfaketime.so.1", "/usr/lib*/*/faketime/libfaketime.so.1"}) {
        glob_t found{};
        const std::string path = glob(pattern, 0, nullptr, &found) == 0 ? found.gl_pathv[0] : "";
        globfree(&found);
        if (!path.empty()) {
            return path;
        }
    }
    return "";
}
const std::string faketime = find_faketime();
// 検査つきで作ったものは、ほかのライブラリを先に読ませない。
bool can_fake_time() {
    return !faketime.empty() && !sanitized();
}

// サーバーの時計。進めるのは、サーバーが眠っているときだけ。
class FakeClock {
public:
    FakeClock() { set("+0"); }
    FakeClock(const FakeClock&) = delete;
    FakeClock& operator=(const FakeClock&) = delete;
    ~FakeClock() { unlink(path_.c_str()); }

    void set(const std::string& offset) const { std::ofstream(path_) << offset << "\n"; }
    // この時計で program を起こすコマンド。setting は環境変数。
    std::vector<std::string> command(const std::string& program,
                                     const std::string& setting = "FAKETIME_NO_CACHE=1") const {
        return {"/usr/bin/env",
                "LD_PRELOAD=" + faketime,
                "FAKETIME_TIMESTAMP_FILE=" + path_,
                "FAKETIME_NO_CACHE=1",
                setting,
                program};
    }

private:
    std::string path_ = "/tmp/echo-test-clock-" + std::to_string(getpid());
};

size_t lines(const Server& server, const std::string& part) {
    return lines_with(server.output(), part, "[pid ").size();
}

std::string timed_out(const Client& client) {
    return "waiting for " + address_of(client) + " failed: Connection timed out";
}

} // namespace

TEST_SUITE("server") {
    TEST_CASE("時計を進めるための libfaketime がある") {
        const char* const ci = std::getenv("CI");
        INFO("libfaketime がないので、締め切りは確かめられない");
        CHECK_UNARY(!faketime.empty() || ci == nullptr);
        WARN_UNARY(!faketime.empty());
    }

    TEST_CASE("決めた時間だけ黙っている人が閉じられ、話す人と読む人は閉じられない") {
        for (const Model& model : models()) {
            if (!model.idles || !can_fake_time()) {
                continue;
            }
            CAPTURE(model.name);
            const FakeClock clock;
            Server server(clock.command(model.program), "127.0.0.1", {.numbers = {"60000"}});
            const Client talking(server.endpoint);
            CHECK(talking.echo("before") == "before");
            const Client reading(server.endpoint);
            const size_t sent = fill(server, reading, 1);
            const Client silent(server.endpoint);
            CHECK(silent.echo("before") == "before");
            const Client stalled(server.endpoint); // 返事があるのに、読まない
            fill(server, stalled, 2);

            settle(server);
            clock.set("+40s");
            CHECK(talking.echo("while others are silent") == "while others are silent");
            CHECK(reading.receive_random_stream(1, sent));
            settle(server);
            CHECK_FALSE(silent.has_something_to_read());
            clock.set("+80s");
            CHECK(talking.echo("after") == "after");
            CHECK(silent.receive_until_closed().empty());
            CHECK(logged(server, timed_out(silent)));
            CHECK(logged(server, timed_out(stalled)));
            CHECK(talking.echo("still here") == "still here");
            CHECK(reading.echo("still here") == "still here");
            CHECK(lines(server, " failed: ") == 2);
        }
    }

    TEST_CASE("時刻が合わせなおされても、締め切りは変わらない") {
        for (const Model& model : models()) {
            for (const std::string jump : {"+1d", "-1d"}) {
                if (!model.idles || !can_fake_time()) {
                    continue;
                }
                CAPTURE(model.name);
                CAPTURE(jump);
                const FakeClock clock;
                Server server(clock.command(model.program, "DONT_FAKE_MONOTONIC=1"), "127.0.0.1",
                              {.numbers = {"1000000"}});
                const Client silent(server.endpoint);
                const Client talking(server.endpoint);
                CHECK(silent.echo("before") == "before");
                settle(server);
                clock.set(jump);
                CHECK(talking.echo("after") == "after");
                CHECK(silent.echo("after") == "after");
            }
        }
    }

    TEST_CASE("だれも何もしなくても、締め切りは来る") {
        for (const Model& model : models()) {
            if (!model.idles) {
                continue;
            }
            CAPTURE(model.name);
            const Server server({model.program}, "127.0.0.1", {.numbers = {"50"}});
            const auto start = Clock::now();
            const Client silent(server.endpoint);
            CHECK(silent.receive_until_closed().empty());
            CHECK(Clock::now() - start >= std::chrono::milliseconds{50});
            CHECK(logged(server, timed_out(silent)));
        }
    }

    TEST_CASE("決めた人数までの相手をし、そのあとに来た人は、だれかが去るまで待つ") {
        struct Row {
            const char* command;
            size_t limit;
        };
        const Row rows[] = {
            {"exec \"$0\" 0 127.0.0.1 60000 3", 3},
            {"ulimit -n 40; exec \"$0\" 0", 40 - 3 - 16}, // 言われなければ、足りなくならない数
        };
        for (const Model& model : models()) {
            for (const Row& row : rows) {
                if (!model.idles || (sanitized() && row.limit != 3)) {
                    continue;
                }
                CAPTURE(model.name);
                CAPTURE(row.command);
                const Server server({"/bin/sh", "-c", row.command, model.program}, "",
                                    {.port = ""});
                for (size_t left = 0; left <= 50; left += 50) {
                    std::vector<Client> clients;
                    for (int i = 0; i < 50; ++i) {
                        clients.emplace_back(server.endpoint);
                        clients.back().send("hello");
                    }
                    CHECK(
                        eventually([&] { return lines(server, "accepted") >= left + row.limit; }));
                    settle(server);
                    CHECK(lines(server, "accepted") == left + row.limit);
                    CHECK(std::ranges::count_if(clients, &Client::has_something_to_read) ==
                          static_cast<long>(row.limit));
                    for (const Client& client : clients) {
                        client.finish_writing();
                    }
                    for (const Client& client : clients) {
                        CHECK(client.receive_until_closed() == "hello");
                    }
                    CHECK(eventually([&] { return lines(server, "finished") == left + 50; }));
                }
                CHECK(lines(server, "failed") == 0);
            }
        }
    }
}
