// 並行サーバーなら、だれが何で書いたものでも守るべきこと。
// この本のサーバーにも、make check に渡された読者のサーバーにも、同じものを使う。

#include "tests/client.h"
#include "tests/process.h"
#include "tests/servers.h"

#include <doctest/doctest.h>

#include <csignal>
#include <memory>

namespace {

// 送ったバイトが、そのまま返ってくることを確かめる。
void check_echo(const Client& client, const std::string& sent) {
    INFO("送ったもの:     \"" << sent << "\"");
    const std::string received = client.echo(sent);
    INFO("返ってきたもの: \"" << received << "\"");
    CHECK(received == sent);
}

// サーバーが閉じるまでに届くものが、ちょうど expected であることを確かめる。
void check_rest(const Client& client, const std::string& expected) {
    INFO("閉じるまでに返るはずのもの: \"" << expected << "\"");
    const std::string received = client.receive_until_closed();
    INFO("返ってきたもの:             \"" << received << "\"");
    CHECK(received == expected);
}

bool logged(const Server& server, const std::string& text) {
    return eventually([&] { return server.output().find(text) != std::string::npos; });
}

// 終わったあとに残っているもの。始めと比べる。
struct Remains {
    int descriptors;
    int threads;
    size_t children;
    bool nothing_more_than(const Remains& before) const {
        return descriptors <= before.descriptors && threads <= before.threads &&
               children <= before.children;
    }
};
std::ostream& operator<<(std::ostream& out, const Remains& remains) {
    return out << "ディスクリプタ " << remains.descriptors << ", スレッド " << remains.threads
               << ", 子プロセス (ゾンビも数える) " << remains.children;
}
Remains remains_of(const Server& server) {
    const Usage usage = usage_of(server.pid());
    // 検査つきのものは、自分のためのスレッドを持つことがある。
    return {usage.descriptors, sanitized() ? 0 : usage.threads, children_of(server.pid()).size()};
}

// クライアントがみな去ったあと、始めより多くのものが残らないことを確かめる。
void check_nothing_left(const Server& server, const Remains& before) {
    const bool nothing_left =
        eventually([&] { return remains_of(server).nothing_more_than(before); });
    INFO("クライアントが来る前: " << before);
    INFO("みな去ったあと:       " << remains_of(server));
    CHECK(nothing_left);
}

} // namespace

