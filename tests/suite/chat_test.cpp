// 行を送りあうサーバー (第11章) が、だれが何で書いたものでも守るべきこと。約束は docs/11-chat.md
// にある。時間の上限などの、エコーサーバーと同じことは、limit_test.cpp が確かめる。

#include "tests/suite/servers.h"

#include <csignal>
#include <memory>
#include <stdexcept>

namespace {

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

// 部屋に、順に入った三人。入ったことは、先にいた人に届く。
struct Room {
    Server server;
    Client a = greet(Model{.chats = true}, server);
    Client b = greet(Model{.chats = true}, server);
    Client c = greet(Model{.chats = true}, server);

    explicit Room(const Model& model, const Process::Numbers& numbers = {})
        : server(start(model, {.numbers = numbers})) {
        check_told(a, address_of(b) + " joined\n" + address_of(c) + " joined\n");
        check_told(b, address_of(c) + " joined\n");
    }
};

// 話す人 (a)、読みつづける人 (b)、読まない人 (c)。
struct Crowd : Room {
    std::string left = address_of(c) + " left\n";
    std::string owed = {}; // 話したこと
    bool cut = false;      // 読まない人が切断された

    explicit Crowd(const Model& model)
        : Room(model, {{"idle-ms", "600000"}, {"grace-ms", "60000"}}) {}

