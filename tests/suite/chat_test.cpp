// 行を送りあうサーバー (第11章) が、だれが何で書いたものでも守るべきこと。約束は docs/11-chat.md
// にある。

#include "tests/outside/client.h"
#include "tests/outside/process.h"
#include "tests/suite/servers.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <memory>
#include <stdexcept>
#include <sys/socket.h>
#include <utility>

namespace {

using Clock = std::chrono::steady_clock;

std::string said(const Client& speaker, const std::string& line) {
    return address_of(speaker) + ": " + line;
}

// 次に届くものが、ちょうど expected であることを確かめる。
void check_told(const Client& client, const std::string& expected) {
    INFO("届くはずのもの: \"" << expected.substr(0, 200) << "\"");
    const std::string received = client.receive(expected.size());
    REQUIRE_MESSAGE(received == expected, "届いたのは \"" << received.substr(0, 200) << "\"");
}

void check_closed(const Client& client) {
    const std::string rest = client.receive_until_closed();
    REQUIRE_MESSAGE(rest.empty(), "閉じる前に \"" << rest.substr(0, 200) << "\" が届いた");
}

// 待たずに、届いているものを received に足す。閉じられていれば true。
bool closed(const Client& client, std::string& received) {
    char bytes[4096];
    ssize_t n = 0;
    while ((n = recv(client.fd(), bytes, sizeof bytes, 0)) > 0) {
        received.append(bytes, static_cast<size_t>(n));
    }
    return n == 0 || errno != EAGAIN;
}

// 来て、部屋に入るのを待つ。入ったことは、ほかの人に届く。
Client join(const Server& server, const std::vector<const Client*>& others = {}) {
    Client client(server.endpoint);
    for (const Client* const other : others) {
        check_told(*other, address_of(client) + " joined\n");
    }
    settle(server);
    return client;
}

// 話す人、読みつづける人、読まない人。
struct Crowd {
    static constexpr int block = 20; // 一度に話す行の数
    Client speaker;
    Client reader;
    Client sleeper;
    std::string left = address_of(sleeper) + " left\n";
    std::string owed = {}; // 話したこと
    bool cut = false;      // 読まない人が切断された

    explicit Crowd(const Server& server)
        : speaker(join(server)), reader(join(server, {&speaker})),
          sleeper(join(server, {&speaker, &reader})) {}

