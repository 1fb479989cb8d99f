// 時間と数の上限、そして、きれいに止まること。

#include "tests/suite/servers.h"

#include "common/tcp.h"

#include <algorithm>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <future>
#include <glob.h>
#include <sys/ioctl.h>
#include <thread>
#include <unistd.h>

namespace {

using Clock = std::chrono::steady_clock;

// 時計を進めるためのライブラリ libfaketime の場所。なければ空。
std::string find_faketime() {
    glob_t found{};
    glob("/usr/lib*/faketime/libfaketime.so.1", 0, nullptr, &found);
    glob("/usr/lib*/*/faketime/libfaketime.so.1", GLOB_APPEND, nullptr, &found);
    std::string path = found.gl_pathc > 0 ? found.gl_pathv[0] : "";
    globfree(&found);
    return path;
}
const std::string faketime = find_faketime();

// 時計を進めて試すもの。検査つきで作ったものは、ほかのライブラリを先に読ませない。
std::vector<Model> models_in_fake_time() {
    return models_with(
        [](const Model& each) { return each.idles && !faketime.empty() && !sanitized(); });
}

// サーバーの時計。働いているサーバーも読むので、書きかけを見せない。
class FakeClock {
public:
    FakeClock() { set("+0"); }
    FakeClock(const FakeClock&) = delete;
    FakeClock& operator=(const FakeClock&) = delete;
    ~FakeClock() { unlink(path_.c_str()); }

