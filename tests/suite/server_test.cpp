// すべての章のサーバーを、TCP の向こう側と /proc から見る。

#include "tests/outside/client.h"
#include "tests/outside/process.h"
#include "tests/suite/servers.h"

#include "common/tcp.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>
#include <string>
#include <sys/resource.h>
#include <sys/select.h>
#include <unistd.h>

namespace {

using Clock = std::chrono::steady_clock;

bool contains(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
}

// ログの行の先頭の "[pid 4021 tid 4022]" を読む。
std::pair<int, int> ids_of(const std::string& line) {
    int pid = 0;
    int tid = 0;
    std::sscanf(line.c_str(), "[pid %d tid %d]", &pid, &tid);
    return {pid, tid};
}

// 起動の失敗の行の終わり。言葉は C ライブラリーによって違う。
std::string reason(int error) {
    return std::string(": ") + std::strerror(error) + "\n";
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

} // namespace

TEST_SUITE("server") {
    TEST_CASE("別の方式のサーバーは、どれも作られていて、章のサーバーと同じことを確かめる") {
        if (!own_program.empty()) { // make why が試すのは、章のサーバーだけ
            return;
        }
        for (const auto& patch : std::filesystem::directory_iterator("tests/variants")) {
            const std::string name = "variant/" + patch.path().stem().string();
            CAPTURE(name);
            CHECK(std::filesystem::exists(std::filesystem::path(build_directory) / name));
            CHECK((thread_sanitized() || std::ranges::count(models(), name, &Model::name) == 1));
        }
    }

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
                CAPTURE(std::string(row.address));
                if (contains(row.reachable_at, ":") && !available(has_ipv6(), "IPv6")) {
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
        // どこがおかしいかの細かいところは、unit_test.cpp が確かめる。
        struct Row {
            std::vector<std::string> arguments;
            std::string reason;
        };
        const Row common[] = {
            {{}, ""},
            {{"80abc"}, "error: port \"80abc\" is not a number from 0 to 65535\n"},
            {{"0", "localhost"}, "error: address \"localhost\" is neither IPv4 nor IPv6\n"},
            {{"0", "127.0.0.1", "1"}, ""},
            {{"0", "--nothing", "1"}, "--nothing"}, // 理由の言葉は getopt_long(3) のもの
            {{"-1"}, "1"},
        };
        std::vector<Model> programs = models();
        programs.push_back({.name = "client", .program = build_directory + "/client"});
        programs.push_back({.name = "client05", .program = build_directory + "/client05"});
        for (const Model& model : programs) {
            const std::string& program = model.program;
            std::string usage = "usage: " + program + " <port> [address]";
            std::vector<Row> rows(std::begin(common), std::end(common));
            for (const std::string& name : model.numbers) {
                usage += " [--" + name + " N]";
                rows.push_back({{"--" + name, "1"}, ""});
                rows.push_back({{"0", "--" + name}, name});
                for (const std::string wrong : {"", "0", "-1", "8x", "2147483648"}) {
                    std::string reason = "error: --";
                    reason.append(name).append(" \"").append(wrong).append(
                        "\" is not a number from 1 to 2147483647\n");
                    std::string joined = "--";
                    joined.append(name).append("=").append(wrong);
                    rows.push_back({{"--" + name, wrong, "0"}, reason});
                    rows.push_back({{"0", "127.0.0.1", joined}, reason});
                }
            }
            usage += "\n";
            for (const Row& row : rows) {
                CAPTURE(program);
                CAPTURE(row.reason);
                std::vector<std::string> command = {program};
                command.insert(command.end(), row.arguments.begin(), row.arguments.end());
                Process process(command);
                CHECK(process.wait() == 2);
                CHECK(process.output().empty());
                const std::string errors = process.errors();
                CHECK(errors.ends_with(usage));
                const bool exact = row.reason.empty() || row.reason.ends_with('\n');
                CHECK((exact ? errors == row.reason + usage : contains(errors, row.reason)));
                CHECK(std::ranges::count(errors, '\n') == (row.reason.empty() ? 1 : 2));
            }
            for (const char* const help : {"-h", "--help"}) {
                Process process({program, "0", help});
                CHECK(process.wait() == 0);
                CHECK(process.output() ==
                      usage +
                          "  port           0 to 65535 (a server lets the kernel choose with 0)\n"
                          "  address        an IPv4 or IPv6 address without a scope (%eth0), "
                          "default 127.0.0.1\n" +
                          model.help);
                CHECK(process.errors().empty());
                Process full({"/bin/sh", "-c", "exec \"$0\" $1 > /dev/full", program, help});
                CHECK(full.wait() == 1); // 書けなければ、成功とは言わない
            }
        }
    }

    TEST_CASE("ループがいくつあっても、一人が来て起きるのは、一つだけ") {
        for (const Model& model : models()) {
            if (model.loops == 0 || model.uneven || thread_sanitized()) {
                continue; // ThreadSanitizer のスレッドも起きる
            }
            Process::Numbers numbers = model.crew_of("4");
            numbers.emplace_back("clients", "16");
            const Server server({model.program}, "", {.numbers = numbers});
            settle(server);
            const auto tasks = tasks_of(server.family());
            // 一度めは、どのループも満員になる。二度めは、戻した待ち受けソケットに来る。
            for (const int people : {16, 8}) {
                std::vector<Client> clients;
                const long before = switches_while_asleep(tasks);
                long after = -1;
                for (int i = 0; i < people; ++i) {
                    clients.emplace_back(server.endpoint);
                    CHECK(logged(server, "accepted " + address_of(clients.back())));
                    CHECK(eventually([&] { return (after = switches_while_asleep(tasks)) != -1; }));
                }
                CHECK(after - before >= people);
                CHECK(after - before < 2 * people); // みなが起きれば、40 と 28
                clients.clear();
                CHECK(eventually(
                    [&] { return lines_with(server.output(), "finished").size() >= 16; }));
                settle(server);
            }
        }
    }

    TEST_CASE("ログの PID とスレッド ID が、その章のモデルを見せる") {
        for (const Model& model : models()) {
            const Server server({model.program});
            for (int i = 0; i < 3; ++i) {
                const Client client(server.endpoint);
                CHECK(client.echo("still here") == "still here");
                CHECK(contains(server.output(), "accepted " + address_of(client) + "\n"));
            }
            CHECK(eventually([&] {
                return lines_with(server.output(), "finished").size() == 3 &&
                       lines_with(server.output(), "forked").size() == (model.forks ? 3 : 0);
            }));
            const std::string output = server.output();
            std::set<std::pair<int, int>> handlers;
            for (const std::string& line : lines_with(output, "finished")) {
                handlers.insert(ids_of(line));
                CHECK((ids_of(line).first == server.pid()) != (model.forks || model.preforks));
                CHECK(contains(line, ": 10 bytes echoed"));
                const std::string child = std::to_string(ids_of(line).first);
                CHECK(contains(output, "forked child " + child + "\n") == model.forks);
            }
            std::set<std::pair<int, int>> acceptors;
            CHECK(lines_with(output, "accepted 127.0.0.1:").size() == 3);
            for (const std::string& line : lines_with(output, "accepted")) {
                acceptors.insert(ids_of(line));
            }
            const std::pair<int, int> main_thread = {server.pid(), server.pid()};
            if (model.forks || model.threads || model.hands_over) { // main は受け付けるだけ
                CHECK((model.hands_over || handlers.size() == 3)); // 相手をするのは一人に一つ
                CHECK_FALSE(handlers.contains(main_thread));
                CHECK(acceptors == std::set{main_thread});
            } else {
                CHECK(handlers == acceptors); // 受け付けたものが、相手もする
                CHECK((model.crew > 0 || model.loops > 0 || handlers == std::set{main_thread}));
            }
        }
    }

    TEST_CASE("子プロセスが止められても、親プロセスは起こされない") {
        for (const Model& model : models_with(&Model::forks)) {
            const Server server({model.program});
            const Client client(server.endpoint);
            CHECK(client.echo("hello") == "hello");
            // 親プロセスが眠った回数。
            const auto sleeps = [&] {
                CHECK(eventually([&] { return server.asleep(); }));
                std::ifstream status("/proc/" + std::to_string(server.pid()) + "/status");
                const std::string text{std::istreambuf_iterator<char>(status), {}};
                return lines_with(text, "", "voluntary_ctxt_switches:");
            };
            const auto before = sleeps();
            const pid_t child = children_of(server.pid()).at(0);
            kill(child, SIGSTOP);
            CHECK(eventually([&] { return state_of(child) == 'T'; }));
            kill(child, SIGCONT);
            CHECK(client.echo("again") == "again");
            CHECK(sleeps() == before);
        }
    }

    TEST_CASE("スレッドが相手をする章のログは、今いるクライアントの数を言う") {
        for (const Model& model : models()) {
            if (!model.counts()) {
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

    TEST_CASE("標準入出力が閉じ、シグナルがブロックされていても、ログはクライアントに届かず、"
              "ゾンビは残らない") {
        for (const Model& model : models()) {
            sigset_t all;
            sigset_t before;
            sigfillset(&all);
            pthread_sigmask(SIG_BLOCK, &all, &before); // fork(2) も execve(2) も越えて残る
            Server server = Server::foreign("exec " + model.program + " {port} <&- >&- 2>&- 3>&-");
            pthread_sigmask(SIG_SETMASK, &before, nullptr);
            const Client client(server.endpoint);
            client.send("hello");
            client.finish_writing();
            CHECK(client.receive_until_closed() == "hello");
            const std::string proc = "/proc/" + std::to_string(server.pid());
            for (const char* const fd : {"/fd/0", "/fd/1", "/fd/2"}) {
                CHECK(std::filesystem::read_symlink(proc + fd) == "/dev/null");
            }
            CHECK((model.loops > 0 || // イベントループに配ったあとは、閉じている
                   contains(std::filesystem::read_symlink(proc + "/fd/3"), "socket:")));
            CHECK((thread_sanitized() || eventually([&] {
                       return std::ssize(children_of(server.pid())) == model.children();
                   })));
            server.signal(SIGTERM);
            CHECK(server.wait() == (model.drains ? 0 : 128 + SIGTERM));
        }
    }

    TEST_CASE("ログの読み手が止まっても、接続は閉じ、読みはじめればすべてが続く") {
        for (const Model& model : models()) {
            Process process({model.program, "0"}, {.output_to_pipe = true});
            const std::string path = "/proc/self/fd/" + std::to_string(process.output_pipe().fd());
            const Socket pipe{open(path.c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC)};
            std::string output;
            const auto reads = [&](const std::string& expected) {
                return eventually([&] {
                    char text[4096];
                    const ssize_t n = read(pipe.fd(), text, sizeof text);
                    output.append(text, n > 0 ? static_cast<size_t>(n) : 0);
                    return contains(output, expected);
                });
            };
            REQUIRE(reads("\n"));
            const Endpoint endpoint = endpoint_from_first_line(output);
            const Client client(endpoint);
            CHECK(client.echo("hello") == "hello");
            REQUIRE(reads(model.forks ? "forked" : model.counts() ? "serving" : "accepted"));
            // "accepted" の一行しか入らないようにする。止めるときに備えて poll(2) で待つ章では、
            // 空いたページが一つあれば一行を書き、なくなれば待つ。
            while (write(pipe.fd(), "x", 1) == 1) {
            }
            std::string page(static_cast<size_t>(sysconf(_SC_PAGESIZE)), 'x'); // パイプはページの列
            REQUIRE(read(pipe.fd(), page.data(), page.size()) == static_cast<ssize_t>(page.size()));
            page.resize(
                model.drains ? 0 : page.size() - lines_with(output, "accepted").at(0).size() - 8);
            REQUIRE(write(pipe.fd(), page.data(), page.size()) ==
                    static_cast<ssize_t>(page.size()));

            const Client next(endpoint);
            next.send("next");
            if (model.forks) { // 親プロセスが "forked" で止まっていても
                next.finish_writing();
                CHECK(next.receive_until_closed() == "next");
            }
            CHECK(client.echo("still here") == "still here");
            client.finish_writing();
            CHECK(client.receive_until_closed().empty());
            CHECK(reads("finished " + address_of(client) + ": 15 bytes echoed\n"));
            CHECK((model.forks || next.receive(4) == "next"));
        }
    }

    TEST_CASE("上限を、見張っている数より下げられても、みなの相手をつづけ、空回りしない") {
        for (const Model& model : models()) {
            if (!model.concurrent || model.crew > 0) {
                continue;
            }
            const Server server({model.program});
            std::vector<Client> clients;
            for (int i = 0; i < 10; ++i) {
                clients.emplace_back(server.endpoint);
                CHECK(clients.back().echo("before") == "before");
            }
            const rlimit few = {5, 5};
            REQUIRE(prlimit(server.pid(), RLIMIT_NOFILE, &few, nullptr) == 0);
            for (const Client& client : clients) {
                CHECK(client.echo("after") == "after");
            }
            CHECK(eventually([&] { return server.asleep(); }));
        }
    }

    TEST_CASE("ディスクリプタより多いスレッドは、始めない") {
        for (const Model& model : models()) {
            if (model.crew == 0 || model.preforks) {
                continue;
            }
            Process process(
                {"/bin/sh", "-c", "ulimit -n 60; exec \"$0\" 0 --threads 60", model.program});
            CHECK(process.wait() == 1);
            CHECK(process.errors() == "error: threads" + reason(EMFILE));
        }
    }

    TEST_CASE("約束した数のスレッドを作れなければ、始めない") {
        for (const Model& model : models()) {
            // サニタイザーには、上限が小さすぎる。上限は、プロセスの一つずつに効く。
            if ((model.crew == 0 && model.loops == 0) || model.preforks || sanitized()) {
                continue;
            }
            // 受け継いだ待ち受けソケットなら、先に並んでいた人は、次に始まるサーバーを待つ。
            const Socket listener = create_tcp_server_socket(*parse_endpoint("0", "127.0.0.1"));
            const Client waiting(endpoint_from_text(local_address(listener).text));
            waiting.send("hello");
            Process process({"/bin/sh", "-c", "ulimit -v 300000; exec \"$0\" 0 --$1=1000",
                             model.program, model.numbers.back()},
                            {.listener = listener.fd()});
            CHECK(process.wait() == 1);
            const std::string what = model.loops > 0 ? "error: event loop" : "error: thread";
            CHECK(lines_with(process.errors(), ": Resource temporarily unavailable", what).size() ==
                  1);
            CHECK_FALSE(contains(process.output(), "accepted"));
            if (model.drains) {
                const Server next({model.program}, "", {.listener = listener.fd(), .port = "7"});
                CHECK(waiting.receive(5) == "hello");
            }
        }
    }

    TEST_CASE("受け付けて待たせておく人数には限りがあり、待っていた人も、順に相手をしてもらえる") {
        for (const Model& model : models()) {
            if (model.crew == 0) {
                continue;
            }
            const Server server({model.program}, "", {.numbers = model.crew_of("1")});
            Client first(server.endpoint);
            CHECK(first.echo("first") == "first");
            std::vector<Client> clients;
            for (int i = 0; i < 100; ++i) {
                clients.emplace_back(server.endpoint);
                clients.back().send("hello");
                clients.back().finish_writing();
            }
            // 相手をしてもらっている一人。行列があれば、そこに並ぶ 64 人と、空くのを待つ一人。
            const size_t few = model.hands_over ? 1 + 64 + 1 : 1;
            const auto accepted = [&] { return lines_with(server.output(), "accepted").size(); };
            CHECK(eventually([&] { return accepted() >= few && server.asleep(); }));
            CHECK(accepted() == few);
            first.close();
            for (const Client& client : clients) {
                CHECK(client.receive_until_closed() == "hello");
            }
        }
    }

    TEST_CASE("作っておいた子プロセスが落ちても、失われるのはその一人だけで、代わりが作られる") {
        for (const Model& model : models_with(&Model::preforks)) {
            // SIGCHLD は無視するように言われて始まる。
            const Server server({"/usr/bin/env", "--ignore-signal=CHLD", model.program});
            const Client victim(server.endpoint);
            const Client bystander(server.endpoint);
            CHECK(victim.echo("before") == "before");
            CHECK(bystander.echo("before") == "before");
            const std::string accepted = "accepted " + address_of(victim);
            const pid_t child = ids_of(lines_with(server.output(), accepted).at(0)).first;
            kill(child, SIGKILL);
            CHECK(victim.receive_until_closed().empty());
            CHECK(bystander.echo("after") == "after");
            CHECK(eventually([&] {
                return contains(server.output(), "child " + std::to_string(child) + " ended\n") &&
                       std::ssize(children_of(server.pid())) == model.crew &&
                       children_of(server.pid(), 'Z').empty();
            }));
        }
    }

    TEST_CASE("始めてすぐに落ちる子プロセスの代わりを、休まずに作りつづけない") {
        for (const Model& model : models_with(&Model::preforks)) {
            const Server server({model.program}, "", {.numbers = model.crew_of("1")});
            const auto start = Clock::now();
            CHECK(eventually([&] {
                for (const pid_t child : children_of(server.pid())) {
                    kill(child, SIGKILL);
                }
                return lines_with(server.output(), " ended").size() >= 5;
            }));
            CHECK(Clock::now() - start >= std::chrono::milliseconds{400});
            CHECK(serves(server));
        }
    }

    TEST_CASE("親プロセスがどう終わっても、作っておいた子プロセスは残らない") {
        for (const Model& model : models()) {
            for (const int number : {SIGTERM, SIGKILL}) {
                if (!model.preforks) {
                    continue;
                }
                CAPTURE(number);
                Server server({model.program});
                const Client client(server.endpoint);
                CHECK(client.echo("hello") == "hello");
                CHECK(eventually([&] { return std::ssize(server.family()) == 1 + model.crew; }));
                server.signal(number);
                CHECK(server.wait() == 128 + number);
                CHECK(eventually([&] { return std::ranges::all_of(server.family(), has_ended); }));
                CHECK(client.receive_until_closed().empty());
            }
        }
    }

    TEST_CASE("select が見張れない番号のディスクリプタになれば、その接続だけを閉じる") {
        rlimit limit{};
        getrlimit(RLIMIT_NOFILE, &limit);
        for (const Model& model : models_with(&Model::selects)) {
            const int number = FD_SETSIZE + 50;
            if (!available(limit.rlim_cur >= number + 50, "ディスクリプタの上限の余り")) {
                continue;
            }
            Server server({model.program});
            const int watched = FD_SETSIZE - usage_of(server.pid()).descriptors;
            std::vector<Client> clients;
            clients.reserve(static_cast<size_t>(number));
            for (int i = 0; i < number; ++i) {
                clients.emplace_back(server.endpoint);
            }
            for (int i = 0; i < number; ++i) {
                const Client& client = clients.at(static_cast<size_t>(i));
                if (i < watched) {
                    CHECK(client.echo("hello") == "hello");
                } else {
                    CHECK(client.receive_until_closed().empty());
                }
            }
            CHECK(std::ssize(lines_with(server.output(), " is too large for select()")) ==
                  number - watched);
            clients.erase(clients.begin(), clients.begin() + 100); // 小さい番号が空く
            CHECK(
                eventually([&] { return lines_with(server.output(), "finished").size() == 100; }));
            CHECK(serves(server));
            CHECK(server.running());
        }
    }
}