TEST_SUITE("protocol") {
    TEST_CASE("64 MiB の乱数列が、どう区切られてもそのまま返る") {
        INFO("読むところ: docs/01-iterative.md「相手をする」");
        struct Row {
            size_t total;
            size_t chunk;
        };
        const Row rows[] = {
            {0, 1}, {1, 1}, {3000, 1}, {1 << 20, 1000}, {64UL << 20U, 256UL * 1024}};
        for (const Model& model : models()) {
            INFO("サーバー: " << model.name);
            const Server server = start(model);
            for (const Row& row : rows) {
                INFO("送ったもの: 乱数 " << row.total << " バイト");
                CHECK(Client(server.endpoint).echo_random_stream(row.total, row.total, row.chunk));
            }
        }
    }

    TEST_CASE("書き終えた (half-close) クライアントにも、残りを返してから閉じる") {
        INFO("読むところ: docs/02-fork.md「親プロセスが閉じ忘れる」");
        for (const Model& model : models()) {
            INFO("サーバー: " << model.name);
            const Server server = start(model);
            const Client client(server.endpoint);
            client.send("last words");
            client.finish_writing();
            check_rest(client, "last words");
        }
    }

    TEST_CASE("読まないクライアントが使うメモリには限りがあり、あとで読めばすべてが返る") {
        INFO("読むところ: docs/01-iterative.md「相手をする」のバックプレッシャー");
        constexpr size_t limit = 64UL << 20U;
        for (const Model& model : models()) {
            INFO("サーバー: " << model.name);
            const Server server = start(model);
            const long before = usage_of(server.pid()).resident_kib;
            const Client client(server.endpoint);
            const size_t sent = client.send_until_full(7, limit, 500);
            INFO("返事を読まずに送れたバイト数: " << sent);
            CHECK(sent < limit); // 読まれない分は、送り手が待たされる
            long after = usage_of(server.pid()).resident_kib;
            for (const pid_t child : children_of(server.pid())) {
                after += usage_of(child).resident_kib;
            }
            if (model.ours && !sanitized()) {
                CHECK(after - before < 8 * 1024);
            }
            client.finish_writing();
            CHECK(client.receive_random_stream(7, sent));
            check_rest(client, "");
        }
    }

    TEST_CASE("二人目のクライアントは、第1章では待ち、ほかの章では待たない") {
        INFO("読むところ: docs/02-fork.md「2. 前の章の問題を体験する」");
        for (const Model& model : models()) {
            INFO("サーバー: " << model.name);
            const Server server = start(model);
            Client first(server.endpoint);
            check_echo(first, "first");
            const Client second(server.endpoint); // 待たされる章でも、接続はできる
            if (model.concurrent) {
                check_echo(second, "second");
                check_echo(first, "again");
                continue;
            }
            second.send("second");
            for (int i = 0; i < 100; ++i) {
                check_echo(first, "again");
            }
            CHECK_FALSE(second.has_something_to_read());
            first.close();
            CHECK(second.receive(6) == "second");
        }
    }

    TEST_CASE("RST を送って去るクライアントは、自分の接続だけを失う") {
        INFO("読むところ: docs/00-introduction.md「5. コード」の SIGPIPE、"
             "docs/01-iterative.md「待ち行列と、強制終了」");
        for (const Model& model : models()) {
            INFO("サーバー: " << model.name);
            Server server = start(model);
            std::unique_ptr<Client> bystander;
            if (model.concurrent) {
                bystander = std::make_unique<Client>(server.endpoint);
                check_echo(*bystander, "before");
            }
            Client(server.endpoint).reset(); // 受け付けられる前に去るかもしれない
            Client idle(server.endpoint);    // 何も言わずに去る
            idle.reset();
            Client served(server.endpoint); // 話している途中で去る
            check_echo(served, "hello");
            served.reset();
            Client flooding(server.endpoint); // 返事を読まずに、送っている途中で去る
            flooding.send_until_full(3, 64UL << 20U, 100);
            flooding.reset();
            // 書き終えてから RST を送ると、サーバーの次の send は SIGPIPE を起こす。
            Client leaving(server.endpoint);
            check_echo(leaving, "hello");
            server.stop();
            leaving.send("good-bye");
            leaving.finish_writing();
            leaving.reset();
            server.resume();
            if (model.ours) {
                CHECK(logged(server, "failed: Broken pipe"));
                CHECK(logged(server, "failed: Connection reset by peer"));
            }
            if (bystander) {
                check_echo(*bystander, "after");
            }
            check_echo(Client(server.endpoint), "still here");
            CHECK(server.running());
        }
    }

    TEST_CASE("SIGSTOP と SIGCONT は何も失わせない") {
        INFO("読むところ: docs/01-iterative.md「相手をする」の partial send");
        for (const Model& model : models()) {
            INFO("サーバー: " << model.name);
            const Server server = start(model);
            const Client client(server.endpoint);
            check_echo(client, "before");
            // 待っている send(2) は、止められると、送れたところまでの長さで戻る。
            const size_t sent = client.send_until_full(5, 64UL << 20U, 100);
            server.stop();
            server.resume();
            client.finish_writing();
            INFO("送ったもの: 乱数 " << sent << " バイト");
            CHECK(client.receive_random_stream(5, sent));
            check_rest(client, "");
            check_echo(Client(server.endpoint), "still here");
        }
    }

    TEST_CASE("50 人が来て去れば、だれも来なくてもゾンビは残らない") {
        INFO("読むところ: docs/02-fork.md「ゾンビを作る」「シグナルの数だけ回収する」"
             "「親プロセスが閉じ忘れる」");
        for (const Model& model : models()) {
            // 反復サーバーの待ち行列には、50 人は入らないかもしれない
            if (!model.concurrent || (model.forks && thread_sanitized())) {
                continue;
            }
            INFO("サーバー: " << model.name);
            const Server server = start(model);
            const Remains before = remains_of(server);
            {
                std::vector<Client> clients;
                clients.reserve(50);
                for (int i = 0; i < 50; ++i) {
                    clients.emplace_back(server.endpoint);
                }
                for (const Client& client : clients) {
                    check_echo(client, "hello");
                }
                const size_t children = children_of(server.pid()).size();
                INFO("50 人をつないだときの子プロセスの数: " << children);
                CHECK((children >= 50) == model.forks);
                if (model.forks) { // 親プロセスが忙しい間に全員が去り、SIGCHLD は一つにまとまる
                    server.signal(SIGSTOP);
                    CHECK(eventually([&] { return state_of(server.pid()) == 'T'; }));
                }
            } // 50 人がいっせいに去る
            if (model.forks) {
                // SIGCHLD を無視するサーバーでは、ゾンビにもならずに消える
                CHECK(eventually([&] {
                    return children_of(server.pid()).size() -
                               children_of(server.pid(), 'Z').size() <=
                           before.children;
                }));
                server.signal(SIGCONT);
            }
            check_nothing_left(server, before);
        }
    }

    TEST_CASE("黙ったままの 1,000 人がいても、全員の相手をする") {
        INFO("読むところ: docs/03-threads.md「生き残れないこと」");
        for (const Model& model : models()) {
            if (!model.concurrent) {
                continue;
            }
            INFO("サーバー: " << model.name);
            const Server server = start(model);
            std::vector<Client> clients;
            clients.reserve(1000);
            for (int i = 0; i < 1000; ++i) {
                clients.emplace_back(server.endpoint);
            }
            for (size_t i = clients.size(); i-- > 0;) {
                check_echo(clients[i], "client " + std::to_string(i));
            }
        }
    }

    TEST_CASE("10000 の接続のあとに、何も残らない") {
        INFO("読むところ: docs/02-fork.md「親プロセスが閉じ忘れる」「ゾンビを作る」");
        for (const Model& model : models()) {
            if (model.forks && thread_sanitized()) {
                continue;
            }
            INFO("サーバー: " << model.name);
            const Server server = start(model);
            const auto connect_and_leave = [&](int times) {
                for (int i = 0; i < times; ++i) {
                    const Client client(server.endpoint);
                    REQUIRE(client.echo("x") == "x");
                    client.finish_writing();
                    REQUIRE(client.receive_until_closed().empty());
                }
            };
            const Remains before = remains_of(server);
            connect_and_leave(500); // 最初の数百で、使い回すメモリがそろう
            check_nothing_left(server, before);
            const long resident = usage_of(server.pid()).resident_kib;
            connect_and_leave(sanitized() ? 1000 : 9500);
            check_nothing_left(server, before);
            if (model.ours && !sanitized()) {
                CHECK(usage_of(server.pid()).resident_kib - resident < 1024);
            }
        }
    }

    TEST_CASE("止めたあと、前の接続が残っていても、同じポートですぐに始められる") {
        INFO("読むところ: docs/01-iterative.md「SO_REUSEADDR がなければ」、"
             "docs/02-fork.md「子プロセスが閉じ忘れる」");
        for (const Model& model : models()) {
            for (const int number : {SIGTERM, SIGINT}) {
                INFO("サーバー: " << model.name);
                INFO("止めるために送ったシグナル: " << (number == SIGINT ? "SIGINT" : "SIGTERM"));
                Server first = start(model);
                const Client lingering(first.endpoint); // 第2章では、この子プロセスが生き残る
                check_echo(lingering, "hello");
                Client(first.endpoint).close(); // 待ち行列の中で去る
                first.signal(number);
                const bool stopped = first.wait() != -1;
                CHECK(stopped);
                Server second = start(model, {.port = port_of(first.endpoint)});
                if (model.forks && model.ours) {
                    check_echo(lingering, "still served");
                }
                check_echo(Client(second.endpoint), "hello again");
                CHECK(second.running());
            }
        }
    }
}
