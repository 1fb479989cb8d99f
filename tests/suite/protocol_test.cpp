// 並行サーバーなら、だれが何で書いたものでも守るべきこと。
// この本のサーバーにも、make check に渡された読者のサーバーにも、同じものを使う。

#include "tests/outside/client.h"
#include "tests/outside/process.h"
#include "tests/suite/servers.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <functional>
#include <netinet/tcp.h>
#include <optional>

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

// RST を送って去り、それがサーバーに届くのを待つ。
void reset(const Server& server, Client& client) {
    const std::string port = client.port();
    client.reset();
    CHECK(eventually([&] { return !connection(server, port); }));
}

// event が起きても、失われるのはその接続だけ: 並行サーバーなら、そばで話している一人も、ほかの
// サーバーなら、次に来た人も、返事をもらえる。
void check_only_it_is_lost(const Model& model, const std::function<void(Server&)>& event) {
    INFO("サーバー: " << model.name);
    Server server = start(model);
    std::optional<Client> bystander;
    if (model.concurrent) {
        check_echo(bystander.emplace(server.endpoint), "before");
    }
    event(server);
    if (bystander) {
        check_echo(*bystander, "after");
    }
    check_echo(Client(server.endpoint), "still here");
    CHECK(server.running());
}

// number 人がつなぎ、一人ずつあいさつをする。
std::vector<Client> crowd(const Server& server, int number) {
    std::vector<Client> clients;
    clients.reserve(static_cast<size_t>(number));
    for (int i = 0; i < number; ++i) {
        clients.emplace_back(server.endpoint);
    }
    for (const Client& client : clients) {
        check_echo(client, "hello");
    }
    return clients;
}

// clients がいっせいに去る。プロセスを作るサーバーでは、待ち受けているプロセスが止まっている間に
// 子プロセスがみな終わり、SIGCHLD は一つにまとまる。
void leave_at_once(const Model& model, const Server& server, std::vector<Client>& clients) {
    const Usage before = server.usage();
    const int left = static_cast<int>(clients.size());
    if (model.forks) {
        kill(server.listener, SIGSTOP);
        CHECK(eventually([&] { return state_of(server.listener) == 'T'; }));
    }
    clients.clear();
    if (model.forks) { // SIGCHLD を無視するサーバーでは、ゾンビにもならずに消える
        CHECK(eventually([&] {
            const Usage now = server.usage();
            return now.processes - now.zombies <= before.processes - before.zombies - left;
        }));
        kill(server.listener, SIGCONT);
    }
}

// 去った left 人のためのプロセスがみな回収され、だれも来なくてもゾンビが残らない。
void check_reaped(const Model& model, const Server& server, const Usage& before, int left) {
    const int expected = before.processes - (model.forks ? left : 0);
    const bool reaped = eventually([&] {
        const Usage now = server.usage();
        return now.zombies == 0 && now.processes <= expected;
    });
    INFO(left << " 人がいたとき: " << before);
    INFO("みな去ったあと: " << server.usage());
    CHECK(reaped);
}

// before から、どれも few より多くは増えていない。はじめのうちに増えるだけのもの
// (使い回すスレッドや パイプ) は、before を測るまでにそろっている。
void check_no_growth(const Server& server, const Usage& before, int few) {
    const bool same = eventually([&] {
        const Usage now = server.usage();
        return now.descriptors - before.descriptors < few && now.threads - before.threads < few &&
               now.processes - before.processes < few;
    });
    INFO("はじめ: " << before);
    INFO("いま:   " << server.usage());
    CHECK(same);
}

