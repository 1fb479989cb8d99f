// すべての章のサーバーを、TCP の向こう側と /proc から見る。

#include "tests/client.h"
#include "tests/process.h"
#include "tests/servers.h"

#include "common/tcp.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <csignal>
#include <fstream>
#include <memory>
#include <set>
#include <sstream>
#include <string>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

namespace {

using Clock = std::chrono::steady_clock;

// AddressSanitizer などは、メモリの量や使えるディスクリプタの数を変えてしまう。
bool sanitized() {
    const std::string build = build_directory();
    return build.find("address") != std::string::npos || build.find("thread") != std::string::npos;
}

std::string port_of(const Endpoint& endpoint) {
    const std::string text = to_text(endpoint).text;
    return text.substr(text.rfind(':') + 1);
}

bool contains(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
}

std::vector<std::string> lines_with(const std::string& text, const std::string& part) {
    std::vector<std::string> lines;
    std::istringstream stream(text);
    for (std::string line; std::getline(stream, line);) {
        if (contains(line, part)) {
            lines.push_back(line);
        }
    }
    return lines;
}

// ログの行の先頭の "[pid 4021 tid 4022]" を読む。
std::pair<int, int> ids_of(const std::string& line) {
    int pid = 0;
    int tid = 0;
    std::sscanf(line.c_str(), "[pid %d tid %d]", &pid, &tid);
    return {pid, tid};
}

// 動いているサーバーの資源の上限を変える。RLIM_INFINITY なら、もとに戻す。
// 他人のプロセスの上限は root でも変えられないことがあるので、持ち主になってから変える。
void set_limit(pid_t pid, __rlimit_resource resource, rlim_t soft) {
    struct stat owner {};
    REQUIRE(stat(("/proc/" + std::to_string(pid)).c_str(), &owner) == 0);
    const pid_t helper = fork();
    if (helper == 0) {
        rlimit limit{};
        const bool done = (owner.st_uid == getuid() ||
                           (setgid(owner.st_gid) == 0 && setuid(owner.st_uid) == 0)) &&
                          prlimit(pid, resource, nullptr, &limit) == 0 &&
                          (limit.rlim_cur = std::min(soft, limit.rlim_max),
                           prlimit(pid, resource, &limit, nullptr) == 0);
        _exit(done ? 0 : 1);
    }
    int status = -1;
    REQUIRE(waitpid(helper, &status, 0) == helper);
    REQUIRE(status == 0);
}

// サーバーが今も一人の相手をできるか。
bool serves(const Server& server) {
    return Client(server.endpoint).echo("still here") == "still here";
}

bool has_ipv6() {
    try {
        create_tcp_server_socket(*parse_endpoint("0", "::1"));
        return true;
    } catch (const std::system_error&) {
        return false;
    }
}

// 終わったあとに残っているもの。始めと比べる。
struct Remains {
    int descriptors;
    int threads;
    int children;
};
Remains remains_of(const Server& server) {
    const Usage usage = usage_of(server.pid());
    return {usage.descriptors, usage.threads, static_cast<int>(children_of(server.pid()).size())};
}
bool operator==(const Remains& a, const Remains& b) {
    return a.descriptors == b.descriptors && a.threads == b.threads && a.children == b.children;
}

} // namespace

