// 並行サーバーなら、だれが何で書いたものでも守るべきこと。
// この本のサーバーにも、make check に渡された読者のサーバーにも、同じものを使う。

#include "tests/suite/servers.h"

#include <algorithm>
#include <csignal>
#include <netinet/tcp.h>

namespace {

// サーバーが閉じるまでに届くものが、ちょうど expected であることを確かめる。
void check_rest(const Client& client, const std::string& expected) {
    INFO("閉じるまでに返るはずのもの: \"" << expected << "\"");
    const std::string received = client.receive_until_closed();
    REQUIRE_MESSAGE(received == expected, "返ってきたのは \"" << received << "\"");
}

// 乱数の列を、送ったとおりに受け取ることを確かめる。
void check_stream(const StreamResult& result) {
    REQUIRE_MESSAGE(result, result.problem);
}

// サーバーがすることを終え、眠っている。
void check_asleep(const Server& server, const std::string& when = "誰も何も送ってこないのに") {
    REQUIRE_MESSAGE(eventually([&] { return server.asleep(); }),
                    when << "、サーバーが眠らず、CPU を使いつづける");
}

// RST を送って去り、それがサーバーに届くのを待つ。
void reset(const Server& server, Client& client) {
    const std::string port = client.port();
    client.reset();
    REQUIRE_MESSAGE(eventually([&] { return !connection(server, port); }),
                    "打ち切った接続が、いつまでも残っている");
}

// event が起きても、失われるのはその接続だけ: 並行サーバーなら、そばで話している一人も、ほかの
// サーバーなら、次に来た人も、返事をもらえる。作業スレッドは、一つも減っていない。
void check_only_it_is_lost(const Model& model, const std::function<void(Server&)>& event) {
    Server server = start(model);
    std::optional<Client> bystander;
    if (model.concurrent) {
        check_echo(bystander.emplace(server.endpoint), "before");
    }
    event(server);
    {
        INFO(std::string(model.crew > 0 ? "一人が打ち切ったあとも、64 人の相手をいっしょにできる"
                                        : "一人が打ち切ったあと"));
        if (bystander) {
            check_echo(*bystander, "after");
        }
        crowd(server, std::max(model.crew - 1, 1));
        REQUIRE_MESSAGE(server.running(), "サーバーが終わった");
    }
    check_asleep(server);
}

// サーバーのところに集まった人たち。
struct Gathering {
    std::vector<Client> clients;
    Usage usage = {}; // みながいたときのようす
    int made = 0;     // そのために作られたプロセスの数
};

Gathering gather(const Model& model, const Server& server, int number) {
    settle(server); // 作っておくものがそろう
    const int alone = server.usage().processes;
    Gathering people = {crowd(server, number)};
    people.usage = server.usage();
    people.made = model.forks ? people.usage.processes - alone : 0;
    return people;
}

// いっせいに去る。そのために作られたプロセスがあれば、待ち受けているプロセスが止まっている間に
// みな終わり、SIGCHLD は一つにまとまる。
void leave_at_once(const Server& server, std::vector<Client>& clients, int made) {
    const Usage before = server.usage();
    if (made == 0) {
        clients.clear();
        settle(server); // 使い回すもの (Go のパイプなど) が戻る。次の人が先に来れば、もう一組作る
        return;
    }
    kill(server.listener, SIGSTOP);
    const bool stopped = eventually([&] { return state_of(server.listener) == 'T'; });
    CHECK_MESSAGE((stopped || !foreign_server.empty()), "SIGSTOP で止まらない");
    clients.clear();
    const bool ended = eventually([&] { // SIGCHLD を無視するサーバーでは、ゾンビにもならずに消える
        const Usage now = server.usage();
        return now.processes - now.zombies <= before.processes - before.zombies - made;
    });
    REQUIRE_MESSAGE(ended, "みなが去っても、その人たちのためのプロセスが終わらない");
    kill(server.listener, SIGCONT);
}

// みなが去り、そのために作られたプロセスが回収され、だれも来なくてもゾンビが残らない。
void check_reaped(const Server& server, const Gathering& people) {
    const bool reaped = eventually([&] {
        const Usage now = server.usage();
        return now.zombies == 0 && now.processes <= people.usage.processes - people.made;
    });
    const Usage now = server.usage();
    INFO("人がいたとき:   " << people.usage);
    INFO("みな去ったあと: " << now);
    REQUIRE_MESSAGE(reaped, std::string(now.zombies > 0 ? "ゾンビプロセスが残っている"
                                                        : "去った人のためのプロセスが残っている"));
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
    REQUIRE_MESSAGE(same, "人が去っても、その人のためのものが残っている");
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
    REQUIRE_MESSAGE(eventually(ended), "止めるシグナルを送っても、サーバーが終わらない");
}

} // namespace

