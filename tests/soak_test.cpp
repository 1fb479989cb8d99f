// 長いあいだ働かせても、何もたまらないことを確かめる。時間がかかるので、make soak だけが走らせる。
// 環境変数 CONNECTIONS (接続の数) と SECONDS (混ぜた負荷をかける秒数) で、短くできる。

#include "tests/client.h"
#include "tests/process.h"
#include "tests/servers.h"

#include <doctest/doctest.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <thread>

namespace {

long number_from_environment(const char* name, long otherwise) {
    const char* const text = std::getenv(name);
    return text == nullptr ? otherwise : std::atol(text);
}

// サーバーとその子プロセスの、いまのようす。
struct State {
    Usage usage;
    size_t children;
    size_t zombies;
};
State state_now(const Server& server) {
    return {usage_of(server.pid()), children_of(server.pid()).size(),
            children_of(server.pid(), 'Z').size()};
}

void print(const std::string& name, const char* when, const State& state, long served,
           long errors) {
    std::printf("%-10s %-12s %11d %7d %8zu %7zu %9ld KiB %9ld %6ld\n", name.c_str(), when,
                state.usage.descriptors, state.usage.threads, state.children, state.zombies,
                state.usage.resident_kib, served, errors);
    std::fflush(stdout);
}

// workers 本のスレッドで work をくり返す。work は、続けるなら true を返す。
void repeat(int workers, const std::function<bool(std::mt19937_64&)>& work,
            std::atomic<long>& errors, std::uint64_t seed) {
    std::vector<std::thread> threads;
    threads.reserve(static_cast<size_t>(workers));
    for (int i = 0; i < workers; ++i) {
        threads.emplace_back([&, i] {
            std::mt19937_64 random(seed + static_cast<std::uint64_t>(i));
            for (bool more = true; more;) {
                try {
                    more = work(random);
                } catch (const std::exception&) {
                    more = ++errors < 100; // サーバーがいなくなったのかもしれない
                }
            }
        });
    }
    for (std::thread& thread : threads) {
        thread.join();
    }
}

} // namespace

TEST_SUITE("soak") {
    TEST_CASE("たくさんの接続と、混ぜた負荷のあとに、何も残らない" * doctest::skip()) {
        const long connections = number_from_environment("CONNECTIONS", 100'000);
        const std::chrono::seconds duration{number_from_environment("SECONDS", 600)};
        const std::uint64_t seed = std::random_device{}();
        std::printf("seed %llu\n%-10s %-12s %11s %7s %8s %7s %13s %9s %6s\n",
                    static_cast<unsigned long long>(seed), "server", "when", "descriptors",
                    "threads", "children", "zombies", "memory (RSS)", "served", "errors");
        for (const Model& model : models()) {
            CAPTURE(model.name);
            CAPTURE(seed);
            Server server = start(model);
            const State before = state_now(server);
            print(model.name, "before", before, 0, 0);
            std::atomic<long> served = 0;
            std::atomic<long> errors = 0;
            const auto quiet = [&] {
                CHECK(eventually([&] {
                    const State now = state_now(server);
                    return now.usage.descriptors == before.usage.descriptors &&
                           now.usage.threads == before.usage.threads &&
                           now.children == before.children;
                }));
                return state_now(server);
            };

            const auto connect = [&](std::mt19937_64&) {
                const Client client(server.endpoint);
                errors += client.echo("hello") != "hello";
                client.finish_writing();
                errors += !client.receive_until_closed().empty();
                return ++served < connections;
            };
            repeat(4, connect, errors, seed);
            const State middle = quiet();
            print(model.name, "connections", middle, served, errors);

            const auto end = std::chrono::steady_clock::now() + duration;
            const auto mixed = [&](std::mt19937_64& random) {
                Client client(server.endpoint);
                if (random() % 4 == 0) { // 話している途中で、RST を送って去る
                    client.send_until_full(random(), random() % 1'000'000, 10);
                    client.reset();
                } else {
                    errors += !client.echo_random_stream(random(), random() % 1'000'000,
                                                         1 + random() % 100'000);
                }
                ++served;
                return std::chrono::steady_clock::now() < end;
            };
            repeat(8, mixed, errors, seed);
            const State after = quiet();
            print(model.name, "mixed load", after, served, errors);

            CHECK(errors == 0);
            CHECK(after.zombies == 0);
            CHECK(server.running());
            if (!sanitized()) {
                CHECK(after.usage.resident_kib - middle.usage.resident_kib < 1024);
            }
        }
    }
}