    // lines 行を話し、読みつづける人はすべてを受け取る。読まない人が切断されたら、やめてもよい。
    // 話した行の数を返す。前の行が届いてから話すので、TCP が行の途中で区切ることはない。
    int talk(int lines, bool to_the_end) {
        int number = 0;
        for (; number < lines && (to_the_end || !cut); ++number) {
            std::string line = std::to_string(number);
            line.resize(999, '.');
            a.send(line += '\n');
            const std::string expected = said(a, line);
            owed += expected;
            std::string received = b.receive(expected.size());
            if (received.starts_with(left)) {
                cut = true;
                received.erase(0, left.size()) += b.receive(left.size());
            }
            REQUIRE_MESSAGE(received == expected,
                            number << " 行目で、読みつづける人に違うものが届いた");
        }
        return number;
    }
};

// 読まない人の分が、カーネルには入りきらず、サーバーに残っているが、64 KiB よりは少ない。
std::unique_ptr<Crowd> lag(const Model& model) {
    for (int tries = 0; tries < 10; ++tries) {
        const int enough = Crowd(model).talk(10'000, false);
        auto crowd = std::make_unique<Crowd>(model);
        crowd->talk(enough - 32, false);
        settle(crowd->server);
        if (!crowd->cut && !crowd->b.has_something_to_read()) {
            return crowd;
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
            const Room room(model);
            for (const std::string line : {"hello\n", "\n", "second\r\n"}) {
                room.a.send(line);
                check_told(room.b, said(room.a, line));
                check_told(room.c, said(room.a, line));
            }
            room.b.send("hi\n");
            check_told(room.a, said(room.b, "hi\n")); // これが、次に届くもの
        }
    }

    TEST_CASE("どこで区切られて届いても、いくつつながって届いても、一行は一行") {
        READ("11-chat.md「行を切り出す」");
        const std::string text("one\n\ntwo\0\xff\r\nthree\n", 18);
        for (const Model& model : chats_with(&Model::chats)) {
            const Room room(model);
            const std::string expected = said(room.a, "one\n") + said(room.a, "\n") +
                                         said(room.a, text.substr(5, 7)) + said(room.a, "three\n");
            for (size_t at = 1; at < text.size(); ++at) {
                INFO("四行を、" << at << " バイト目で区切って送った");
                room.a.send(text.substr(0, at));
                room.b.send("x"); // 行の途中までは、ほかの人のものと混ざらない
                settle(room.server);
                room.a.send(text.substr(at));
                room.b.send("\n");
                check_told(room.b, expected);
                check_told(room.a, said(room.b, "x\n"));
            }
            for (const char byte : text) {
                room.a.send({&byte, 1});
            }
            check_told(room.b, expected);
        }
    }

    TEST_CASE("1,024 バイトまでの行は届き、それより長い行は断られて、接続が終わる") {
        READ("11-chat.md「行を切り出す」");
        for (const Model& model : chats_with(&Model::chats)) {
            for (const size_t more : {1U, 5000U}) { // 断ったあとにも、まだ届く
                const Room room(model);
                const std::string longest(1023, 'x');
                room.a.send(longest + "\n");
                room.a.send(longest); // まだ途中
                check_told(room.b, said(room.a, longest + "\n"));
                settle(room.server);
                REQUIRE_MESSAGE(!room.b.has_something_to_read(), "行の途中までを送った");
                INFO("改行のない " << 1023 + more << " バイトを送った");
                room.a.send(std::string(more, 'x'));
                const std::string refusal = room.a.receive_until_closed();
                REQUIRE_MESSAGE((refusal.size() > 1 && refusal.find('\n') + 1 == refusal.size()),
                                "閉じるまでに届いたのは、断りの一行でなく \"" << refusal << "\"");
                room.a.send("too late\n");
                room.a.finish_writing();
                check_told(room.b, address_of(room.a) + " left\n");
            }
        }
    }

    TEST_CASE("改行のない最後の行も届き、去った人のことは、ほかの全員に届く") {
        READ("11-chat.md「行を切り出す」");
        for (const Model& model : chats_with(&Model::chats)) {
            Room room(model);
            room.c.send("good-bye");
            room.c.finish_writing();
            for (const Client* const other : {&room.a, &room.b}) {
                check_told(*other, said(room.c, "good-bye\n") + address_of(room.c) + " left\n");
            }
            check_closed(room.c);
            CHECK((!model.ours || logged(room.server, "finished " + address_of(room.c) + "\n")));
            const std::string left = address_of(room.a) + " left\n";
            room.a.send("half"); // 打ち切られれば、行にならない
            settle(room.server);
            room.a.reset();
            check_told(room.b, left);
        }
    }

    TEST_CASE("読まない人は切断され、ほかの人には、一万行のすべてが届く") {
        READ("11-chat.md「読まないクライアント」");
        for (const Model& model : chats_with(&Model::chats)) {
            Crowd crowd(model);
            crowd.talk(10'000, true);
            if (!crowd.cut) {
                crowd.c.finish_writing();
                REQUIRE_MESSAGE(crowd.c.receive_until_closed() == crowd.owed,
                                "読まない人を切断せず、送るものの途中を捨てた");
            }
            REQUIRE_MESSAGE(crowd.cut, "読まない人を切断せず、送るものを限りなくためている");
            CHECK((!model.ours || logged(crowd.server, "serving " + address_of(crowd.c) +
                                                           " failed: more than 64 KiB behind\n")));
        }
    }

    TEST_CASE("遅れて読む人にも、送り終えた人にも、まだ送れていないものが、すべて届く") {
        READ("11-chat.md「読まないクライアント」");
        for (const Model& model : chats_with(&Model::chats)) {
            for (const bool finishes : {false, true}) {
                INFO(std::string(finishes ? "読まずに送り終えた" : "しばらく読まなかった"));
                const auto crowd = lag(model);
                if (finishes) {
                    crowd->c.finish_writing();
                    check_told(crowd->b, crowd->left);
                }
                REQUIRE_MESSAGE(crowd->c.receive(crowd->owed.size()) == crowd->owed,
                                "届くはずのものと違うものが届いた");
                crowd->a.send("next\n");
                if (finishes) {
                    check_closed(crowd->c);
                } else {
                    check_told(crowd->c, said(crowd->a, "next\n"));
                }
            }
        }
    }

    TEST_CASE("部屋に入れるのは決めた人数までで、次の人は、だれかが去るまで待つ") {
        READ("11-chat.md「約束」");
        for (const Model& model : chats_with(&Model::limits)) {
            const Room room(model, {{"clients", "3"}});
            const Client next(room.server.endpoint);
            next.send("hello\n");
            settle(room.server);
            REQUIRE_MESSAGE(!room.a.has_something_to_read(), "満員なのに、次の人を入れた");
            room.c.finish_writing();
            check_told(room.a, address_of(room.c) + " left\n" + address_of(next) + " joined\n" +
                                   said(next, "hello\n"));
        }
    }

    TEST_CASE("チャットでも、止めるまでに読んだ行はすべてに届き、みなが去るのを待って終わる") {
        READ("11-chat.md「部屋」");
        for (const Model& model : chats_with(&Model::drains)) {
            const auto crowd = lag(model);
            Server& server = crowd->server;
            const auto ended = [&] { return has_ended(server.listener); };
            ask_to_stop(server, SIGTERM);
            check_closed(crowd->a); // 送る向きだけが閉じる
            check_closed(crowd->b);
            crowd->a.send(std::string(1024, 'x')); // 読み捨てるだけで、断らない
            REQUIRE_MESSAGE(
                eventually([&] { return listening_inodes(port_of(server.endpoint)).empty(); }),
                "待ち受けつづけている");
            REQUIRE_MESSAGE(!ended(), "まだ人がいるのに、すぐに終わった");
            REQUIRE_MESSAGE(crowd->c.receive_until_closed() == crowd->owed,
                            "止めるまでに読んだ行が届かない");
            for (const Client* const client : {&crowd->a, &crowd->b, &crowd->c}) {
                client->finish_writing();
            }
            REQUIRE_MESSAGE(eventually(ended), "みなが去ったのに、終わらない");
            CHECK((!model.ours || (server.wait() == 0 && lines(server, "failed") == 0)));
            CHECK((!model.ours || lines(server, "stopping: 3 clients") == 1));
        }
    }
}
