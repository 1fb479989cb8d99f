// tests/mutants/ のパッチで壊したサーバーが、ノートの言うとおりに壊れることを確かめる。

#include "tests/client.h"
#include "tests/process.h"
#include "tests/servers.h"

#include <doctest/doctest.h>

#include <csignal>
#include <set>
#include <vector>

namespace {

Server mutant(const std::string& name) {
    return Server({build_directory + "/mutant/" + name});
}

// number 人が順に来て、あいさつをして去る。
void visit(const Server& server, int number) {
    for (int i = 0; i < number; ++i) {
        const Client client(server.endpoint);
        CHECK(client.echo("hello") == "hello");
        client.finish_writing();
        CHECK(client.receive_until_closed().empty());
    }
}

// number 人がいっせいに来て、あいさつをする。
std::vector<Client> crowd(const Server& server, int number) {
    std::vector<Client> clients;
    for (int i = 0; i < number; ++i) {
        clients.emplace_back(server.endpoint);
        CHECK(clients.back().echo("hello") == "hello");
    }
    return clients;
}

bool all_zombies(const Server& server, size_t number) {
    return eventually([&] { return children_of(server.pid(), 'Z').size() == number; });
}

} // namespace

TEST_SUITE("mutant") {
    TEST_CASE("exit-in-child: 親プロセスがためた行を、子プロセスがみな書き出す") {
        const Server server = mutant("exit-in-child");
        visit(server, 20);
        const auto lines = lines_with(server.output(), "forked child");
        CHECK(lines.size() == 19 * 20 / 2); // 0 + 1 + ... + 19
        CHECK(std::set<std::string>(lines.begin(), lines.end()).size() == 19);
    }

    TEST_CASE("forgotten-close: 子プロセスが終わっても、クライアントに終わりが届かない") {
        const Server server = mutant("forgotten-close");
        const int before = usage_of(server.pid()).descriptors;
        for (int i = 1; i <= 3; ++i) {
            const Client client(server.endpoint);
            CHECK(client.echo("hello") == "hello");
            client.finish_writing();
            CHECK(eventually([&] { return children_of(server.pid()).empty(); }));
            CHECK_FALSE(client.has_something_to_read());
            CHECK(usage_of(server.pid()).descriptors == before + i);
        }
    }

    TEST_CASE("forgotten-server-close: 子プロセスがいる間、ポートが空かない") {
        Server server = mutant("forgotten-server-close");
        const Client client(server.endpoint);
        CHECK(client.echo("hello") == "hello");
        const std::string address = to_text(server.endpoint).text;
        server.signal(SIGTERM);
        CHECK(server.wait() == 128 + SIGTERM);
        Process again({build_directory + "/chapter02", port_of(server.endpoint)});
        CHECK(again.wait() == 1);
        CHECK(again.errors() == "error: bind " + address + ": Address already in use\n");
        CHECK(client.echo("still served") == "still served");
    }

    TEST_CASE("reap-after-accept: 次のだれかが来るまで、ゾンビが残る") {
        const Server server = mutant("reap-after-accept");
        crowd(server, 50);
        CHECK(all_zombies(server, 50));
        const Client next(server.endpoint);
        CHECK(next.echo("hello") == "hello");
        CHECK(all_zombies(server, 0));
    }

    TEST_CASE("one-reap-per-signal: 同時に終わると、シグナルの数だけでは足りない") {
        const Server server = mutant("one-reap-per-signal");
        {
            const auto clients = crowd(server, 50);
            server.signal(SIGSTOP); // 止まっている間に全員が去り、SIGCHLD は一つにまとまる
            REQUIRE(eventually([&] { return state_of(server.pid()) == 'T'; }));
        }
        CHECK(all_zombies(server, 50));
        server.signal(SIGCONT);
        CHECK(all_zombies(server, 49));
    }

    TEST_CASE("counter-in-child: どの子プロセスも、自分のコピーを 1 にするだけ") {
        const Server server = mutant("counter-in-child");
        const auto clients = crowd(server, 3);
        CHECK(lines_with(server.output(), "serving 1 clients").size() == 3);
        CHECK(lines_with(server.output(), "serving").size() == 3);
    }

    TEST_CASE("no-reuseaddr: 接続の記録が残っている間、同じポートで始められない") {
        const std::string program = build_directory + "/mutant/no-reuseaddr";
        Server server({program});
        Client client(server.endpoint);
        CHECK(client.echo("hello") == "hello");
        server.signal(SIGTERM); // サーバーが先に閉じるので、サーバーの側に TIME-WAIT が残る
        CHECK(server.wait() == 128 + SIGTERM);
        CHECK(client.receive_until_closed().empty());
        client.close();
        const std::string address = to_text(server.endpoint).text;
        Process again({program, port_of(server.endpoint)});
        CHECK(again.wait() == 1);
        CHECK(again.errors() == "error: bind " + address + ": Address already in use\n");
    }

    TEST_CASE("join-at-once: スレッドを使っているのに、二人目が待つ") {
        const Server server = mutant("join-at-once");
        Client first(server.endpoint);
        CHECK(first.echo("hello") == "hello");
        const Client second(server.endpoint);
        second.send("hello");
        for (int i = 0; i < 100; ++i) {
            CHECK(first.echo("again") == "again");
        }
        CHECK_FALSE(second.has_something_to_read());
        first.close();
        CHECK(second.receive(5) == "hello");
    }

    TEST_CASE("unguarded-counter: ThreadSanitizer がデータ競合を報告する") {
        const Server server = mutant("unguarded-counter");
        crowd(server, 2);
        CHECK(eventually([&] {
            return server.errors().find("WARNING: ThreadSanitizer: data race") != std::string::npos;
        }));
        CHECK(server.errors().find("count_clients(int)") != std::string::npos);
    }
}