TEST_SUITE("protocol") {
    // はじめの四つは土台: make check は、これに落ちれば、ほかを確かめない。
    TEST_CASE("話しかければ、行の途中でも、すぐに返事をする" * doctest::description("土台")) {
        READ("01-iterative.md「相手をする」");
        for (const Model& model : models()) {
            const Server server = start(model);
            check_asleep(server, "誰も来ていないのに");
            const Client client(server.endpoint);
            const auto answered = [&] {
                return eventually([&] { return client.has_something_to_read(); });
            };
            client.send("hello");
            if (!answered()) {
                client.send("\n");
                REQUIRE_MESSAGE(!answered(),
                                "改行が届くまで、返事をしない。TCP に行の区切りはない: "
                                "届いた分を、すぐに返す");
                client.finish_writing();
                const std::string late = answered() ? client.receive_until_closed() : "";
                REQUIRE_MESSAGE(late.empty(),
                                "相手が送りおえるまで、返事をしない。届いた分を、すぐに返す");
                REQUIRE_MESSAGE(false, "届いたバイトを、返さない");
            }
            {
                INFO("\"hello\" と送った");
                const std::string received = client.receive(5);
                REQUIRE_MESSAGE(received == "hello", "返ってきたのは \"" << received << "\"");
            }
            {
                INFO("一度、返事をもらったあとで");
                check_echo(client, "again");
            }
            check_asleep(server, "返事をしおえたのに");
        }
    }

    TEST_CASE("どんなバイトも、そのまま返す" * doctest::description("土台")) {
        READ("01-iterative.md「相手をする」");
        std::string bytes;
        for (int i = 0; i < 512; ++i) {
            bytes.push_back(static_cast<char>(i));
        }
        for (const Model& model : models()) {
            INFO("0 から 255 までのバイトを、二度送った。文字列として扱わず、バイトのまま返す");
            const Server server = start(model);
            const std::string received = Client(server.endpoint).echo(bytes);
            REQUIRE_MESSAGE(received.size() == bytes.size(),
                            "返ってきたのは " << received.size() << " バイトで、接続が閉じられた");
            REQUIRE_MESSAGE(received == bytes, "違うバイトが返ってきた");
        }
    }

    TEST_CASE("一人が去っても終わらず、次の人の相手をする" * doctest::description("土台")) {
        READ("01-iterative.md「ループを外から見る」");
        for (const Model& model : models()) {
            Server server = start(model);
            for (int left = 0; left < 3; ++left) {
                INFO("これまでに去った人: " << left);
                const Client client = greet(server.endpoint);
            }
            check_asleep(server, "みなが去ったのに");
            REQUIRE_MESSAGE(server.running(), "サーバーが終わった");
        }
    }

    TEST_CASE("二人目のクライアントは、第1章では待ち、ほかの章では待たない" *
              doctest::description("土台")) {
        READ("01-iterative.md「3. 待たせているのは誰か」", "02-fork.md「2. 第1章と同じ場面」");
        for (const Model& model : models()) {
            const Server server = start(model);
            settle(server);
            const int alone = server.usage().threads;
            Client first = greet(server.endpoint, "first");
            const Client second(server.endpoint); // 待たされる章でも、接続はできる
            second.send("second");
            if (model.concurrent) {
                const bool answered = eventually([&] { return second.has_something_to_read(); });
                const int now = server.usage().threads;
                const std::string waits = "一人が接続している間、二人目は返事をもらえない。";
                REQUIRE_MESSAGE((answered || now > alone || now >= 64),
                                waits << "一人ずつ相手をしている、第1章の方式のまま");
                REQUIRE_MESSAGE(answered,
                                waits << "スレッドやプロセスがあっても、働くのは一度に一つ");
                REQUIRE_MESSAGE(second.receive(6) == "second", "二人目に返事をせず、接続を閉じた");
                check_echo(first, "again");
                continue;
            }
            for (int i = 0; i < 100; ++i) {
                check_echo(first, "again");
            }
            settle(server); // 二人目のスレッドが、まだ動いていないだけかもしれない
            REQUIRE_MESSAGE(
                !second.has_something_to_read(),
                "一人目がいる間に、二人目にも返事をした。並行サーバーは、CHAPTER=02 から");
            first.close();
            REQUIRE_MESSAGE(second.receive(6) == "second", "一人目が去っても、二人目に返事がない");
        }
    }

    TEST_CASE("第2章では一人に一つのプロセスが相手をし、ほかの章ではプロセスは増えない" *
              doctest::description("方式")) {
        READ("02-fork.md「fork の戻り値は三通り」");
        for (const Model& model : models_with(&Model::concurrent)) {
            const Server server = start(model);
            settle(server); // 作っておくものがそろう
            const int alone = server.usage().processes;
            const std::vector<Client> clients = crowd(server, 10);
            const int more = server.usage().processes - alone;
            REQUIRE_MESSAGE((more >= 10 || !model.forks),
                            "一人に一つのプロセスを作っていない (10 人が来て、増えたのは " << more
                                                                                           << ")");
            REQUIRE_MESSAGE((more < 10 || model.forks),
                            "一人に一つのプロセスを作っている (第2章の方式)");
        }
    }

    TEST_CASE("64 MiB の乱数列が、どう区切られてもそのまま返る") {
        READ("01-iterative.md「相手をする」");
        const struct {
            size_t total;
            size_t chunk;
        } rows[] = {{0, 1}, {1, 1}, {3000, 1}, {1 << 20, 1000}, {64UL << 20U, 256UL * 1024}};
        for (const Model& model : models()) {
            const Server server = start(model);
            for (const auto& row : rows) {
                INFO("送ったもの: 乱数 " << row.total << " バイト");
                check_stream(
                    Client(server.endpoint).echo_random_stream(row.total, row.total, row.chunk));
            }
        }
    }

    TEST_CASE("書き終えた (half-close) クライアントにも、残りを返してから閉じる") {
        READ("01-iterative.md「相手をする」", "02-fork.md「親プロセスが閉じ忘れる」",
             "03-threads.md「スレッドを作る」",
             "05-poll.md「ブロックせずにできるだけのことをする」");
        for (const Model& model : models()) {
            const Server server = start(model);
            const Client client(server.endpoint);
            client.send("last words");
            client.finish_writing();
            check_rest(client, "last words");
        }
    }

    TEST_CASE("読まないクライアントが使うメモリには限りがあり、あとで読めばすべてが返る") {
        READ("01-iterative.md「相手をする」のバックプレッシャー", "05-poll.md「送れなかった残り」");
        for (const Model& model : models()) {
            const Server server = start(model);
            settle(server); // 作っておくものがそろう
            const long before = server.usage().resident_kib;
            const Client client(server.endpoint);
            const size_t sent = fill(server, client, 7);
            INFO("返事を読まずに送れたバイト数: " << sent);
            REQUIRE_MESSAGE(
                sent < 64UL << 20U,
                "読まない人がいても、送り手を待たせない: 返事をためつづけるか、捨てている");
            if (model.ours && !sanitized()) {
                CHECK(server.usage().resident_kib - before < 8 * 1024);
            }
            client.finish_writing();
            check_stream(client.receive_random_stream(7, sent));
            check_rest(client, "");
        }
    }

    TEST_CASE("返事を読まないクライアントがいても、ほかの人は待たず、CPU も使わない") {
        READ("more/02-fork.md「返事を読まないクライアント」",
             "05-poll.md「ノンブロッキングにし忘れる」");
        for (const Model& model : models_with(&Model::concurrent)) {
            const Server server = start(model);
            const Client stalled(server.endpoint);
            const size_t sent = fill(server, stalled, 5);
            {
                INFO("返事を読まない一人のそばで、ほかの人が話した");
                greet(server.endpoint, "not waiting");
                check_stream(Client(server.endpoint).echo_random_stream(6, 1 << 20, 64UL * 1024));
            }
            check_asleep(server);
            stalled.finish_writing();
            check_asleep(server);
            INFO("返事を読まなかった一人が、あとで読んだ");
            check_stream(stalled.receive_random_stream(5, sent));
            check_rest(stalled, "");
        }
    }

    TEST_CASE("一人が打ち切ると同時に来た人も、相手をしてもらえる") {
        READ("01-iterative.md「待ち行列と強制終了」",
             "06-epoll.md「もう閉じたディスクリプタのイベント」");
        for (const Model& model : models()) {
            const Server server = start(model);
            Client leaving = greet(server.endpoint);
            settle(server);
            server.stop();
            leaving.reset();
            const Client coming(server.endpoint); // 去った人のディスクリプタを受けつぐ
            coming.send("I have just come");
            server.resume();
            REQUIRE_MESSAGE(coming.receive(16) == "I have just come",
                            "同時に来た人に返事をせず、接続を閉じた");
            settle(server); // 打ち切られたことにも、応じおえた
            check_echo(coming, "still here");
        }
    }

    TEST_CASE("RST を受け取っても、失うのはその接続だけ") {
        READ("01-iterative.md「待ち行列と強制終了」",
             "04-thread-pool.md「終わってしまう作業スレッド」",
             "05-poll.md「ブロックせずにできるだけのことをする」");
        for (const Model& model : models()) {
            check_only_it_is_lost(model, [&](Server& server) {
                server.stop();
                Client gone(server.endpoint); // 受け付けられる前に去る
                const std::string peer = address_of(gone);
                gone.reset();
                server.resume();
                Client idle(server.endpoint); // 何も言わずに去る
                reset(server, idle);
                Client served = greet(server.endpoint); // 話している途中で去る
                reset(server, served);
                settle(server);
                if (model.ours) {
                    CHECK(logged(server, "recv() from " + peer + " failed: Connection reset"));
                    CHECK_FALSE(contains(server.output(), "finished " + peer));
                }
            });
        }
    }

    TEST_CASE("去ったクライアントに送っても、失うのはその接続だけ") {
        READ("01-iterative.md「SIGPIPE がサーバーを終了させる」");
        for (const Model& model : models()) {
            check_only_it_is_lost(model, [&](Server& server) {
                Client flooding(server.endpoint); // サーバーが send(2) で待っている間に去る
                fill(server, flooding, 3);
                reset(server, flooding);
                settle(server);
                // サーバーが止まっている間に、FIN と RST が、この順に届く。読むものは残っているが、
                // 返事を送れば EPIPE と SIGPIPE になる。
                Client leaving = greet(server.endpoint);
                server.stop();
                leaving.send("good-bye");
                leaving.finish_writing();
                const bool arrived = eventually([&] {
                    const auto tcp = connection(server, leaving.port());
                    return tcp && tcp->state == TCP_CLOSE_WAIT;
                });
                CHECK_MESSAGE((arrived || !model.ours), "FIN が届かない");
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
        READ("01-iterative.md「相手をする」の partial send");
        for (const Model& model : models()) {
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
                check_stream(client.receive_random_stream(i, sent));
                check_rest(client, "");
            }
            greet(server.endpoint, "still here");
        }
    }

    TEST_CASE("一人が去れば、だれも来なくてもゾンビは残らない") {
        READ("01-iterative.md「ディスクリプタの持ち主」", "02-fork.md「ゾンビを作る」");
        for (const Model& model : models()) {
            const Server server = start(model);
            Gathering people = gather(model, server, 1);
            people.clients.clear();
            check_reaped(server, people);
        }
    }

    TEST_CASE("50 人がいっせいに去っても、だれも来なくてもゾンビは残らない") {
        READ("02-fork.md「ゾンビを作る」「一つにまとまる SIGCHLD」");
        // 反復サーバーの待ち行列には、50 人は入らないかもしれない
        for (const Model& model : models_with(&Model::concurrent)) {
            const Server server = start(model);
            Gathering people = gather(model, server, 50);
            leave_at_once(server, people.clients, people.made);
            check_reaped(server, people);
        }
    }

    TEST_CASE("50 人が三度来て去っても、増えていくものはない") {
        READ("02-fork.md「親プロセスが閉じ忘れる」「一つにまとまる SIGCHLD」");
        for (const Model& model : models_with(&Model::concurrent)) {
            const Server server = start(model);
            Gathering people = gather(model, server, 50);
            for (int visits = 2; visits <= 3; ++visits) {
                leave_at_once(server, people.clients, people.made);
                people.clients = crowd(server, 50);
                check_no_growth(server, people.usage, 25);
            }
        }
    }

    TEST_CASE("64 人までの相手をし、その次の人は、だれかが去るまで待つ" *
              doctest::description("方式")) {
        READ("04-thread-pool.md「3. 64 のループと一つの待ち行列」");
        for (const Model& model : models_with(&Model::crew)) {
            const Server server = start(model);
            settle(server);
            crowd(server, model.crew); // スレッドがそろう。来たときに作るものも、64 で止まる
            settle(server);
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
            REQUIRE_MESSAGE(!next.has_something_to_read(),
                            "65 人目を、誰かが去るまで待たせていない");
            clients.pop_back();
            REQUIRE_MESSAGE(next.receive(4) == "next",
                            "一人が去っても、待っていた 65 人目に返事がない");
        }
    }

    TEST_CASE("何人来ても、スレッドもプロセスも増えない" * doctest::description("方式")) {
        READ("05-poll.md「poll とイベントループ」");
        for (const Model& model : models_with(&Model::events)) {
            const Server server = start(model);
            const std::vector<Client> few = crowd(server, 3);
            const Usage before = server.usage();
            const std::vector<Client> clients = crowd(server, 100);
            const Usage now = server.usage();
            INFO("3 人のとき:   " << before);
            INFO("103 人のとき: " << now);
            REQUIRE_MESSAGE(
                (now.threads - before.threads < 8 && now.processes - before.processes < 8),
                "人が来ると、スレッドかプロセスが増える");
            CHECK((!model.ours || sanitized() || server.usage().threads == 1 + model.loops));
        }
    }

    TEST_CASE("黙ったままの 1,000 人がいても、全員の相手をする") {
        READ("02-fork.md「まだ解けない問題」", "03-threads.md「まだ解けない問題」",
             "05-poll.md「poll とイベントループ」");
        for (const Model& model : models_with(&Model::concurrent)) {
            if (model.crew == 0) {
                crowd(start(model), most_people());
            }
        }
    }

    TEST_CASE("10000 の接続のあとに、増えたものはない") {
        READ("01-iterative.md「ディスクリプタの持ち主」",
             "02-fork.md「親プロセスが閉じ忘れる」「ゾンビを作る」", "11-chat.md「部屋を出る」");
        const int connections = sanitized() ? 1000 : number_from_environment("CONNECTIONS", 10'000);
        for (const Model& model : every_model()) {
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
                        if (model.chats) { // ほかの四人のことが、届くことも、届かないこともある
                            client.receive_until_closed();
                        } else {
                            check_rest(client, "x");
                        }
                    }
                }
            };
            const int more = connections * 3 / 4;
            connect_and_leave(connections - more); // 使い回すメモリがそろう
            settle(server);                        // 作っておくものがそろう
            const Usage before = server.usage();
            const long resident = usage_of(server.pid()).resident_kib;
            connect_and_leave(more);
            check_no_growth(server, before, more * 9 / 10); // 毎回残れば、more だけ増える
            // join も detach もしないスレッドは、終わっても、スタック (8 MiB) を残す。
            const long growth = server.usage().virtual_kib - before.virtual_kib;
            REQUIRE_MESSAGE(growth < 2L * 1024 * 1024, "仮想メモリが "
                                                           << growth / 1024
                                                           << " MiB 増えた。終わったスレッドを"
                                                              "片づけ (join か detach) ていない");
            if (model.ours && !sanitized()) {
                CHECK(usage_of(server.pid()).resident_kib - resident < 256);
            }
        }
    }

    TEST_CASE("止めたあと、前の接続の記録が残っていても、同じポートですぐに始められる") {
        READ("01-iterative.md「SO_REUSEADDR がなければ」");
        for (const Model& model : every_model()) {
            for (const int number : {SIGTERM, SIGINT}) {
                if (model.forks && number == SIGTERM) { // 次のテスト
                    continue;
                }
                INFO("止めるために送ったシグナル: "
                     << std::string(number == SIGINT ? "SIGINT (Ctrl-C)" : "SIGTERM"));
                const Server::Place place = Server::borrow_port(); // 始めなおす前に、取られない
                Server first = start(model, {.port = place.port});
                // サーバーが先に閉じるので、サーバーの側に記録が残る。
                Client lingering = greet(model, first);
                stop(model, first, number, lingering, true);
                const Server second = start(model, {.port = place.port});
                check_served(model, second, greet(model, second));
            }
        }
    }

    TEST_CASE("親プロセスを止めたあと、子プロセスが残っていても、同じポートですぐに始められる") {
        READ("more/02-fork.md「子プロセスが閉じ忘れる」");
        for (const Model& model : models_with(&Model::forks)) {
            INFO("止めるために送ったシグナル: " << std::string("SIGTERM (親プロセスだけに)"));
            const Server::Place place = Server::borrow_port();
            Server first = start(model, {.port = place.port});
            Client lingering =
                greet(first.endpoint); // 返事があれば、子プロセスは server を閉じおえている
            stop(model, first, SIGTERM, lingering, !model.ours);
            const Server second = start(model, {.port = place.port});
            if (model.ours) {
                check_echo(lingering, "still served");
            }
            greet(second.endpoint, "hello again");
        }
    }
}
