// 失敗と、行儀の悪いクライアントを起こす。失われるのは、多くてもその接続だけ。
// 呼び出しの失敗は、本物のプログラムに strace で起こす (man strace の "Tampering")。

#include "tests/suite/servers.h"

#include "chapters/10-coroutines/loop.h"
#include "chapters/10-coroutines/task.h"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <future>
#include <random>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>

namespace {

using namespace std::chrono_literals;

const std::string waits =
    "?poll,?ppoll,?epoll_wait,?epoll_pwait,?select,?pselect6,?io_uring_enter"; // だれかを待つ

const bool strace_available = std::system("strace -o /dev/null true >/dev/null 2>&1") == 0;
const doctest::skip needs_strace(!strace_available);

// command を strace の下で起こすコマンド。-D なので、起きるプロセスは strace でなく command。
// strace の記録は、標準エラー出力に足される。
std::vector<std::string> failing(const std::string& syscalls, int error, const std::string& when,
                                 const std::vector<std::string>& command) {
    // strace -D は 3 秒で始まらないと SIGALRM で終わり、LeakSanitizer は strace の下で働けない。
    std::vector<std::string> words = {"/usr/bin/env",
                                      "--ignore-signal=ALRM",
                                      "ASAN_OPTIONS=detect_leaks=0",
                                      "strace",
                                      "-DfqqA",
                                      "-o/proc/self/fd/2",
                                      "-etrace=nanosleep,clock_nanosleep," + waits + "," + syscalls,
                                      "-einject=" + syscalls + ":error=" + std::to_string(error) +
                                          ":when=" + when};
    words.insert(words.end(), command.begin(), command.end());
    return words;
}

const std::string ring_denied = "io_uring (Linux 6.0 or later; a container may forbid it)";

size_t injected(const Process& process) {
    return lines_with(process.errors(), "(INJECTED)").size();
}

// 失敗のあとに起きること。
enum class Then {
    unnoticed, // だれも気づかない
    refused,   // その接続だけが、はじめから閉じる
    cut,       // その接続だけが、四回返したあとで閉じる
    next,      // すぐに次の accept(2)
    rest,      // 休んでから次の accept(2)
};

struct Row {
    const char* syscall;
    const char* when; // 何回目の呼び出しを失敗させるか。スレッドごとに数える
    std::vector<int> errors;
    Then then;
    const char* log = " failed: "; // 失敗一つごとのログ
    bool Model::*only = nullptr;
};

const std::vector<int> exhausted = {EMFILE, ENFILE, ENOBUFS, ENOMEM};

const Row rows[] = {
    {"accept,accept4", "1+2", {EINTR}, Then::unnoticed},
    {"accept,accept4", "2..4", {ECONNABORTED}, Then::next, "accept() failed: "},
    {"accept,accept4", "2..4", exhausted, Then::rest, "accept() failed: "},
    {"recvfrom", "1+3", {EINTR}, Then::unnoticed},
    {"recvfrom,sendto", "1+3", {EAGAIN}, Then::unnoticed, " failed: ", &Model::events},
    {"recvfrom", "5", {ECONNRESET, ETIMEDOUT, ENOMEM}, Then::cut, "recv() from 127.0.0.1:"},
    {"sendto", "1+3", {EINTR}, Then::unnoticed},
    {"sendto", "5", {EPIPE, ECONNRESET}, Then::cut, "send() to 127.0.0.1:"},
    {"write", "1+2", {EINTR}, Then::unnoticed},
    {"write", "2+1", {EPIPE, ENOSPC}, Then::unnoticed}, // ログだけが失われる
    {"clone,?fork,?vfork", "2", {EAGAIN, ENOMEM}, Then::refused, "fork() failed: ", &Model::forks},
    {"wait4", "1+2", {EINTR}, Then::unnoticed, " failed: ", &Model::forks},
    {"wait4", "1", {ECHILD}, Then::unnoticed, " failed: ", &Model::forks},
    {"clone,?fork,?vfork", "2", {EAGAIN, ENOMEM}, Then::rest, "fork() failed: ", &Model::preforks},
    {"wait4", "1+2", {EINTR}, Then::unnoticed, " failed: ", &Model::preforks},
    {waits.c_str(), "1+2", {EINTR}, Then::unnoticed, " failed: ", &Model::events},
    {"epoll_ctl", "", {ENOMEM, ENOSPC}, Then::refused, "watching 127.0.0.1:", &Model::epoll},
    {"clone,?clone3", "2", {EAGAIN}, Then::refused, "thread creation failed: ", &Model::threads},
};

bool applies(const Row& row, const Model& model) {
    const std::string syscall = row.syscall;
    if (model.completes && (syscall.starts_with("recvfrom") || syscall == "sendto")) {
        return false; // どちらも呼ばない
    }
    if (model.edge && std::string(row.syscall).starts_with("recvfrom") && row.errors[0] != EINTR) {
        return false; // EAGAIN になる recv(2) も数に入り、偽の EAGAIN のあとには知らせが来ない
    }
    if (row.only != nullptr) {
        return model.*row.only && !thread_sanitized();
    }
    return !sanitized() || std::string(row.syscall) != "write"; // 検査のためにも write(2) を使う
}

void check_fault(const Model& model, const Row& row, int error) {
    const std::string syscall = row.syscall;
    const std::string message = std::strerror(error);
    CAPTURE(syscall);
    CAPTURE(message);
    // 待ち受けソケットなどを預けるのは、失敗させない。
    const std::string when = syscall == "epoll_ctl" ? std::to_string(model.watched + 2) : row.when;
    // 失敗させる回を決められるように、三人とも、同じイベントループに来させる。
    const Process::Numbers numbers = model.loops > 0 ? model.crew_of("1") : Process::Numbers{};
    Server server(failing(syscall, error, when, {model.program}), "", {.numbers = numbers});
    // 失敗させる回はスレッドごとに数えるので、三人を別のスレッドが受け持つように、そろうのを待つ。
    REQUIRE((model.crew == 0 ||
             eventually([&] { return server.usage().threads >= model.crew && server.asleep(); })));
    {
        const Client first(server.endpoint);
        const Client second(server.endpoint);
        // 反復サーバーでは、先に来たほうが去るまで、あとのほうは待つ。
        const Client& victim = model.concurrent ? second : first;
        const Client& bystander = model.concurrent ? first : second;
        bystander.send("before");
        REQUIRE((!model.concurrent || bystander.receive(6) == "before"));
        if (row.then == Then::refused) {
            REQUIRE(victim.receive_until_closed().empty());
        } else if (row.then == Then::cut) {
            for (int i = model.events ? 1 : 0; i < 4; ++i) { // 一回目は "before" のため
                REQUIRE(victim.echo("hello") == "hello");
            }
            if (syscall == "sendto") {
                victim.send("lost");
            } else if (model.events) { // 何か届かなければ、recv(2) を呼ばない
                victim.finish_writing();
            }
            REQUIRE(victim.receive_until_closed().empty());
        } else {
            REQUIRE(victim.echo_random_stream(1, 1'000'000, 32'768));
        }
        REQUIRE((model.concurrent || bystander.receive(6) == "before"));
        REQUIRE(bystander.echo("after") == "after");
    }
    REQUIRE(Client(server.endpoint).echo("later") == "later");
    REQUIRE(server.running());
    REQUIRE(all_reaped(model, server));
    REQUIRE(eventually([&] { return injected(server) > 0; }));

    // 別のスレッドは、まだ次の失敗に向かっているかもしれない。
    REQUIRE(eventually([&] {
        const size_t failures = row.then == Then::unnoticed ? 0 : injected(server);
        return lines(server, row.log) == failures &&
               lines(server, " failed: " + message) == failures &&
               lines(server, " failed: ") == failures;
    }));
    // ログの書き込みが二回目から失敗すれば、行は失われる。作っておいたスレッドは、どれも一回目を書く。
    const bool log_lost = syscall == "write" && error != EINTR;
    const bool by_main = // 一回目に、起動の行を書いている
        (model.crew == 0 && model.loops == 0) || model.hands_over;
    const size_t written = by_main ? 0 : model.loops > 0 ? 1 : 2;
    // 三人目は、去った人の相手をしていたものが受け付けることもある。
    const size_t accepted = lines(server, "accepted 127.0.0.1:");
    REQUIRE(accepted >= (log_lost ? written : 3));
    REQUIRE(accepted <= (log_lost && by_main ? 0 : 3));
    // 同じスレッドが次のクライアントの相手をすれば、その終わりにも、失敗する回が来ることがある。
    const auto lost = [&] {
        return row.then == Then::refused ? 1 : row.then == Then::cut ? injected(server) : 0;
    };
    REQUIRE((log_lost || eventually([&] { return lines(server, "finished ") == 3 - lost(); })));
    // 休むのは、accept(2) を呼ぶスレッド。イベントループなら、出来事を待つ時間を限る。
    const std::string thread =
        model.crew > 0 || model.loops > 0 ? "" : std::to_string(server.pid()) + " ";
    const std::vector<std::string> calls = lines_with(server.errors(), "", thread);
    // 待つ呼び出しは、CPU と C ライブラリーによって違う (epoll_wait か epoll_pwait か)。
    const auto rests = std::ranges::count_if(calls, [](const std::string& call) {
        return contains(call, ", 100) = ") || contains(call, ", 100, NULL, ") ||
               contains(call, "{tv_sec=0, tv_nsec=100000000}") ||
               contains(call, "{tv_sec=0, tv_usec=100000}");
    });
    const auto sleeps = std::ranges::count_if(
        calls, [](const std::string& call) { return contains(call, "nanosleep("); });
    if ((model.crew == 0 && model.loops == 0) ||
        !thread_sanitized()) { // ThreadSanitizer のスレッドも、100 ミリ秒ずつ眠る
        REQUIRE((rests > 0) == (row.then == Then::rest));
        REQUIRE(sleeps == (model.events ? 0 : rests));
    }
}

void check_start(const std::string& program, const std::string& syscall, int error,
                 const std::string& arguments = "") {
    CAPTURE(program);
    CAPTURE(syscall);
    Process process(failing(syscall, error, "1", {program, "0"}));
    CHECK(process.wait() == 1);
    CHECK(process.output().empty());
    CHECK(lines_with(process.errors(), std::strerror(error), "error: " + syscall + " 127.0.0.1:0: ")
              .size() == 1);
    CHECK(eventually([&] { return injected(process) == 1; }));
    CHECK(lines_with(process.errors(), arguments + ")").size() == 1);
}

// strace の下のサーバーだけを止める。止まる前に届いたものは、先に片づけてしまう。
void stop_traced(const Server& server) {
    settle(server);
    server.signal(SIGSTOP);
    REQUIRE(eventually([&] {
        return std::ranges::all_of(tasks_of({server.pid()}), [](const auto& task) {
            const char state = stat_of(task).state;
            return state == 'T' || state == 't';
        });
    }));
}

// チャットに四人が来て (四人目の前に number のシグナルを送る)、初めの一人が words 行を話す。
// 切断された人の数を返す。ほかの人には、話したことのすべてが届く。
size_t people_lost(const Server& server, std::vector<Client>& clients, size_t words,
                   int number = 0) {
    for (int i = 0; i < 4; ++i) {
        server.signal(i == 3 ? number : 0);
        settle(server);
        clients.emplace_back(server.endpoint);
        CHECK(logged(server, "accepted " + address_of(clients.back())));
        settle(server);
    }
    clients[2].send("x\n");
    settle(server);
    const std::string name = address_of(clients[0]);
    std::vector<std::string> said;
    for (size_t i = 0; i < words; ++i) {
        said.push_back(name + ": hello " + std::to_string(i));
        clients[0].send("hello " + std::to_string(i) + "\n");
        settle(server);
    }
    std::string text;
    const bool speaker_lost = clients[0].closed(text); // それなら、去ったことがほかの人に届く
    size_t lost = speaker_lost ? 1 : 0;
    for (size_t i = 1; i < 4; ++i) {
        text.clear();
        const bool cut = clients[i].closed(text);
        CHECK((cut || (speaker_lost ? lines_with(text, " left", name).size() == 1
                                    : lines_with(text, ": hello", name) == said)));
        lost += cut ? 1 : 0;
    }
    return lost;
}

// 一バイトずつ返す。'!' には例外を投げ、'?' のあとは、ループの知らないディスクリプタを待つ。
Task echo_bytes(Loop& loop, Socket socket) {
    const Socket stranger;
    char byte = 0;
    while (co_await receive(loop, byte == '?' ? stranger : socket, {&byte, 1}) == 1) {
        if (byte == '!') {
            throw std::bad_alloc();
        }
        send(socket.fd(), &byte, 1, 0);
    }
    co_return true;
}

// 乱数で選んだ長さと間合いで times 回話し、乱数で選んだように去る。違うものが返れば、それを言う。
std::string visit(const Endpoint& server, std::uint64_t seed, int times) {
    std::mt19937_64 random(seed);
    for (int visits = 0; visits < times; ++visits) {
        Client client(server);
        for (auto left = random() % 8; left > 0; --left) {
            const std::string words(1 + static_cast<size_t>(random() % 2000),
                                    static_cast<char>(random()));
            if (client.echo(words) != words) {
                return "違う言葉が返った";
            }
            std::this_thread::sleep_for(std::chrono::microseconds(random() % 3000));
        }
        const size_t chunk = 1UL << random() % 17;
        const auto total = static_cast<size_t>(random() % (100 * chunk));
        if (random() % 2 == 0) {
            const StreamResult result = client.echo_random_stream(seed, total, chunk);
            if (!result) {
                return result.problem;
            }
            continue;
        }
        client.send_until_full(seed, total, [] { return true; }); // 返事は読まない
        if (random() % 2 == 0) {
            client.finish_writing();
        }
        client.reset();
    }
    return "";
}

} // namespace

TEST_SUITE("fault") {
    TEST_CASE("strace が使える") {
        available(strace_available, "strace");
    }

    TEST_CASE("io_uring が使える" * doctest::skip(!ring_available())) {
        CHECK(ring_available()); // 許さないコンテナーは多いので、CI でも失敗とはせず、省いたと言う
    }

    TEST_CASE("呼び出しが失敗しても、失われるのは多くてその接続だけ" * needs_strace) {
        for (const Row& row : rows) {
            for (const Model& model :
                 models_with([&](const Model& each) { return applies(row, each); })) {
                for (const int error : row.errors) {
                    check_fault(model, row, error);
                }
            }
        }
    }

    TEST_CASE("チャットでも、呼び出しが失敗して失われるのは、多くてもその接続だけ" * needs_strace) {
        const struct {
            const char* syscall;
            const char* when;
            int error;
            size_t lost; // 失われる接続の数
            const char* log;
        } cases[] = {
            {"recvfrom,sendto", "1+3", EINTR, 0, ""},
            {"recvfrom,sendto", "1+3", EAGAIN, 0, ""},
            {"epoll_wait,?epoll_pwait", "1+3", EINTR, 0, ""},
            {"accept4", "2..3", EMFILE, 0, "accept() failed: "},
            {"epoll_ctl", "4", ENOMEM, 1, "watching 127.0.0.1:"},
            {"recvfrom", "1", ECONNRESET, 1, "serving 127.0.0.1:"},
            {"sendto", "5", EPIPE, 1, "serving 127.0.0.1:"},
        };
        for (const Model& model : chats_with(&Model::chats)) {
            for (const auto& row : cases) {
                CAPTURE(std::string(row.syscall));
                CAPTURE(row.error);
                const Server server(failing(row.syscall, row.error, row.when, {model.program}));
                std::vector<Client> clients; // 去るのは、ログを見てから
                CHECK(people_lost(server, clients, 9) <= row.lost);
                CHECK(eventually([&] { return injected(server) > 0; }));
                CHECK(lines_with(server.output(), " failed: ").size() >= row.lost);
                CHECK((row.lost == 0 || lines_with(server.output(), row.log, "[pid ").size() == 1));
            }
        }
    }

    TEST_CASE("チャットでも、打ち切った人に送って失われるのは、その接続だけ") {
        for (const Model& model : chats_with(&Model::chats)) {
            const Server server = start(model);
            const Client speaker = greet(model, server);
            Client leaving = greet(model, server);
            const std::string peer = address_of(leaving);
            server.stop(); // 起きたとき、どれも届いている。先に送るので、EPIPE と SIGPIPE になる
            speaker.send("hello\n");
            leaving.finish_writing();
            leaving.reset();
            server.resume();
            CHECK(logged(server, "serving " + peer + " failed: Broken pipe\n"));
            std::string told = peer + " joined\n";
            told += peer + " left\n";
            CHECK(speaker.receive(told.size()) == told);
        }
    }

    TEST_CASE("チャットでも、どの new が失敗しても、失われるのは、その一人だけ") {
        for (const Model& model : chats_with(&Model::chats)) {
            if (sanitized()) { // 検査は、ほかのライブラリを先に読ませない
                continue;
            }
            const std::string library = "LD_PRELOAD=" + build_directory + "/no_memory.so";
            const Server server({"/usr/bin/env", library, model.program});
            settle(server);
            const int before = usage_of(server.pid()).descriptors;
            int rounds = 0;
            for (size_t lost = 1; lost > 0; ++rounds) {
                std::vector<Client> clients;
                lost = people_lost(server, clients, 1, SIGUSR1); // k 度めは、k 個めが失敗する
                CHECK(lost <= 1);
            }
            CHECK(rounds > 2);
            CHECK(eventually([&] { return usage_of(server.pid()).descriptors == before; }));
        }
    }

    TEST_CASE("どの呼び出しで始められなくても、一行の理由と 1" * needs_strace) {
        for (const Model& model : every_model()) {
            check_start(model.program, "socket", EMFILE);
            check_start(model.program, "setsockopt", ENOMEM);
            check_start(model.program, "bind", EACCES);
            check_start(model.program, "listen", EADDRINUSE, ", " + std::to_string(SOMAXCONN));
        }
        const struct { // 待ち受けてから、イベントループを始めるまで
            std::string name;
            std::string syscall;
            std::function<bool(const Model&)> used;
        } calls[] = {{"epoll", "epoll_create1",
                      [](const Model& each) { return each.epoll || each.completes; }},
                     {"signalfd", "signalfd4", &Model::drains},
                     {"eventfd", "eventfd2", &Model::loops},
                     {ring_denied, "io_uring_setup", &Model::completes}};
        for (const auto& [name, syscall, used] : calls) {
            for (const Model& model : every_model()) {
                if (!used(model)) {
                    continue;
                }
                // どのスレッドも失敗する。一つめが終わるのを遅らせて、次も来るようにする。
                const std::string line = "error: " + name + ": " + std::strerror(EMFILE);
                CAPTURE(line);
                Process process(
                    failing(syscall, EMFILE, "1+",
                            {"-e", "trace=exit_group," + syscall, "-e",
                             "inject=exit_group:delay_enter=300000", model.program, "0"}));
                CHECK(process.wait() == 1);
                const std::string errors = process.errors(); // strace の行と混ざる
                CHECK(contains(errors, line));
                CHECK(errors.find(line) == errors.rfind(line));
            }
        }
        for (const std::string client : {"/client", "/client05"}) {
            check_start(build_directory + client, "socket", EMFILE);
            check_start(build_directory + client, "connect", ECONNREFUSED);
        }
    }

    TEST_CASE("待ち受けソケットを epoll に戻せなければ、戻せるまで試す" * needs_strace) {
        for (const Model& model : models_with(&Model::loops)) {
            // 待ち受けソケット、止める知らせ、一人目、満員なので外す。五回目で戻す。
            const Server server(failing("epoll_ctl", ENOMEM, "5", {model.program}), "",
                                {.numbers = {{"clients", "1"}, {"loops", "1"}}});
            Client first = greet(server.endpoint, "first");
            const Client second(server.endpoint);
            second.send("second");
            first.close();
            CHECK(second.receive(6) == "second");
            CHECK(eventually([&] { return injected(server) == 1; }));
        }
    }

    TEST_CASE("標準入出力が閉じていて、/dev/null も開けなければ、始めない" * needs_strace) {
        for (const Model& model : every_model()) {
            Process process(failing(
                "?open,openat", ENOENT, "1",
                {"-P", "/dev/null", "/bin/sh", "-c", "exec \"$0\" 0 <&- >&- 2>&-", model.program}));
            CHECK(process.wait() == 1);
            CHECK(eventually([&] { return injected(process) == 1; }));
        }
    }

    TEST_CASE("クライアントは、何度割り込まれても、すべてを送り、受け取り、書く" * needs_strace) {
        const Server server({build_directory + "/chapter01"});
        for (const std::string name : {"/client", "/client05"}) {
            const std::string program = build_directory + name;
            std::vector<std::pair<std::string, int>> interruptions = {
                {"read", EINTR},  {"sendto", EINTR}, {"recvfrom", EINTR},
                {"write", EINTR}, {"read", EAGAIN},  {"write", EAGAIN}, // ノンブロッキングの入出力
            };
            if (name == "/client05") {
                interruptions.emplace_back("sendto", EAGAIN); // ソケットもノンブロッキング
            }
            for (const auto& interruption : interruptions) {
                const std::string& syscall = interruption.first;
                const int error = interruption.second;
                for (const std::string& input : {program, std::string("LICENSE")}) { // 長短の二つ
                    INFO(syscall << " " << error << " " << input);
                    std::vector<std::string> command = {program, port_of(server.endpoint)};
                    if (syscall == "read") { // 起動のためにも読むので、入力を読むところだけ
                        command.insert(command.begin(), {"-P", input});
                    }
                    if (error == EAGAIN) { // できるのを待つ poll も、割り込まれる
                        const std::string poll = "inject=?poll,?ppoll:error=EINTR:when=1+2";
                        command.insert(command.begin(), {"-e", poll});
                    }
                    Process client(
                        failing(syscall, error, error == EAGAIN ? "1..9" : "1+2", command),
                        {.input = input});
                    CHECK(client.wait() == 0);
                    CHECK(client.output() == read_text(input));
                    CHECK(eventually([&] { return injected(client) > 0; }));
                }
            }
        }
    }

    TEST_CASE("たくさん送ってくる人がいても、ほかの人の番は、すぐに回ってくる" * needs_strace) {
        for (const Model& model : models_with(&Model::events)) {
            for (const bool flooding_first : {true, false}) { // 後ろから見るイベントループもある
                CAPTURE(flooding_first);
                Server server(failing("recvfrom", EINTR, "65535", {model.program}), "",
                              {.numbers = model.crew_of("1")}); // 記録するだけ
                const Client first(server.endpoint);
                const Client second(server.endpoint);
                const Client& flooding = flooding_first ? first : second;
                const Client& other = flooding_first ? second : first;
                for (int i = 0; i < 200; ++i) { // 話しているうちに、受信バッファーは大きくなる
                    const std::string words(200'000, 'x');
                    REQUIRE(flooding.echo(words) == words);
                }
                REQUIRE(other.echo("before") == "before");
                stop_traced(server);
                const auto unread = [&](const Client& client) {
                    const auto tcp = connection(server, client.port());
                    return tcp ? tcp->unread : 0;
                };
                flooding.send_until_full(1, 64UL << 20U, [] { return true; });
                REQUIRE(eventually([&] { return unread(flooding) > 65'536; })); // 一度では済まない
                other.send("turn");
                REQUIRE(eventually([&] { return unread(other) == 4; }));
                const size_t before = server.errors().size();
                server.signal(SIGCONT);
                REQUIRE(other.receive(4) == "turn");
                const std::string calls = server.errors().substr(before);
                const std::string earlier = calls.substr(0, calls.find("\"turn\""));
                CHECK(lines_with(earlier, ", 0, NULL, NULL) = ").size() <= 1);
            }
        }
    }

    TEST_CASE("いちどに大勢が来ても、64 人ごとに、ほかの人の番になる" * needs_strace) {
        for (const Model& model : models_with(&Model::events)) {
            const Server server(failing("accept4", EINTR, "65535", {model.program}), "",
                                {.numbers = model.crew_of("1")}); // 記録するだけ
            stop_traced(server);
            std::vector<Client> clients;
            clients.reserve(100);
            for (int i = 0; i < 100; ++i) {
                clients.emplace_back(server.endpoint);
            }
            const size_t before = server.errors().size();
            server.signal(SIGCONT);
            CHECK(logged(server, "accepted " + address_of(clients.back())));
            settle(server);
            const std::string wait = model.epoll       ? "epoll_"
                                     : model.selects   ? "select"
                                     : model.completes ? "io_uring_enter"
                                                       : "poll";
            size_t most = 0;
            size_t in_a_row = 0;
            for (const std::string& call : lines_with(server.errors().substr(before), "")) {
                in_a_row =
                    contains(call, wait) ? 0 : in_a_row + (contains(call, "sin_port") ? 1 : 0);
                most = std::max(most, in_a_row);
            }
            CHECK(most == 64);
        }
    }

    TEST_CASE("どの new が失敗しても、失われるのは、その一人だけ") {
        for (const Model& model : models_with([](const Model& each) {
                 return each.events && !sanitized(); // 検査は、ほかのライブラリを先に読ませない
             })) {
            const std::string library = "LD_PRELOAD=" + build_directory + "/no_memory.so";
            Server server({"/usr/bin/env", library, model.program}, "",
                          {.numbers = model.crew_of("1")});
            settle(server);
            const int before = usage_of(server.pid()).descriptors;
            int lost = 0;
            std::optional<Client> client;
            for (bool served = false; !served; lost += served ? 0 : 1) {
                server.signal(SIGUSR1); // 一人めでは一つめが、二人めでは二つめが失敗する
                settle(server);
                client.emplace(server.endpoint);
                CHECK(logged(server, "accepted " + address_of(*client)));
                settle(server);
                served = !client->has_something_to_read() && client->echo("hello") == "hello";
                CHECK((served || logged(server, address_of(*client) + " failed: ")));
            }
            CHECK(lost > 1);
            server.signal(SIGUSR2);
            settle(server);
            CHECK_THROWS(fill(server, *client, 1)); // 返事を読まず、残りを取っておかせる
            CHECK(logged(server, address_of(*client) + " failed: " + std::strerror(ENOMEM)));
            greet(server.endpoint);
            CHECK(eventually([&] { return usage_of(server.pid()).descriptors == before; }));
        }
    }

    TEST_CASE("第10章: 例外を投げても、知らないものを待っても、閉じられるのは、その接続だけ") {
        const Socket screen{dup(STDOUT_FILENO)};
        const Socket nowhere{open("/dev/null", O_WRONLY | O_CLOEXEC)};
        dup2(nowhere.fd(), STDOUT_FILENO); // ログは見ない
        Loop loop{60s};
        std::vector<std::string> replies;
        std::vector<Socket> others;
        for (const char* const words : {"a", "!", "?", "b"}) {
            int ends[2] = {-1, -1};
            socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends);
            watch(loop.epoll, EPOLL_CTL_ADD, ends[0], EPOLLIN);
            loop.start(ends[0], echo_bytes(loop, Socket{ends[0]}));
            others.emplace_back(ends[1]);
            send(ends[1], words, 1, 0);
            loop.resume(ends[0], false);
            char reply = '-';
            std::string text;
            while (recv(ends[1], &reply, 1, MSG_DONTWAIT) == 1) {
                text += reply;
            }
            replies.push_back(text + (errno == EAGAIN ? "" : " closed"));
            errno = 0;
        }
        const size_t left = loop.clients.size();
        dup2(screen.fd(), STDOUT_FILENO);
        CHECK(replies == std::vector<std::string>{"a", " closed", "? closed", "b"});
        CHECK(left == 2);
    }

    TEST_CASE("50 人が好きな長さと間合いで話し、途中で去る者がいても、ほかの者のバイトは違わない") {
        const char* const given = std::getenv("ECHO_TEST_SEED");
        const std::uint64_t seed = given == nullptr ? std::random_device{}() : std::stoull(given);
        INFO("もう一度同じことをするには: ECHO_TEST_SEED=" << seed);
        const int times = number_from_environment("VISITS", 4);
        for (const Model& model : models_with(&Model::concurrent)) {
            Server server({model.program});
            settle(server); // 作っておくものがそろう
            const int before = usage_of(server.pid()).descriptors;
            std::vector<std::future<std::string>> visitors;
            for (std::uint64_t i = 0; i < 50; ++i) {
                visitors.push_back(
                    std::async(std::launch::async, visit, server.endpoint, seed + i, times));
            }
            for (auto& visitor : visitors) {
                CHECK(visitor.get() == "");
            }
            CHECK(server.running());
            CHECK(all_reaped(model, server));
            CHECK(eventually([&] { return usage_of(server.pid()).descriptors == before; }));
        }
    }
}