// 止める。lingering の相手をしているサーバーは、すぐに終わるか、終わるのを待っている。
void stop(const Model& model, Server& server, int number, Client& lingering,
          bool close_if_waiting) {
    ask_to_stop(server, number);
    const auto ended = [&] {
        return has_ended(server.listener) &&
               (!model.preforks || std::ranges::all_of(server.family(), has_ended));
    };
    eventually([&] { return ended() || server.asleep(); });
    if (close_if_waiting && !ended()) {
        lingering.close();
    }
    CHECK(eventually(ended));
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
                REQUIRE(
                    Client(server.endpoint).echo_random_stream(row.total, row.total, row.chunk));
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
        for (const Model& model : models()) {
            INFO("サーバー: " << model.name);
            const Server server = start(model);
            settle(server); // 作っておくものがそろう
            const long before = server.usage().resident_kib;
            const Client client(server.endpoint);
            const size_t sent = fill(server, client, 7);
            INFO("返事を読まずに送れたバイト数: " << sent);
            CHECK(sent < 64UL << 20U); // 読まれない分は、送り手が待たされる
            if (model.ours && !sanitized()) {
                CHECK(server.usage().resident_kib - before < 8 * 1024);
            }
            client.finish_writing();
            CHECK(client.receive_random_stream(7, sent));
            check_rest(client, "");
        }
    }

    TEST_CASE("二人目のクライアントは、第1章では待ち、ほかの章では待たない") {
        INFO("読むところ: docs/02-fork.md「2. もう C は待たない」");
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

    TEST_CASE("返事を読まないクライアントがいても、ほかの人は待たず、CPU も使わない") {
        INFO("読むところ: docs/05-poll.md「送れないことも、待つ」");
        for (const Model& model : models()) {
            if (!model.concurrent) {
                continue;
            }
            INFO("サーバー: " << model.name);
            const Server server = start(model);
            const Client stalled(server.endpoint);
            const size_t sent = fill(server, stalled, 5);
            const Client other(server.endpoint);
            for (int i = 0; i < 10; ++i) {
                check_echo(other, "not waiting");
            }
            const bool asleep = eventually([&] { return server.asleep(); });
            INFO("だれも何も送ってこないのに、サーバーが眠らない");
            CHECK(asleep);
            stalled.finish_writing();
            CHECK(stalled.receive_random_stream(5, sent));
            check_rest(stalled, "");
        }
    }

    TEST_CASE("一人が打ち切ると同時に来た人も、相手をしてもらえる") {
        INFO("読むところ: docs/06-epoll.md「もう閉じたディスクリプタの出来事」");
        for (const Model& model : models()) {
            INFO("サーバー: " << model.name);
            const Server server = start(model);
            Client leaving(server.endpoint);
            check_echo(leaving, "hello");
            settle(server);
            server.stop();
            leaving.reset();
            const Client coming(server.endpoint); // 去った人のディスクリプタを受けつぐ
            coming.send("I have just come");
            server.resume();
            CHECK(coming.receive(16) == "I have just come");
            check_echo(coming, "still here");
        }
    }

    TEST_CASE("RST を受け取っても、失うのはその接続だけ") {
        INFO("読むところ: docs/01-iterative.md「待ち行列と、強制終了」");
        for (const Model& model : models()) {
            check_only_it_is_lost(model, [&](Server& server) {
                Client(server.endpoint).reset(); // 受け付けられる前に去るかもしれない
                Client idle(server.endpoint);    // 何も言わずに去る
                reset(server, idle);
                Client served(server.endpoint); // 話している途中で去る
                check_echo(served, "hello");
                reset(server, served);
                settle(server);
                if (model.ours) {
                    CHECK(logged(server, "failed: Connection reset by peer"));
                }
            });
        }
    }

    TEST_CASE("去ったクライアントに送っても、失うのはその接続だけ") {
        INFO("読むところ: docs/01-iterative.md「クライアントが、サーバーを終わらせる」");
        for (const Model& model : models()) {
            check_only_it_is_lost(model, [&](Server& server) {
                Client flooding(server.endpoint); // サーバーが send(2) で待っている間に去る
                fill(server, flooding, 3);
                reset(server, flooding);
                settle(server);
                // サーバーが止まっている間に、FIN と RST が、この順に届く。読むものは残っているが、
                // 返事を送れば EPIPE と SIGPIPE になる。
                Client leaving(server.endpoint);
                check_echo(leaving, "hello");
                server.stop();
                leaving.send("good-bye");
                leaving.finish_writing();
                CHECK(eventually([&] {
                    const auto tcp = connection(server, leaving.port());
                    return tcp && tcp->state == TCP_CLOSE_WAIT;
                }));
                reset(server, leaving);
                server.resume();
                settle(server);
                if (model.ours) {
                    CHECK(logged(server, "failed: Broken pipe"));
                }
            });
        }
    }

    TEST_CASE("SIGSTOP と SIGCONT は何も失わせない") {
        INFO("読むところ: docs/01-iterative.md「相手をする」の partial send");
        for (const Model& model : models()) {
            INFO("サーバー: " << model.name);
            const Server server = start(model);
            // 待っている send(2) は、止められると、送れたところまでの長さで戻る。ちょうど一つも
            // 送れずに待っていることもあるので、五回くり返す。
            for (size_t i = 1; i <= 5; ++i) {
                const Client client(server.endpoint);
                check_echo(client, std::string(i, 'x'));
                const size_t sent = fill(server, client, i);
                server.stop();
                server.resume();
                client.finish_writing();
                INFO("送ったもの: 乱数 " << sent << " バイト");
                CHECK(client.receive_random_stream(i, sent));
                check_rest(client, "");
            }
            check_echo(Client(server.endpoint), "still here");
        }
    }

    TEST_CASE("一人が去れば、だれも来なくてもゾンビは残らない") {
        INFO("読むところ: docs/02-fork.md「ゾンビを作る」");
        for (const Model& model : models()) {
            if (model.forks && thread_sanitized()) {
                continue;
            }
            INFO("サーバー: " << model.name);
            const Server server = start(model);
            settle(server); // 作っておくものがそろう
            std::vector<Client> clients = crowd(server, 1);
            const Usage before = server.usage();
            clients.clear();
            check_reaped(model, server, before, 1);
        }
    }

    TEST_CASE("50 人がいっせいに去っても、だれも来なくてもゾンビは残らない") {
        INFO("読むところ: docs/02-fork.md「ゾンビを作る」「シグナルの数だけ回収する」");
        for (const Model& model : models()) {
            // 反復サーバーの待ち行列には、50 人は入らないかもしれない
            if (!model.concurrent || (model.forks && thread_sanitized())) {
                continue;
            }
            INFO("サーバー: " << model.name);
            const Server server = start(model);
            settle(server);
            const int alone = server.usage().processes;
            std::vector<Client> clients = crowd(server, 50);
            const Usage before = server.usage();
            INFO("50 人がいたとき: " << before);
            CHECK((before.processes - alone >= 50) == model.forks);
            leave_at_once(model, server, clients);
            check_reaped(model, server, before, 50);
        }
    }

    TEST_CASE("50 人が三度来て去っても、増えていくものはない") {
        INFO("読むところ: docs/02-fork.md「親プロセスが閉じ忘れる」「シグナルの数だけ回収する」");
        for (const Model& model : models()) {
            if (!model.concurrent || (model.forks && thread_sanitized())) {
                continue;
            }
            INFO("サーバー: " << model.name);
            const Server server = start(model);
            settle(server); // 作っておくものがそろう
            std::vector<Client> clients = crowd(server, 50);
            const Usage before = server.usage();
            for (int visits = 2; visits <= 3; ++visits) {
                leave_at_once(model, server, clients);
                clients = crowd(server, 50);
                check_no_growth(server, before, 25);
            }
        }
    }

    TEST_CASE("64 人までの相手をし、その次の人は、だれかが去るまで待つ") {
        INFO("読むところ: docs/04-thread-pool.md「65 人目は、どこで待つか」");
        for (const Model& model : models()) {
            if (model.crew == 0) {
                continue;
            }
            INFO("サーバー: " << model.name);
            const Server server = start(model);
            settle(server); // スレッドがそろう
            const Usage before = server.usage();
            std::vector<Client> clients = crowd(server, model.crew);
            check_no_growth(server,
                            {.descriptors = before.descriptors + model.crew,
                             .threads = before.threads,
                             .processes = before.processes},
                            8);
            const Client next(server.endpoint);
            next.send("next");
            for (const Client& client : clients) {
                check_echo(client, "again");
            }
            CHECK_FALSE(next.has_something_to_read());
            clients.pop_back();
            CHECK(next.receive(4) == "next");
        }
    }

    TEST_CASE("何人来ても、スレッドもプロセスも増えない") {
        INFO("読むところ: docs/05-poll.md「一つのスレッドで、全員を待つ」");
        for (const Model& model : models()) {
            if (!model.events) {
                continue;
            }
            INFO("サーバー: " << model.name);
            const Server server = start(model);
            const std::vector<Client> few = crowd(server, 3);
            const Usage before = server.usage();
            const std::vector<Client> clients = crowd(server, 100);
            check_no_growth(server,
                            {.descriptors = before.descriptors + 100,
                             .threads = before.threads,
                             .processes = before.processes},
                            8);
            CHECK((!model.ours || sanitized() || server.usage().threads == 1 + model.loops));
        }
    }

    TEST_CASE("黙ったままの 1,000 人がいても、全員の相手をする") {
        const int number = number_from_environment("SILENT", 1000);
        INFO("読むところ: docs/03-threads.md「生き残れないこと」");
        for (const Model& model : models()) {
            if (!model.concurrent || model.crew > 0) {
                continue;
            }
            INFO("サーバー: " << model.name);
            const Server server = start(model);
            std::vector<Client> clients;
            clients.reserve(static_cast<size_t>(number));
            for (int i = 0; i < number; ++i) {
                clients.emplace_back(server.endpoint);
            }
            for (size_t i = 0; i < clients.size(); ++i) {
                check_echo(clients[i], "client " + std::to_string(i));
            }
        }
    }

    TEST_CASE("10000 の接続のあとに、増えたものはない") {
        INFO("読むところ: docs/02-fork.md「親プロセスが閉じ忘れる」「ゾンビを作る」");
        const int connections = sanitized() ? 1000 : number_from_environment("CONNECTIONS", 10'000);
        for (const Model& model : models()) {
            if (model.forks && thread_sanitized()) {
                continue;
            }
            INFO("サーバー: " << model.name);
            const Server server = start(model);
            // 短い待ち行列にも入る 5 人ずつ。プロセスを作るサーバーでは、SIGCHLD がまとまらない
            // ように 1 人ずつ。
            const int together = model.forks ? 1 : 5;
            const auto connect_and_leave = [&](int times) {
                for (int i = 0; i < times; i += together) {
                    std::vector<Client> clients;
                    for (int j = 0; j < together; ++j) {
                        clients.emplace_back(server.endpoint);
                        clients.back().send("x");
                        clients.back().finish_writing();
                    }
                    for (const Client& client : clients) {
                        REQUIRE(client.receive_until_closed() == "x");
                    }
                }
            };
            const int more = connections * 3 / 4;
            connect_and_leave(connections - more); // 使い回すメモリがそろう
            const Usage before = server.usage();
            const long resident = usage_of(server.pid()).resident_kib;
            connect_and_leave(more);
            check_no_growth(server, before, more * 9 / 10); // 毎回残れば、more だけ増える
            if (model.ours && !sanitized()) {
                CHECK(usage_of(server.pid()).resident_kib - resident < 256);
            }
        }
    }

    TEST_CASE("止めたあと、前の接続の記録が残っていても、同じポートですぐに始められる") {
        INFO("読むところ: docs/01-iterative.md「SO_REUSEADDR がなければ」");
        for (const Model& model : models()) {
            for (const int number : {SIGTERM, SIGINT}) {
                if (model.forks && number == SIGTERM) { // 次のテスト
                    continue;
                }
                INFO("サーバー: " << model.name);
                INFO("止めるために送ったシグナル: "
                     << std::string(number == SIGINT ? "SIGINT (Ctrl-C)" : "SIGTERM"));
                const Server::Place place = Server::borrow_port(); // 始めなおす前に、取られない
                Server first = start(model, {.port = place.port});
                Client lingering(
                    first.endpoint); // サーバーが先に閉じるので、サーバーの側に記録が残る
                check_echo(lingering, "hello");
                stop(model, first, number, lingering, true);
                const Server second = start(model, {.port = place.port});
                check_echo(Client(second.endpoint), "hello again");
            }
        }
    }

    TEST_CASE("親プロセスを止めたあと、子プロセスが残っていても、同じポートですぐに始められる") {
        INFO("読むところ: docs/02-fork.md「子プロセスが閉じ忘れる」");
        for (const Model& model : models()) {
            if (!model.forks) {
                continue;
            }
            INFO("サーバー: " << model.name);
            INFO("止めるために送ったシグナル: " << std::string("SIGTERM (親プロセスだけに)"));
            const Server::Place place = Server::borrow_port();
            Server first = start(model, {.port = place.port});
            Client lingering(first.endpoint); // 返事があれば、子プロセスは server を閉じおえている
            check_echo(lingering, "hello");
            stop(model, first, SIGTERM, lingering, !model.ours);
            const Server second = start(model, {.port = place.port});
            if (model.ours) {
                check_echo(lingering, "still served");
            }
            check_echo(Client(second.endpoint), "hello again");
        }
    }
}