    void set(const std::string& offset) const {
        std::ofstream(path_ + ".new") << offset << "\n";
        std::rename((path_ + ".new").c_str(), path_.c_str());
    }
    // この時計でサーバーを起こす。monotonic なら、単調な時計も進める。時計を進めたことには、
    // 起きたループしか気づかないので、ループは一つ。
    Server start(const Model& model, const Process::Numbers& given, bool monotonic = true) const {
        Process::Numbers numbers = model.crew_of("1");
        numbers.insert(numbers.end(), given.begin(), given.end());
        return Server({"/usr/bin/env", "LD_PRELOAD=" + faketime, "FAKETIME_TIMESTAMP_FILE=" + path_,
                       "FAKETIME_NO_CACHE=1",
                       std::string("DONT_FAKE_MONOTONIC=") + (monotonic ? "0" : "1"),
                       model.program},
                      "", {.numbers = numbers});
    }

private:
    std::string path_ =
        std::filesystem::temp_directory_path() / ("echo-test-clock-" + std::to_string(getpid()));
};

// それぞれのイベントループが、止まったことをログに書く。
size_t loops(const Model& model) {
    return static_cast<size_t>(std::max(model.loops, 1));
}

std::string timed_out(const Client& client) {
    return " " + address_of(client) + " failed: " + std::strerror(ETIMEDOUT);
}

// サーバーが client から読み終えたバイト数。そのうちの sent バイトを client は送った。
// サーバーは眠っていること。
size_t bytes_read(const Server& server, const Client& client, size_t sent) {
    int unacknowledged = 0;
    REQUIRE(ioctl(client.fd(), TIOCOUTQ, &unacknowledged) == 0);
    const auto tcp = connection(server, client.port());
    REQUIRE(tcp);
    return sent - static_cast<size_t>(unacknowledged) - tcp->unread;
}

// 全員が、返事を受け取りながら話しつづける。結果は、接続が閉じられると手に入る。
std::vector<std::future<StreamResult>> talk_endlessly(const std::vector<Client>& clients) {
    std::vector<std::future<StreamResult>> talks;
    talks.reserve(clients.size());
    for (size_t i = 0; i < clients.size(); ++i) {
        talks.push_back(std::async(std::launch::async, [&clients, i] {
            return clients[i].echo_random_stream(i, SIZE_MAX, 100'000);
        }));
    }
    CHECK(eventually([&] { return clients.back().has_something_to_read(); }));
    return talks;
}

// 50 人が二度来て、みな去る。一度に返事をもらえるのは limit 人まで。だれかが去れば、次が入る。
void check_limit(const Model& model, const Server& server, size_t limit) {
    for (size_t left = 0; left <= 50; left += 50) {
        std::vector<Client> clients;
        server.stop(); // 初めは、上限より二人多くが、いっしょに待っている
        for (size_t i = 0; i < 50; ++i) {
            if (i == std::min<size_t>(limit + 2, 49)) {
                server.resume();
            }
            clients.emplace_back(server.endpoint);
            clients.back().send("hello");
        }
        const auto answered = [&] {
            return static_cast<size_t>(
                std::ranges::count_if(clients, &Client::has_something_to_read));
        };
        INFO("50 人が来た。上限は " << limit << " 人");
        REQUIRE_MESSAGE(eventually([&] { return answered() >= (model.uneven ? 1 : limit); }),
                        "上限までの人の相手をしていない");
        REQUIRE_MESSAGE(eventually([&] { return server.asleep(); }), "満員なのに、眠らない");
        REQUIRE_MESSAGE(answered() <= limit, answered() << " 人に返事をした");
        CHECK((!model.ours || lines(server, "accepted") == left + answered()));
        for (const Client& client : clients) {
            client.finish_writing();
        }
        for (const Client& client : clients) {
            REQUIRE_MESSAGE(client.receive_until_closed() == "hello",
                            "待っていた人に、返事をせずに閉じた");
        }
        CHECK((!model.ours || eventually([&] { return lines(server, "finished") == left + 50; })));
    }
    CHECK((!model.ours || lines(server, "failed") == 0));
}

} // namespace

TEST_SUITE("server") {
    TEST_CASE("時計を進めるための libfaketime がある") {
        available(!faketime.empty(), "libfaketime");
    }

    TEST_CASE("決めた時間だけ黙っている人が閉じられ、話す人と読む人は閉じられない") {
        for (const Model& model : models_in_fake_time()) {
            const FakeClock clock;
            Server server = clock.start(model, {});
            const Client talking = greet(server.endpoint, "before");
            const Client reading(server.endpoint);
            const size_t sent = fill(server, reading, 1);
            const Client silent = greet(server.endpoint, "before");
            const Client stalled(server.endpoint); // 返事があるのに、読まない
            fill(server, stalled, 2);

            settle(server);
            clock.set("+40s");
            CHECK(talking.echo("while others are silent") == "while others are silent");
            CHECK(reading.receive_random_stream(1, sent));
            const Client mute(server.endpoint); // 今来て、一言も話さない
            CHECK(logged(server, "accepted " + address_of(mute)));
            settle(server);
            CHECK_FALSE(silent.has_something_to_read());
            clock.set("+80s");
            CHECK(talking.echo("after") == "after");
            CHECK(silent.receive_until_closed().empty());
            CHECK(logged(server, timed_out(silent)));
            CHECK(logged(server, timed_out(stalled)));
            CHECK_FALSE(mute.has_something_to_read());
            CHECK(reading.echo("still here") == "still here");
            clock.set("+120s");
            CHECK(talking.echo("still here") == "still here");
            CHECK(logged(server, timed_out(mute)));
            const Client newcomer = greet(server.endpoint); // 閉じた人のディスクリプタを使う
            CHECK(lines(server, " failed: ") == 3);
        }
    }

    TEST_CASE("休みなく話す人がいても、黙っている人は、決めた時間で閉じられる") {
        for (const Model& model : models_in_fake_time()) {
            const FakeClock clock;
            Server server = clock.start(model, {});
            const Client silent = greet(server.endpoint, "before");
            const std::vector<Client> clients = crowd(server, 20);
            auto talks = talk_endlessly(clients); // 結果は問わない: 時間切れで閉じられる人もいる
            clock.set("+80s");
            CHECK(logged(server, timed_out(silent)));
            CHECK(eventually([&] { return silent.has_something_to_read(); }));
            server.signal(SIGTERM);
            talks.clear(); // みなが話しやめるのを待つ
        }
    }

    TEST_CASE("時刻が合わせなおされても、締め切りは変わらない") {
        for (const Model& model : models_in_fake_time()) {
            for (const std::string jump : {"+1d", "-1d"}) {
                CAPTURE(jump);
                const FakeClock clock;
                Server server = clock.start(model, {{"idle-ms", "1000000"}}, false);
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

    TEST_CASE("サーバーが遅れて締め切りを過ぎても、そのときまでに話していた人は、閉じられない") {
        for (const Model& model : models_in_fake_time()) {
            const FakeClock clock;
            const Server server = clock.start(model, {});
            const std::vector<Client> clients = crowd(server, 200); // 一度では、知らせきれない
            settle(server);
            server.stop();
            for (const Client& client : clients) {
                client.send("in time");
            }
            clock.set("+80s");
            server.resume();
            for (const Client& client : clients) {
                CHECK(client.receive(7) == "in time");
            }
        }
    }

    TEST_CASE("人数の上限は、言われなければ、ディスクリプタの足りなくならない数になる") {
        for (const Model& model :
             models_with([](const Model& each) { return each.limits && !sanitized(); })) {
            // 番号が飛んでいても、開いているものは数える。
            const Server server({"/bin/sh", "-c",
                                 "ulimit -n 60; exec \"$0\" 0 8</dev/null 9</dev/null",
                                 model.program},
                                "", {.port = ""});
            const size_t limit =
                60 - 5 - 16 - (model.completes ? 3 : 2) * static_cast<size_t>(model.loops);
            check_limit(model, server, limit);
            Process few = run(model.program, "--help", "ulimit -n 12");
            CHECK(few.wait() == 0);
            CHECK(lines_with(few.output(), ", default 1", "  --clients N ").size() == 1);
        }
    }

    TEST_CASE("満員の間は、だれかが話すか、締め切りが来るまで、一度も起きない") {
        for (const Model& model : every_model_with(&Model::limits)) {
            if (thread_sanitized()) { // 見張りのスレッドが、時々起きる
                continue;
            }
            Process::Numbers numbers = model.crew_of("1");
            numbers.emplace_back("clients", "1");
            const Server server = start(model, {.numbers = numbers});
            const Client first = greet(model, server);
            const Client waiting(server.endpoint);
            settle(server);
            const auto tasks = tasks_of(server.family());
            const long before = switches_while_asleep(tasks);
            std::this_thread::sleep_for(std::chrono::milliseconds{250});
            CHECK(switches_while_asleep(tasks) == before);
        }
    }

    TEST_CASE("話している 100 人がいるときに止めても、届く返事は、送った列の初めのほうと同じ") {
        // バッファーが大きいと、1,000 人で、カーネルが TCP に使えるメモリ (man 7 tcp の tcp_mem) が
        // 尽きる。捨てられたものの再送は倍々に遅れ、deadline まで届かないことがある。
        const int people = number_from_environment("TALKING", 100);
        for (const Model& model : models_with(&Model::drains)) {
            Server server = start(model, {.numbers = {{"clients", "2000"}, {"grace-ms", "60000"}}});
            std::vector<Client> clients;
            clients.reserve(static_cast<size_t>(people));
            for (int i = 0; i < people; ++i) {
                clients.emplace_back(server.endpoint, 64 * 1024);
                REQUIRE(clients.back().echo("hello") == "hello");
            }
            auto talks = talk_endlessly(clients);
            server.signal(SIGTERM);
            for (size_t i = 0; i < clients.size(); ++i) {
                const StreamResult talk = talks[i].get();
                CAPTURE(talk.problem);
                REQUIRE(talk.closed); // 待つのをやめたのなら、数は比べられない
                CHECK(talk.problem.find("バイト目") == std::string::npos);
                clients[i].finish_writing();
                const std::string told = " " + address_of(clients[i]) + ": ";
                CAPTURE(5 + talk.received);
                REQUIRE(logged(server, told)); // "finished 127.0.0.1:50001: 100005 bytes echoed"
                CAPTURE(server.output().substr(server.output().find(told), 80));
                CHECK(logged(server, "finished" + told + std::to_string(5 + talk.received) +
                                         " bytes echoed"));
            }
            CHECK(server.wait() == 0);
        }
    }

    TEST_CASE("受け継いだ待ち受けソケットなら、入れかわる間も、だれも断られない") {
        for (const Model& model : every_model_with(&Model::drains)) {
            const Socket listener = listen_anywhere();
            const Process::Options options = {.listener = listener.fd(), .port = "7"};
            int inlined = 0; // つけておく設定 (common/tcp.cpp) の一つ
            socklen_t size = sizeof inlined;
            setsockopt(listener.fd(), SOL_SOCKET, SO_OOBINLINE, &inlined, size);
            auto server = std::make_unique<Server>(std::vector{model.program}, "", options);
            CHECK(std::string(to_text(server->endpoint).text) == local_address(listener).text);
            getsockopt(listener.fd(), SOL_SOCKET, SO_OOBINLINE, &inlined, &size);
            CHECK(inlined == 1);
            for (int times = 0; times < 10; ++times) {
                const Client served = greet(model, *server);
                server->signal(SIGTERM);
                CHECK(served.receive_until_closed().empty());
                CHECK(eventually([&] { return lines(*server, "stopping: ") == loops(model); }));
                const Client waiting(server->endpoint); // 今はだれも受け付けない
                CHECK(server->running());
                served.finish_writing();
                CHECK(server->wait() == 0);
                server = std::make_unique<Server>(std::vector{model.program}, "", options);
                check_served(model, *server, waiting);
            }
        }
    }

    TEST_CASE("同じ止める知らせが二度届いても、一度と同じ。あとからの Ctrl-C では、すぐに終わる") {
        // PID の名前空間の初めのプロセス (PID 1) には、ハンドラーのないシグナルは届かない。
        const std::string unshare = "exec unshare --pid --map-root-user --fork --kill-child ";
        const bool has_pid_1 =
            available(std::system((unshare + "true 2>/dev/null").c_str()) == 0, "PID の名前空間");
        for (const Model& model : every_model_with(&Model::drains)) {
            for (const int first : {SIGTERM, SIGINT}) {
                CAPTURE(first);
                const bool is_pid_1 = first == SIGTERM && has_pid_1;
                bool within_a_second = false; // 遅い環境では、1 秒たってから届くかもしれない
                for (int tries = 0; tries < 20 && !within_a_second; ++tries) {
                    Server server({"/bin/sh", "-c",
                                   (is_pid_1 ? unshare : "exec ") + "\"$0\" \"$@\"", model.program},
                                  "", {.numbers = {{"grace-ms", "600000"}}});
                    const pid_t target = is_pid_1 ? children_of(server.pid()).at(0) : server.pid();
                    const Client staying = greet(model, server);
                    const auto begin = Clock::now();
                    kill(target, first);
                    CHECK(staying.receive_until_closed().empty());
                    settle(server);
                    for (const int again : {SIGTERM, SIGINT, SIGTERM}) {
                        kill(target, again);
                        settle(server);
                    }
                    within_a_second = Clock::now() - begin < std::chrono::seconds{1};
                    CHECK(lines(server, "stopping: ") == loops(model));
                    CHECK((!within_a_second || server.running()));
                    if (within_a_second) {
                        CHECK(eventually([&] { // 1 秒たてば、その一度で終わる
                            kill(target, SIGTERM);
                            kill(target, SIGINT);
                            return !server.running();
                        }));
                        CHECK(Clock::now() - begin >= std::chrono::seconds{1});
                        CHECK(server.wait() == 1);
                    }
                }
                CHECK(within_a_second);
            }
        }
    }

    TEST_CASE("止める知らせと同時に来た人にも、終わりを言う") {
        for (const Model& model : every_model_with(&Model::drains)) {
            Server server({model.program});
            settle(server);
            server.stop(); // 起きたとき、どちらも届いている
            server.signal(SIGTERM);
            const Client client(server.endpoint);
            client.send("hello");
            server.resume();
            CHECK_NOTHROW(client.receive_until_closed());
            client.finish_writing();
            CHECK(server.wait() == 0);
        }
    }

    TEST_CASE("止めてからも、黙っている人は、決めた時間で閉じられる") {
        for (const Model& model : every_model_with(&Model::drains)) {
            bool in_time = false; // 止めるより先に閉じられたら、もう一度試す
            for (int tries = 0; tries < 20 && !in_time; ++tries) {
                Server server =
                    start(model, {.numbers = {{"idle-ms", "100"}, {"grace-ms", "600000"}}});
                const Client silent = greet(model, server);
                server.signal(SIGTERM);
                CHECK(server.wait() == 0);
                CHECK(lines(server, "stopped: 0 clients cut off") == loops(model));
                in_time = lines(server, "stopping: 1 clients") == 1;
            }
            CHECK(in_time);
        }
    }

    TEST_CASE("ログの読み手が止まっていても、止めれば、みなが去るのを待って終わる") {
        for (const Model& model : models_with(&Model::drains)) {
            UnreadServer server({model.program, "0", "--grace-ms", "600000"});
            const Client served = greet(server.endpoint);
            server.fill_pipe();
            const Client next(server.endpoint); // "accepted" を書けるまで、ループは待つ
            CHECK(eventually([&] { return server.asleep(); }));
            server.signal(SIGTERM);
            for (const Client* const client : {&served, &next}) {
                CHECK(client->receive_until_closed().empty());
                client->finish_writing();
            }
            CHECK(server.wait() == 0);
        }
    }

    TEST_CASE("受け継いだ待ち受けソケットを、ほかの持ち主が閉じても、空回りしない") {
        for (const Model& model : every_model_with(&Model::drains)) {
            const Socket listener = listen_anywhere();
            Server server = start(model, {.listener = listener.fd(), .port = "7"});
            const Client client = greet(model, server);
            shutdown(listener.fd(), SHUT_RDWR);
            CHECK(logged(server, "accept() failed: Invalid argument"));
            CHECK(eventually([&] { return server.asleep(); }));
            CHECK((model.chats || client.echo("still here") == "still here"));
            server.signal(SIGTERM);
            CHECK(client.receive_until_closed().empty());
        }
    }

    TEST_CASE(
        "受け継いだものが、待ち受けソケット一つでなければ始めず、他人のものなら受け継がない") {
        const Socket file{open("/dev/null", O_RDONLY | O_CLOEXEC)};
        const Socket listener = listen_anywhere();
        for (const Model& model : every_model_with(&Model::drains)) {
            for (const auto& [count, fd] : {std::pair{"LISTEN_FDS=1", file.fd()},
                                            {"LISTEN_FDS=2", listener.fd()},
                                            {"LISTEN_FDS=0", listener.fd()}}) {
                Process process({"/usr/bin/env", count, model.program, "0"}, {.listener = fd});
                CHECK(process.wait() == 1);
                CHECK(process.errors() ==
                      std::string("error: ") + count + ": " + std::strerror(EINVAL) + "\n");
            }
            const Server other({"/usr/bin/env", "LISTEN_PID=1", model.program}, "",
                               {.listener = listener.fd()});
            CHECK(std::string(to_text(other.endpoint).text) != local_address(listener).text);
        }
    }
}

// 読者のサーバーにも求めること。SERVER に {idle-ms} などと書いてあれば、make check が確かめる。
TEST_SUITE("protocol of limits") {
    TEST_CASE("決めた時間だけ黙っていれば、ほかにだれも何もしなくても閉じられる") {
        READ("07-timeouts.md「先頭から閉じる」", "11-chat.md「約束」");
        for (const Model& model : every_model_with(&Model::idles)) {
            const Server server = start(model, {.numbers = {{"idle-ms", "50"}}});
            const auto begin = Clock::now();
            const Client silent(server.endpoint);
            REQUIRE_MESSAGE(silent.receive_until_closed().empty(), "黙っている人に、何かを送った");
            REQUIRE_MESSAGE(Clock::now() - begin >= std::chrono::milliseconds{50},
                            "決めた時間よりも早く閉じた");
            CHECK((!model.ours || logged(server, timed_out(silent))));
        }
    }

    TEST_CASE("話しつづける人は閉じられず、そばで黙っている人は、決めた時間で閉じられる") {
        READ("07-timeouts.md「イベントがあれば最後に移す」", "11-chat.md「約束」");
        constexpr std::chrono::milliseconds idle{400};
        for (const Model& model : every_model_with(&Model::idles)) {
            const Server server = start(model, {.numbers = {{"idle-ms", "400"}}});
            bool slow = true; // この環境が遅くて、話しつづけられなかった。もう一度試す
            for (int tries = 0; slow && tries < 50; ++tries) {
                auto last = Clock::now(); // 話した人が
                const Client talking = greet(model, server);
                const Client silent = greet(model, server);
                std::string received; // チャットなら、黙っている人にも、話したことが届く
                const auto replies = [&] {
                    try {
                        if (!model.chats) {
                            return talking.echo("x") == "x";
                        }
                        talking.send("x\n");
                        return !talking.closed(received);
                    } catch (const std::exception&) {
                        return false;
                    }
                };
                const auto end = last + deadline;
                bool replied = true;
                bool closed = false; // 黙っている人が
                slow = false;
                while (replied && !closed && !slow && Clock::now() < end) {
                    closed = silent.closed(received);
                    std::this_thread::sleep_for(idle / 20); // 話しては、少し黙る
                    replied = replies();
                    slow = Clock::now() - last > idle / 2;
                    last = Clock::now();
                }
                REQUIRE_MESSAGE((slow || replied), "話しつづけている人を閉じた");
                REQUIRE_MESSAGE((slow || closed), "ほかの人が話していると、黙っている人を閉じない");
            }
        }
    }

    TEST_CASE("決めた人数までの相手をし、そのあとに来た人は、だれかが去るまで待つ") {
        READ("07-timeouts.md「満員なら空くまで受け付けない」");
        for (const Model& model : models_with(&Model::limits)) {
            check_limit(model, start(model, {.numbers = {{"clients", "3"}}}), 3);
        }
    }

    TEST_CASE("止めても、読んだバイトはすべて返し、みなが去るのを待って終わる") {
        READ("08-shutdown.md「終わり方の順番」");
        for (const Model& model : models_with(&Model::drains)) {
            for (const int number : {SIGTERM, SIGINT}) {
                INFO("止めるシグナル (" << std::string(number == SIGINT ? "SIGINT" : "SIGTERM")
                                        << ") を送った");
                Server server =
                    start(model, {.numbers = {{"clients", "1000"}, {"grace-ms", "60000"}}});
                const Client idle = greet(server.endpoint);
                const Client stalled(server.endpoint); // 返事があるのに、読まない
                const size_t sent = fill(server, stalled, 1);
                settle(server);
                const size_t read = bytes_read(server, stalled, sent);
                REQUIRE_MESSAGE(read < sent, "読まない人がいても、送り手を待たせない");
                ask_to_stop(server, number);
                REQUIRE_MESSAGE(idle.receive_until_closed().empty(), // 送る向きだけが閉じる
                                "話していない人に、何かを送った");
                idle.send("too late");
                REQUIRE_MESSAGE(
                    eventually([&] { return listening_inodes(port_of(server.endpoint)).empty(); }),
                    "待ち受けつづけている");
                CHECK((!model.ours || eventually([&] { return server.asleep(); })));
                REQUIRE_MESSAGE(!has_ended(server.listener), "まだ人がいるのに、すぐに終わった");
                const StreamResult result = stalled.receive_random_stream(1, read);
                REQUIRE_MESSAGE(result, "読んだバイトを、返しおえなかった: " << result.problem);
                // 止まるまでに、もう少し読んだかもしれない。
                const size_t echoed = read + stalled.receive_until_closed().size();
                idle.finish_writing();
                REQUIRE_MESSAGE(!has_ended(server.listener),
                                "返しおえたら、人が去るのを待たずに終わった");
                stalled.finish_writing();
                REQUIRE_MESSAGE(eventually([&] { return has_ended(server.listener); }),
                                "みなが去ったのに、終わらない");
                if (model.ours) {
                    CHECK(server.wait() == 0);
                    CHECK(lines(server, "stopped: 0 clients cut off") == loops(model));
                    CHECK(lines(server, "failed") == 0);
                    CHECK(logged(server, "finished " + address_of(stalled) + ": " +
                                             std::to_string(echoed) + " bytes echoed"));
                }
            }
        }
    }

    TEST_CASE("止めてから待つのは、決めた時間まで") {
        READ("08-shutdown.md「ループを終わらせる」", "11-chat.md「約束」");
        for (const Model& model : every_model_with(&Model::drains)) {
            bool waited = false; // 待っているところを見た。遅い環境では、待つ時間を延ばして試す
            for (int grace = 100; !waited; grace *= 2) {
                Server server = start(model, {.numbers = {{"grace-ms", std::to_string(grace)}}});
                const Client staying = greet(model, server);
                const auto begin = Clock::now();
                ask_to_stop(server, SIGTERM);
                REQUIRE_MESSAGE(staying.receive_until_closed().empty(),
                                "話していない人に、何かを送った");
                const auto ended = [&] { return has_ended(server.listener); };
                eventually([&] { return ended() || server.asleep(); });
                waited = !ended();
                REQUIRE_MESSAGE(eventually(ended), "去らない人がいると、いつまでも終わらない");
                REQUIRE_MESSAGE(Clock::now() - begin >= std::chrono::milliseconds{grace},
                                "決めた時間まで、待たなかった");
                CHECK((!model.ours || server.wait() == 0));
                CHECK((!model.ours || lines(server, "stopped: 1 clients cut off") == 1));
            }
        }
    }
}