    // lines 行を話し、読みつづける人はすべてを受け取る。読まない人が切断されたら、やめてもよい。
    // 話した行の数を返す。一行は 220 バイトほど。
    int talk(int lines, bool to_the_end) {
        int number = 0;
        for (; number < lines && (to_the_end || !cut); number += block) {
            std::string text;
            std::string expected;
            for (int i = number; i < number + block; ++i) {
                std::string line = std::to_string(i);
                line.resize(199, '.');
                text += line += '\n';
                expected += said(speaker, line);
            }
            speaker.send(text);
            owed += expected;
            std::string received = reader.receive(expected.size());
            if (received != expected && !cut) { // 知らせは、行の間のどこにあってもよい
                received += reader.receive(left.size());
                cut = received.find(left) != received.npos;
                received.erase(std::min(received.find(left), received.size()), left.size());
            }
            REQUIRE_MESSAGE(received == expected,
                            number << " 行目から、読みつづける人に違うものが届いた");
        }
        return number;
    }
};

// 読まない人の分が、カーネルには入りきらず、サーバーに残っているが、64 KiB よりは少ない。
std::pair<std::unique_ptr<Server>, Crowd> lag(const Model& model) {
    const Process::Options options = {.numbers = {{"grace-ms", "60000"}}};
    for (int tries = 0; tries < 10; ++tries) {
        auto server = std::unique_ptr<Server>(new Server(start(model, options)));
        const int enough = Crowd(*server).talk(100'000, false);
        server.reset(new Server(start(model, options))); // 去った人の知らせが混ざらないように
        Crowd crowd(*server);
        crowd.talk(enough - 8 * Crowd::block, false);
        settle(*server);
        if (!crowd.cut && !crowd.reader.has_something_to_read()) {
            return {std::move(server), std::move(crowd)};
        }
    }
    throw std::runtime_error("遅れが 64 KiB に満たない人を切断した");
}

} // namespace

TEST_SUITE("protocol of chat") {
    TEST_CASE("話した行は、名前をつけてほかの全員に届き、自分には届かない" *
              doctest::description("土台")) {
        READ("11-chat.md「約束」");
        for (const Model& model : chats_with(&Model::chats)) {
            const Server server = start(model);
            const Client a = join(server);
            const Client b = join(server, {&a});
            const Client c = join(server, {&a, &b});
            for (const std::string line : {"hello\n", "\n", "second\r\n"}) {
                a.send(line);
                check_told(b, said(a, line));
                check_told(c, said(a, line));
            }
            b.send("hi\n");
            check_told(a, said(b, "hi\n")); // これが、来てから初めに届くもの
        }
    }

    TEST_CASE("どこで区切られて届いても、いくつつながって届いても、一行は一行") {
        READ("11-chat.md「行を切り出す」");
        for (const Model& model : chats_with(&Model::chats)) {
            const Server server = start(model);
            const Client a = join(server);
            const Client b = join(server, {&a});
            const std::string text("one\n\ntwo\0\xff\r\nthree\n", 18);
            const std::string expected =
                said(a, "one\n") + said(a, "\n") + said(a, text.substr(5, 7)) + said(a, "three\n");
            for (size_t at = 1; at < text.size(); ++at) {
                INFO("四行を、" << at << " バイト目で区切って送った");
                a.send(text.substr(0, at));
                b.send("x"); // 行の途中までは、ほかの人のものと混ざらない
                settle(server);
                a.send(text.substr(at));
                b.send("\n");
                check_told(b, expected);
                check_told(a, said(b, "x\n"));
            }
            for (const char byte : text) {
                a.send({&byte, 1});
            }
            check_told(b, expected);
        }
    }

    TEST_CASE("1,024 バイトまでの行は届き、それより長い行は断られて、接続が終わる") {
        READ("11-chat.md「行を切り出す」");
        for (const Model& model : chats_with(&Model::chats)) {
            const Server server = start(model);
            const Client a = join(server);
            const Client b = join(server, {&a});
            const std::string longest(1023, 'x');
            a.send(longest + "\n");
            a.send(longest); // まだ途中
            check_told(b, said(a, longest + "\n"));
            settle(server);
            REQUIRE_MESSAGE(!b.has_something_to_read(), "行の途中までを送った");
            INFO("改行のない 1,024 バイトを送った");
            a.send("x");
            const std::string refusal = a.receive_until_closed();
            REQUIRE_MESSAGE((refusal.size() > 1 && refusal.find('\n') + 1 == refusal.size()),
                            "閉じるまでに届いたのは、断りの一行でなく \"" << refusal << "\"");
            a.send("too late\n");
            a.finish_writing();
            check_told(b, address_of(a) + " left\n");
        }
    }

    TEST_CASE("改行のない最後の行も届き、来た人と去った人のことは、ほかの全員に届く") {
        READ("11-chat.md「行を切り出す」");
        for (const Model& model : chats_with(&Model::chats)) {
            const Server server = start(model);
            Client first = join(server);
            const Client& a = first;
            const Client b = join(server, {&a});
            const Client c = join(server, {&a, &b});
            c.send("good-bye");
            c.finish_writing();
            for (const Client* const other : {&a, &b}) {
                check_told(*other, said(c, "good-bye\n") + address_of(c) + " left\n");
            }
            check_closed(c);
            CHECK((!model.ours || logged(server, "finished " + address_of(c) + "\n")));
            const std::string left = address_of(a) + " left\n";
            a.send("half"); // 打ち切られれば、行にならない
            settle(server);
            first.reset();
            check_told(b, left);
        }
    }

    TEST_CASE("読まない人は切断され、ほかの人には、十万行のすべてが届く") {
        READ("11-chat.md「読まないクライアント」");
        for (const Model& model : chats_with(&Model::chats)) {
            const Server server = start(model);
            Crowd crowd(server);
            crowd.talk(sanitized() ? 40'000 : 100'000, true);
            if (!crowd.cut) {
                crowd.sleeper.finish_writing();
                REQUIRE_MESSAGE(crowd.sleeper.receive_until_closed() == crowd.owed,
                                "読まない人を切断せず、送るものの途中を捨てた");
            }
            REQUIRE_MESSAGE(crowd.cut, "読まない人を切断せず、送るものを限りなくためている");
            const std::string peer = address_of(crowd.sleeper);
            CHECK((!model.ours ||
                   logged(server, "serving " + peer + " failed: more than 64 KiB behind\n")));
        }
    }

    TEST_CASE("遅れて読む人にも、送り終えた人にも、まだ送れていないものが、すべて届く") {
        READ("11-chat.md「読まないクライアント」");
        for (const Model& model : chats_with(&Model::chats)) {
            for (const bool finishes : {false, true}) {
                INFO(std::string(finishes ? "読まずに送り終えた" : "しばらく読まなかった"));
                const auto lagging = lag(model);
                const Crowd& crowd = lagging.second;
                if (finishes) {
                    crowd.sleeper.finish_writing();
                    check_told(crowd.reader, crowd.left);
                }
                const std::string received = crowd.sleeper.receive(crowd.owed.size());
                REQUIRE_MESSAGE(received == crowd.owed, "届くはずのものと違うものが届いた");
                crowd.speaker.send("next\n");
                if (finishes) {
                    check_closed(crowd.sleeper);
                } else {
                    check_told(crowd.sleeper, said(crowd.speaker, "next\n"));
                }
            }
        }
    }

    TEST_CASE("1000 の接続が話して去っても、増えたものはない") {
        READ("11-chat.md「部屋」");
        const int connections = number_from_environment("CONNECTIONS", 1000);
        for (const Model& model : chats_with(&Model::chats)) {
            const Server server = start(model);
            const Client listener = join(server);
            Usage before;
            for (int i = 0; i < connections; ++i) {
                Client client(server.endpoint);
                const std::string name = address_of(client);
                client.send("hello\n");
                i % 2 == 0 ? client.finish_writing() : client.close();
                for (const std::string text : {" joined\n", ": hello\n", " left\n"}) {
                    check_told(listener, name + text);
                }
                if (i == connections / 4) { // 使い回すメモリがそろった
                    settle(server);
                    before = server.usage();
                }
            }
            settle(server);
            const Usage now = server.usage();
            INFO("前: " << before << "、後: " << now);
            REQUIRE_MESSAGE(now.descriptors - before.descriptors < connections / 4,
                            "去った人のディスクリプタを閉じていない");
            CHECK((!model.ours || sanitized() || now.resident_kib - before.resident_kib < 256));
        }
    }

    TEST_CASE("部屋に入れるのは決めた人数までで、次の人は、だれかが去るまで待つ") {
        READ("11-chat.md「約束」");
        for (const Model& model : chats_with(&Model::limits)) {
            const Server server = start(model, {.numbers = {{"clients", "2"}}});
            const Client a = join(server);
            const Client b = join(server, {&a});
            const Client c(server.endpoint);
            c.send("hello\n");
            settle(server);
            REQUIRE_MESSAGE(!a.has_something_to_read(), "満員なのに、次の人を入れた");
            b.finish_writing();
            check_told(a, address_of(b) + " left\n" + address_of(c) + " joined\n" +
                              said(c, "hello\n"));
        }
    }

    TEST_CASE("決めた時間だけ何も送らなければ、聞いているだけの人も閉じられる") {
        READ("11-chat.md「約束」");
        for (const Model& model : chats_with(&Model::idles)) {
            const Server server = start(model, {.numbers = {{"idle-ms", "1000"}}});
            const auto begin = Clock::now();
            const Client listener(server.endpoint);
            const Client speaker(server.endpoint);
            std::string received;
            REQUIRE_MESSAGE(eventually([&] {
                                speaker.send("hello\n");
                                return closed(listener, received);
                            }),
                            "何も送らない人を、閉じない");
            REQUIRE_MESSAGE(Clock::now() - begin >= std::chrono::seconds{1},
                            "決めた時間よりも早く閉じた");
        }
    }

    TEST_CASE("チャットでも、止めるまでに読んだ行はすべてに届き、みなが去るのを待って終わる") {
        READ("11-chat.md「部屋」");
        for (const Model& model : chats_with(&Model::drains)) {
            const auto lagging = lag(model);
            const Crowd& crowd = lagging.second;
            Server& server = *lagging.first;
            ask_to_stop(server, SIGTERM);
            check_closed(crowd.speaker); // 送る向きだけが閉じる
            check_closed(crowd.reader);
            crowd.speaker.send("too late\n");
            REQUIRE_MESSAGE(
                eventually([&] { return listening_inodes(port_of(server.endpoint)).empty(); }),
                "待ち受けつづけている");
            REQUIRE_MESSAGE(!has_ended(server.listener), "まだ人がいるのに、すぐに終わった");
            const std::string received = crowd.sleeper.receive_until_closed();
            REQUIRE_MESSAGE(received == crowd.owed, "止めるまでに読んだ行が届かない");
            for (const Client* const client : {&crowd.speaker, &crowd.reader, &crowd.sleeper}) {
                client->finish_writing();
            }
            REQUIRE_MESSAGE(eventually([&] { return has_ended(server.listener); }),
                            "みなが去ったのに、終わらない");
            CHECK((!model.ours || (server.wait() == 0 && logged(server, "stopping: 3 clients\n"))));
        }
    }

    TEST_CASE("チャットでも、止めてから去らない人を待つのは、決めた時間まで") {
        READ("11-chat.md「約束」");
        for (const Model& model : chats_with(&Model::drains)) {
            Server server = start(model, {.numbers = {{"grace-ms", "100"}}});
            const Client staying = join(server);
            ask_to_stop(server, SIGTERM);
            check_closed(staying);
            REQUIRE_MESSAGE(eventually([&] { return has_ended(server.listener); }),
                            "去らない人がいると、いつまでも終わらない");
            CHECK((!model.ours || logged(server, "stopped: 1 clients cut off\n")));
        }
    }
}

TEST_SUITE("fault") {
    TEST_CASE("チャットでも、どの new が失敗しても、失われるのは、その一人だけ") {
        for (const Model& model : chats_with(&Model::chats)) {
            if (sanitized()) { // ほかのライブラリを先に読ませない
                continue;
            }
            const std::string library = "LD_PRELOAD=" + build_directory + "/no_memory.so";
            Server server({"/usr/bin/env", library, model.program});
            settle(server);
            const int before = usage_of(server.pid()).descriptors;
            int rounds = 0;
            for (long lost = 1; lost > 0; ++rounds) {
                std::vector<Client> clients;
                for (int i = 0; i < 4; ++i) {
                    clients.emplace_back(server.endpoint);
                    settle(server);
                    server.signal(i == 2 ? SIGUSR1
                                         : 0); // 一度めは一つめが、二度めは二つめが失敗する
                    settle(server);
                }
                clients[0].send("hello\n");
                settle(server);
                std::vector<std::string> told(4);
                lost = 0;
                for (size_t i = 0; i < 4; ++i) {
                    const bool gone = closed(clients[i], told[i]);
                    lost += gone ? 1 : 0;
                    CHECK((gone || i == 0 || told[i].ends_with(said(clients[0], "hello\n")) ||
                           told[i].ends_with(" left\n")));
                }
                CHECK(lost <= 1);
            }
            CHECK(rounds > 2);
            CHECK(eventually([&] { return usage_of(server.pid()).descriptors == before; }));
        }
    }
}