TEST_SUITE("server") {
    TEST_CASE("どのアドレスでも待ち受け、最初の行がその場所を言う") {
        struct Row {
            const char* address;
            const char* shown;
            const char* reachable_at;
        };
        const Row rows[] = {
            {"", "listening on 127.0.0.1:", "127.0.0.1"},
            {"127.0.0.1", "listening on 127.0.0.1:", "127.0.0.1"},
            {"0.0.0.0", "listening on 0.0.0.0:", "127.0.0.1"},
            {"::1", "listening on [::1]:", "::1"},
            {"::", "listening on [::]:", "::1"},
        };
        for (const Model& model : models()) {
            for (const Row& row : rows) {
                CAPTURE(model.name);
                CAPTURE(std::string(row.address));
                if (contains(row.reachable_at, ":") && !has_ipv6()) {
                    MESSAGE("IPv6 がないので確かめられない");
                    continue;
                }
                const Server server({model.program}, row.address);
                CHECK(server.output().starts_with(row.shown));
                const auto endpoint =
                    parse_endpoint(port_of(server.endpoint).c_str(), row.reachable_at);
                CHECK(Client(*endpoint).echo("hello") == "hello");
            }
        }
    }

    TEST_CASE("おかしな引数には、理由と使い方と 2") {
        struct Row {
            std::vector<std::string> arguments;
            const char* reason;
        };
        const Row rows[] = {
            {{}, ""},
            {{""}, "error: port \"\" is not a number from 0 to 65535\n"},
            {{"abc"}, "error: port \"abc\" is not a number from 0 to 65535\n"},
            {{"80abc"}, "error: port \"80abc\" is not a number from 0 to 65535\n"},
            {{"-1"}, "error: port \"-1\" is not a number from 0 to 65535\n"},
            {{"65536"}, "error: port \"65536\" is not a number from 0 to 65535\n"},
            {{" 80"}, "error: port \" 80\" is not a number from 0 to 65535\n"},
            {{"0x50"}, "error: port \"0x50\" is not a number from 0 to 65535\n"},
            {{"12345678901234567890"},
             "error: port \"12345678901234567890\" is not a number from 0 to 65535\n"},
            {{"0", "localhost"}, "error: address \"localhost\" is neither IPv4 nor IPv6\n"},
            {{"0", ""}, "error: address \"\" is neither IPv4 nor IPv6\n"},
            {{"0", "127.0.0.1", "more"}, ""},
        };
        std::vector<std::string> programs = {build_directory() + "/client"};
        for (const Model& model : models()) {
            programs.push_back(model.program);
        }
        for (const std::string& program : programs) {
            for (const Row& row : rows) {
                CAPTURE(program);
                CAPTURE(row.reason);
                std::vector<std::string> command = {program};
                command.insert(command.end(), row.arguments.begin(), row.arguments.end());
                Process process(command);
                CHECK(process.wait() == 2);
                CHECK(process.output().empty());
                CHECK(process.errors() ==
                      row.reason + ("usage: " + program) + " <port> [address]\n");
            }
            for (const char* const help : {"-h", "--help"}) {
                Process process({program, help});
                CHECK(process.wait() == 0);
                CHECK(process.output().starts_with("usage: " + program + " <port> [address]\n"));
                CHECK(process.errors().empty());
            }
        }
    }

    TEST_CASE("始められなければ、呼び出しとアドレスと理由の一行と 1") {
        const Socket taken = create_tcp_server_socket(*parse_endpoint("0", "127.0.0.1"));
        const std::string taken_text = local_address(taken).text;
        int first_unprivileged = 1024;
        std::ifstream("/proc/sys/net/ipv4/ip_unprivileged_port_start") >> first_unprivileged;
        struct Row {
            std::string port;
            const char* address;
            std::string reason;
        };
        const Row rows[] = {
            {taken_text.substr(taken_text.find(':') + 1), "127.0.0.1",
             "error: bind " + taken_text + ": Address already in use\n"},
            {"0", "192.0.2.1", "error: bind 192.0.2.1:0: Cannot assign requested address\n"},
            {"1", "127.0.0.1", "error: bind 127.0.0.1:1: Permission denied\n"},
        };
        for (const Model& model : models()) {
            for (const Row& row : rows) {
                CAPTURE(model.name);
                CAPTURE(row.reason);
                if (row.port == "1" && first_unprivileged <= 1) {
                    MESSAGE("この環境ではどのポートにも特権が要らないので確かめられない");
                    continue;
                }
                Process process({model.program, row.port, row.address}, {.as_nobody = true});
                CHECK(process.wait() == 1);
                CHECK(process.output().empty());
                CHECK(process.errors() == row.reason);
            }
        }
    }

    TEST_CASE("64 MiB の乱数列が、どう区切られてもそのまま返る") {
        struct Row {
            size_t total;
            size_t chunk;
        };
        const Row rows[] = {
            {0, 1}, {1, 1}, {3000, 1}, {1 << 20, 1000}, {64UL << 20U, 256UL * 1024}};
        for (const Model& model : models()) {
            const Server server({model.program});
            for (const Row& row : rows) {
                CAPTURE(model.name);
                CAPTURE(row.total);
                CHECK(Client(server.endpoint).echo_random_stream(row.total, row.total, row.chunk));
            }
        }
    }

    TEST_CASE("書き終えた (half-close) クライアントにも、残りを返してから閉じる") {
        for (const Model& model : models()) {
            CAPTURE(model.name);
            const Server server({model.program});
            const Client client(server.endpoint);
            client.send("last words");
            client.finish_writing();
            CHECK(client.receive_until_closed() == "last words");
        }
    }

    TEST_CASE("読まないクライアントが使うメモリには限りがあり、あとで読めばすべてが返る") {
        constexpr size_t limit = 64UL << 20U;
        for (const Model& model : models()) {
            CAPTURE(model.name);
            const Server server({model.program});
            const long before = usage_of(server.pid()).resident_kib;
            const Client client(server.endpoint);
            const size_t sent = client.send_until_full(7, limit, 500);
            CHECK(sent < limit); // 読まれない分は、送り手が待たされる
            long after = usage_of(server.pid()).resident_kib;
            for (const pid_t child : children_of(server.pid())) {
                after += usage_of(child).resident_kib;
            }
            if (!sanitized()) {
                CHECK(after - before < 8 * 1024);
            }
            client.finish_writing();
            CHECK(client.receive_random_stream(7, sent));
            CHECK(client.receive_until_closed().empty());
        }
    }

    TEST_CASE("二人目のクライアントは、第1章では待ち、ほかの章では待たない") {
        for (const Model& model : models()) {
            CAPTURE(model.name);
            const Server server({model.program});
            Client first(server.endpoint);
            CHECK(first.echo("first") == "first");
            const Client second(server.endpoint); // 待たされる章でも、接続はできる
            second.send("second");
            if (model.concurrent) {
                CHECK(second.receive(6) == "second");
                CHECK(first.echo("again") == "again");
            } else {
                for (int i = 0; i < 100; ++i) {
                    CHECK(first.echo("again") == "again");
                }
                CHECK_FALSE(second.has_something_to_read());
                first.close();
                CHECK(second.receive(6) == "second");
            }
        }
    }

    TEST_CASE("ログの PID とスレッド ID が、その章のモデルを見せる") {
        for (const Model& model : models()) {
            CAPTURE(model.name);
            const Server server({model.program});
            for (int i = 0; i < 3; ++i) {
                CHECK(serves(server));
            }
            CHECK(eventually([&] { return lines_with(server.output(), "finished").size() == 3; }));
            const std::string output = server.output();
            std::set<std::pair<int, int>> handlers;
            for (const std::string& line : lines_with(output, "finished")) {
                handlers.insert(ids_of(line));
                CHECK((ids_of(line).first == server.pid()) != model.forks);
                CHECK((ids_of(line).second == server.pid()) == !model.concurrent);
                CHECK(contains(line, ": 10 bytes echoed"));
            }
            CHECK(handlers.size() == (model.concurrent ? 3 : 1));
            CHECK(lines_with(output, "accepted 127.0.0.1:").size() == 3);
            for (const std::string& line : lines_with(output, "accepted")) {
                CHECK(ids_of(line) == std::pair<int, int>(server.pid(), server.pid()));
            }
        }
    }

    TEST_CASE("第3章のログは、今いるクライアントの数を言う") {
        for (const Model& model : models()) {
            if (!model.threads) {
                continue;
            }
            const Server server({model.program});
            std::vector<Client> clients;
            for (int i = 1; i <= 3; ++i) {
                clients.emplace_back(server.endpoint);
                CHECK(clients.back().echo("x") == "x");
                CHECK(contains(server.output(), "serving " + std::to_string(i) + " clients\n"));
            }
            clients.clear();
            CHECK(eventually([&] { return contains(server.output(), "serving 0 clients\n"); }));
        }
    }

    TEST_CASE("ログの読み手が去っても (| head -1)、サービスは続く") {
        for (const Model& model : models()) {
            CAPTURE(model.name);
            // 最初の行だけをパイプから読み、読み口を閉じる。
            Process process({model.program, "0"}, {.output_to_pipe = true});
            char line[100] = {};
            REQUIRE(read(process.output_pipe().fd(), line, sizeof line - 1) > 0);
            process.output_pipe().close();
            const std::string text(line);
            const Endpoint endpoint = endpoint_from_text(text.substr(
                sizeof "listening on " - 1, text.find('\n') - (sizeof "listening on " - 1)));
            for (int i = 0; i < 3; ++i) {
                CHECK(Client(endpoint).echo("hello") == "hello");
            }
            CHECK(process.running());
        }
    }

    TEST_CASE("RST を送って去るクライアントは、自分の接続だけを失う") {
        for (const Model& model : models()) {
            CAPTURE(model.name);
            Server server({model.program});
            std::unique_ptr<Client> bystander;
            if (model.concurrent) {
                bystander = std::make_unique<Client>(server.endpoint);
                CHECK(bystander->echo("before") == "before");
            }
            Client(server.endpoint).reset(); // 受け付けられる前に去るかもしれない
            Client idle(server.endpoint);    // 何も言わずに去る
            idle.reset();
            Client served(server.endpoint); // 話している途中で去る
            CHECK(served.echo("hello") == "hello");
            served.reset();
            Client flooding(server.endpoint); // 返事を読まずに、送っている途中で去る
            flooding.send_until_full(3, 64UL << 20U, 100);
            flooding.reset();
            // 書き終えてから RST を送ると、サーバーの次の send は SIGPIPE を起こす。
            Client leaving(server.endpoint);
            CHECK(leaving.echo("hello") == "hello");
            kill(-server.pid(), SIGSTOP);
            leaving.send("good-bye");
            leaving.finish_writing();
            leaving.reset();
            kill(-server.pid(), SIGCONT);
            CHECK(eventually(
                [&] { return !lines_with(server.output(), "failed: Broken pipe").empty(); }));
            CHECK(eventually([&] {
                return !lines_with(server.output(), "failed: Connection reset by peer").empty();
            }));
            if (bystander) {
                CHECK(bystander->echo("after") == "after");
            }
            CHECK(serves(server));
            CHECK(server.running());
        }
    }

    TEST_CASE("SIGSTOP と SIGCONT は何も失わせない") {
        for (const Model& model : models()) {
            CAPTURE(model.name);
            const Server server({model.program});
            const Client client(server.endpoint);
            CHECK(client.echo("before") == "before");
            for (int i = 0; i < 20; ++i) {
                kill(-server.pid(), SIGSTOP);
                client.send("while stopped");
                kill(-server.pid(), SIGCONT);
                CHECK(client.receive(13) == "while stopped");
            }
            client.finish_writing();
            CHECK(client.receive_until_closed().empty());
            CHECK(serves(server));
        }
    }

    TEST_CASE("ディスクリプタが尽きている間は待ち、空けばまた受け付ける") {
        for (const Model& model : models()) {
            CAPTURE(model.name);
            const Server server({model.program});
            const std::string message = "accept() failed: Too many open files";
            Client first(server.endpoint);
            CHECK(first.echo("before") == "before");
            set_limit(server.pid(), RLIMIT_NOFILE, 3);
            // 待っている accept(2) は番号を先に取ってあるので、もう一人だけは受け付けられる。
            const Client last(server.endpoint);
            const Client waiting(server.endpoint);
            waiting.send("hello");
            const auto start = Clock::now();
            if (model.concurrent) {
                CHECK(last.echo("last") == "last");
            } else {
                first.close(); // 反復サーバーは、去るまで次の accept(2) を呼ばない
            }
            CHECK(eventually([&] { return lines_with(server.output(), message).size() >= 3; }));
            const auto tries = static_cast<long>(lines_with(server.output(), message).size());
            const auto elapsed =
                std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - start);
            CHECK(tries <= elapsed.count() / 100 + 1); // 休まずに試しつづけてはいない
            if (model.concurrent) {
                CHECK(first.echo("while exhausted") == "while exhausted");
            }
            CHECK_FALSE(waiting.has_something_to_read());
            set_limit(server.pid(), RLIMIT_NOFILE, RLIM_INFINITY);
            if (!model.concurrent) {
                last.finish_writing();
                CHECK(last.receive_until_closed().empty());
            }
            CHECK(waiting.receive(5) == "hello");
        }
    }

    TEST_CASE("プロセスやスレッドを作れなければ、そのクライアントだけをあきらめる") {
        for (const Model& model : models()) {
            if (!model.concurrent) {
                continue;
            }
            CAPTURE(model.name);
            // root には上限が効かないので、特権のない利用者として動かす。
            const Server server({model.program}, "", {.as_nobody = true});
            const Client bystander(server.endpoint);
            CHECK(bystander.echo("before") == "before");
            set_limit(server.pid(), RLIMIT_NPROC, 1);
            CHECK(Client(server.endpoint).receive_until_closed().empty());
            CHECK(eventually([&] {
                return !lines_with(server.output(), "failed: Resource temporarily unavailable")
                            .empty();
            }));
            CHECK(bystander.echo("after") == "after");
            set_limit(server.pid(), RLIMIT_NPROC, RLIM_INFINITY);
            CHECK(serves(server));
        }
    }

    TEST_CASE("50 人が来て去れば、だれも来なくてもゾンビは残らない") {
        for (const Model& model : models()) {
            CAPTURE(model.name);
            const Server server({model.program});
            const Remains before = remains_of(server);
            {
                std::vector<Client> clients;
                clients.reserve(50);
                for (int i = 0; i < 50; ++i) {
                    clients.emplace_back(server.endpoint);
                }
                for (const Client& client : clients) {
                    if (model.concurrent) {
                        CHECK(client.echo("hello") == "hello");
                    }
                }
                CHECK((children_of(server.pid()).size() == 50) == model.forks);
            } // 50 人がいっせいに去る
            CHECK(eventually([&] { return remains_of(server) == before; }));
            CHECK(children_of(server.pid(), 'Z').empty());
        }
    }

    TEST_CASE("黙ったままの 1,000 人がいても、全員の相手をする") {
        for (const Model& model : models()) {
            if (!model.concurrent) {
                continue;
            }
            CAPTURE(model.name);
            const Server server({model.program});
            std::vector<Client> clients;
            clients.reserve(1000);
            for (int i = 0; i < 1000; ++i) {
                clients.emplace_back(server.endpoint);
            }
            for (size_t i = clients.size(); i-- > 0;) {
                const std::string message = "client " + std::to_string(i);
                REQUIRE(clients[i].echo(message) == message);
            }
        }
    }

    TEST_CASE("10,000 の接続のあとに、何も残らない") {
        for (const Model& model : models()) {
            CAPTURE(model.name);
            const Server server({model.program});
            const auto connect_and_leave = [&](int times) {
                for (int i = 0; i < times; ++i) {
                    Client client(server.endpoint);
                    REQUIRE(client.echo("x") == "x");
                    client.finish_writing();
                    REQUIRE(client.receive_until_closed().empty());
                }
            };
            const Remains start = remains_of(server);
            connect_and_leave(500); // 最初の数百で、使い回すメモリがそろう
            REQUIRE(eventually([&] { return remains_of(server) == start; }));
            const long before = usage_of(server.pid()).resident_kib;
            connect_and_leave(sanitized() ? 1000 : 9500);
            CHECK(eventually([&] { return remains_of(server) == start; }));
            if (!sanitized()) {
                CHECK(usage_of(server.pid()).resident_kib - before < 1024);
            }
        }
    }

    TEST_CASE("止めたあと、前の接続が残っていても、同じポートですぐに始められる") {
        for (const Model& model : models()) {
            for (const int number : {SIGTERM, SIGINT}) {
                CAPTURE(model.name);
                CAPTURE(number);
                auto first = std::make_unique<Server>(std::vector<std::string>{model.program});
                const std::string port = port_of(first->endpoint);
                const Client lingering(first->endpoint); // 第2章では、この子プロセスが生き残る
                CHECK(lingering.echo("hello") == "hello");
                Client gone(first->endpoint);
                gone.close();
                first->signal(number);
                CHECK(first->wait() == 128 + number);
                Process second({model.program, port});
                CHECK(eventually([&] { return contains(second.output(), "\n"); }));
                CHECK(second.output() == "listening on 127.0.0.1:" + port + "\n");
                CHECK(second.errors().empty());
                if (model.forks) {
                    CHECK(lingering.echo("still served") == "still served");
                }
            }
        }
    }
}
