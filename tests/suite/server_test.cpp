// すべての章のサーバーを、TCP の向こう側と /proc から見る。

#include "tests/suite/servers.h"

#include "common/tcp.h"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <set>
#include <sys/resource.h>
#include <sys/select.h>
#include <unistd.h>

namespace {

using Clock = std::chrono::steady_clock;

// ログの行の先頭の "[pid 4021 tid 4022]" を読む。
std::pair<int, int> ids_of(const std::string& line) {
    int pid = 0;
    int tid = 0;
    std::sscanf(line.c_str(), "[pid %d tid %d]", &pid, &tid);
    return {pid, tid};
}

// --name に渡せない数の、二つの書き方 (sh の言葉) と、断る理由。
std::vector<std::pair<std::string, std::string>> refusals(const std::string& name,
                                                          const std::string& wrong) {
    const std::string why =
        "error: --" + name + " \"" + wrong + "\" is not a number from 1 to 2147483647\n";
    return {{"--" + name + " '" + wrong + "' 0", why},
            {"0 127.0.0.1 --" + name + "='" + wrong + "'", why}};
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
            const bool built =
                std::filesystem::exists(std::filesystem::path(build_directory) / name);
            if (contains(read_text(patch.path()), "\nNeeds: ") && // カーネルかヘッダーが古い
                (!ring_available() || !available(built, name))) {
                continue;
            }
            CHECK(built);
            CHECK((thread_sanitized() || std::ranges::count(models(), name, &Model::name) == 1));
        }
    }

    TEST_CASE("どのアドレスでも待ち受け、最初の行がその場所を言う") {
        const struct {
            std::string address;
            const char* shown;
            const char* reachable_at;
        } rows[] = {
            {"", "listening on 127.0.0.1:", "127.0.0.1"},
            {"127.0.0.1", "listening on 127.0.0.1:", "127.0.0.1"},
            {"0.0.0.0", "listening on 0.0.0.0:", "127.0.0.1"},
            {"::1", "listening on [::1]:", "::1"},
            {"::", "listening on [::]:", "::1"},
        };
        for (const Model& model : models()) {
            for (const auto& row : rows) {
                CAPTURE(row.address);
                if (contains(row.reachable_at, ":") && !available(has_ipv6(), "IPv6")) {
                    continue;
                }
                const Server server({model.program}, row.address);
                CHECK(server.output().starts_with(row.shown));
                greet(*parse_endpoint(port_of(server.endpoint).c_str(), row.reachable_at));
            }
        }
    }

    TEST_CASE("おかしな引数には、理由と使い方と 2") {
        // どこがおかしいかの細かいところは、unit_test.cpp が確かめる。
        std::vector<Model> programs = every_model();
        for (const char* const client : {"client", "client05"}) {
            programs.push_back({.program = build_directory + "/" + client});
        }
        for (const Model& model : programs) {
            std::string usage = "usage: " + model.program + " <port> [address]";
            std::vector<std::pair<std::string, std::string>> rows = {
                // 引数 (sh の言葉) と理由
                {"", ""},
                {"80abc", "error: port \"80abc\" is not a number from 0 to 65535\n"},
                {"0 localhost", "error: address \"localhost\" is neither IPv4 nor IPv6\n"},
                {"0 127.0.0.1 1", ""},
                {"0 --nothing 1", "nothing"}, // 理由の言葉は getopt_long(3) のもの
                {"-1", "1"},
            };
            for (const auto& [name, otherwise] : model.numbers) {
                usage += " [--" + name + " N]";
                rows.insert(rows.end(), {{"--" + name + " 1", ""}, {"0 --" + name, name}});
                for (const std::string wrong : {"", "0", "-1", "8x", "2147483648"}) {
                    std::ranges::copy(refusals(name, wrong), std::back_inserter(rows));
                }
            }
            usage += "\n";
            for (const auto& row : rows) {
                const std::string& why = row.second;
                CAPTURE(model.program);
                CAPTURE(row.first);
                Process process = run(model.program, row.first);
                CHECK(process.wait() == 2);
                CHECK(process.output().empty());
                const std::string errors = process.errors();
                CHECK(errors.ends_with(usage));
                const bool exact = why.empty() || why.ends_with('\n');
                CHECK((exact ? errors == why + usage : contains(errors, why)));
                CHECK(std::ranges::count(errors, '\n') == (why.empty() ? 1 : 2));
            }
            for (const std::string help : {"-h", "--help"}) {
                Process process = run(model.program, "0 " + help);
                CHECK(process.wait() == 0);
                const std::string output = process.output();
                CHECK(output.starts_with(usage + "  port           0 to 65535 "));
                CHECK(lines_with(output, ", default 127.0.0.1", "  address  ").size() == 1);
                for (const auto& [name, otherwise] : model.numbers) {
                    CHECK(lines_with(output, ", default " + otherwise, "  --" + name + " N ")
                              .size() == 1);
                }
                CHECK(process.errors().empty());
            }
            CHECK(run(model.program, "-h > /dev/full").wait() == 1); // 書けなければ、失敗
        }
    }

    TEST_CASE("ループがいくつあっても、一人が来て起きるのは、一つだけ") {
        for (const Model& model : models_with([](const Model& each) { // 見張りのスレッドも起きる
                 return each.loops > 0 && !each.uneven && !thread_sanitized();
             })) {
            const Server server = start(model, {.numbers = {{"loops", "4"}, {"clients", "16"}}});
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
                // ログのパイプを読み手と取り合えば、もう一度眠る。みなが起きれば、40 と 28。
                CHECK(after - before <= 2 * people);
                clients.clear();
                CHECK(eventually([&] { return lines(server, "finished") >= 16; }));
                settle(server);
            }
        }
    }

    TEST_CASE("ログの PID とスレッド ID が、その章のモデルを見せる") {
        for (const Model& model : models()) {
            const Server server({model.program});
            for (int i = 0; i < 3; ++i) {
                const Client client = greet(server.endpoint, "still here");
                CHECK(contains(server.output(), "accepted " + address_of(client) + "\n"));
            }
            CHECK(eventually([&] {
                return lines(server, "finished") == 3 &&
                       lines(server, "forked") == (model.forks ? 3 : 0);
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
            const Client client = greet(server.endpoint);
            const std::vector<std::string> parent = {std::to_string(server.pid())};
            settle(server);
            const long before = switches_while_asleep(parent);
            const pid_t child = children_of(server.pid()).at(0);
            kill(child, SIGSTOP);
            CHECK(eventually([&] { return state_of(child) == 'T'; }));
            kill(child, SIGCONT);
            CHECK(client.echo("again") == "again");
            settle(server);
            CHECK(switches_while_asleep(parent) == before);
        }
    }

    TEST_CASE("スレッドが相手をする章のログは、今いるクライアントの数を言う") {
        for (const Model& model : models_with(&Model::counts)) {
            const Server server({model.program});
            std::vector<Client> clients;
            for (int i = 1; i <= 3; ++i) {
                clients.push_back(greet(server.endpoint, "x"));
                CHECK(contains(server.output(), "serving " + std::to_string(i) + " clients\n"));
            }
            clients.clear();
            CHECK(logged(server, "serving 0 clients\n"));
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
            CHECK(all_reaped(model, server));
            server.signal(SIGTERM);
            CHECK(server.wait() == (model.drains ? 0 : 128 + SIGTERM));
        }
    }

    TEST_CASE("ログの読み手が止まっても、接続は閉じ、読みはじめればすべてが続く") {
        for (const Model& model : models()) {
            UnreadServer server({model.program, "0"});
            const Client client = greet(server.endpoint);
            REQUIRE(server.reads(model.forks ? "forked" : model.counts() ? "serving" : "accepted"));
            // "accepted" の一行しか入らないようにする。止めるときに備えて poll(2) で待つ章では、
            // 空いたページが一つあれば一行を書き、なくなれば待つ。
            server.fill_pipe();
            std::string page(static_cast<size_t>(sysconf(_SC_PAGESIZE)), 'x'); // パイプはページの列
            REQUIRE(read(server.pipe.fd(), page.data(), page.size()) == std::ssize(page));
            page.resize(model.drains
                            ? 0
                            : page.size() - 8 - lines_with(server.text, "accepted").at(0).size());
            REQUIRE(write(server.pipe.fd(), page.data(), page.size()) == std::ssize(page));

            const Client next(server.endpoint);
            next.send("next");
            if (model.forks) { // 親プロセスが "forked" で止まっていても
                next.finish_writing();
                CHECK(next.receive_until_closed() == "next");
            }
            CHECK(client.echo("still here") == "still here");
            client.finish_writing();
            CHECK(client.receive_until_closed().empty());
            CHECK(server.reads("finished " + address_of(client) + ": 15 bytes echoed\n"));
            CHECK((model.forks || next.receive(4) == "next"));
        }
    }

    TEST_CASE("上限を、見張っている数より下げられても、みなの相手をつづけ、空回りしない") {
        for (const Model& model :
             models_with([](const Model& each) { return each.concurrent && each.crew == 0; })) {
            const Server server({model.program});
            const std::vector<Client> clients = crowd(server, 10);
            const rlimit few = {5, 5};
            REQUIRE(prlimit(server.pid(), RLIMIT_NOFILE, &few, nullptr) == 0);
            for (const Client& client : clients) {
                CHECK(client.echo("after") == "after");
            }
            settle(server);
        }
    }

    TEST_CASE("ディスクリプタより多いスレッドは、始めない") {
        for (const Model& model : models_with(&Model::pools)) {
            Process process = run(model.program, "0 --threads 60", "ulimit -n 60");
            CHECK(process.wait() == 1);
            CHECK(process.errors() ==
                  std::string("error: threads: ") + std::strerror(EMFILE) + "\n");
        }
    }

    TEST_CASE("約束した数のスレッドを作れなければ、始めない") {
        for (const Model& model : models_with([](const Model& each) {
                 return (each.pools() || each.loops > 0) && !sanitized(); // 検査には小さすぎる上限
             })) {
            // 受け継いだ待ち受けソケットなら、先に並んでいた人は、次に始まるサーバーを待つ。
            const Socket listener = listen_anywhere();
            const Client waiting(endpoint_from_text(local_address(listener).text));
            waiting.send("hello");
            // 千のスタックは、musl の 128 KiB ずつでも入らない。
            Process process = run(model.program, "0 --" + model.numbers.back().first + "=1000",
                                  "ulimit -v 100000", {.listener = listener.fd()});
            CHECK(process.wait() == 1);
            // ほかのループのリングのメモリが、先に尽きることもある。
            const bool ring = model.completes && contains(process.errors(), "error: io_uring");
            const std::string what = ring              ? "error: io_uring"
                                     : model.loops > 0 ? "error: event loop"
                                                       : "error: thread";
            const std::string why = ring ? "" : ": Resource temporarily unavailable";
            CHECK(lines_with(process.errors(), why, what).size() == 1);
            CHECK_FALSE(contains(process.output(), "accepted"));
            if (model.drains) {
                const Server next = start(model, {.listener = listener.fd(), .port = "7"});
                CHECK(waiting.receive(5) == "hello");
            }
        }
    }

    TEST_CASE("受け付けて待たせておく人数には限りがあり、待っていた人も、順に相手をしてもらえる") {
        for (const Model& model : models_with(&Model::crew)) {
            const Server server = start(model, {.numbers = model.crew_of("1")});
            Client first = greet(server.endpoint, "first");
            std::vector<Client> clients;
            for (int i = 0; i < 100; ++i) {
                clients.emplace_back(server.endpoint);
                clients.back().send("hello");
                clients.back().finish_writing();
            }
            // 相手をしてもらっている一人。行列があれば、そこに並ぶ 64 人と、空くのを待つ一人。
            const size_t few = model.hands_over ? 1 + 64 + 1 : 1;
            CHECK(eventually([&] { return lines(server, "accepted") >= few && server.asleep(); }));
            CHECK(lines(server, "accepted") == few);
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
            CHECK(logged(server, "child " + std::to_string(child) + " ended\n"));
            CHECK(all_reaped(model, server));
            CHECK(children_of(server.pid(), 'Z').empty());
        }
    }

    TEST_CASE("始めてすぐに落ちる子プロセスの代わりを、休まずに作りつづけない") {
        for (const Model& model : models_with(&Model::preforks)) {
            const Server server = start(model, {.numbers = model.crew_of("1")});
            const auto start = Clock::now();
            CHECK(eventually([&] {
                for (const pid_t child : children_of(server.pid())) {
                    kill(child, SIGKILL);
                }
                return lines(server, " ended") >= 5;
            }));
            CHECK(Clock::now() - start >= std::chrono::milliseconds{400});
            greet(server.endpoint);
        }
    }

    TEST_CASE("親プロセスがどう終わっても、作っておいた子プロセスは残らない") {
        for (const Model& model : models_with(&Model::preforks)) {
            for (const int number : {SIGTERM, SIGKILL}) {
                CAPTURE(number);
                Server server({model.program});
                const Client client = greet(server.endpoint);
                CHECK(all_reaped(model, server));
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
            constexpr size_t number = FD_SETSIZE + 50;
            if (!available(limit.rlim_cur >= number + 50, "ディスクリプタの上限の余り")) {
                continue;
            }
            Server server({model.program});
            const auto watched = FD_SETSIZE - static_cast<size_t>(server.usage().descriptors);
            std::vector<Client> clients;
            clients.reserve(number);
            while (clients.size() < number) {
                clients.emplace_back(server.endpoint);
            }
            for (size_t i = 0; i < number; ++i) {
                if (i < watched) {
                    CHECK(clients[i].echo("hello") == "hello");
                } else {
                    CHECK(clients[i].receive_until_closed().empty());
                }
            }
            CHECK(lines(server, " is too large for select()") == number - watched);
            clients.erase(clients.begin(), clients.begin() + 100); // 小さい番号が空く
            CHECK(eventually([&] { return lines(server, "finished") == 100; }));
            greet(server.endpoint);
            CHECK(server.running());
        }
    }
}
