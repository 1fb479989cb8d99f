#include "tests/outside/process.h"

#include "common/tcp.h"

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <random>
#include <sstream>
#include <stdexcept>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <thread>

namespace {

// メモリの中のファイル。パイプと違い、だれも読まなくても書き手が止まらない。/tmp
// に書けなくてもよい。
Socket temporary_file() {
    Socket file{memfd_create("output", MFD_CLOEXEC)};
    fcntl(file.fd(), F_SETFL, O_APPEND);
    return file;
}

std::string contents(const Socket& file) {
    return read_text("/proc/self/fd/" + std::to_string(file.fd()));
}

// 終わらせるべきグループ。Ctrl-C で止められたときも、残していかない。
volatile std::sig_atomic_t groups[64];

void end_groups(int number) {
    for (const std::sig_atomic_t group : groups) {
        if (group != 0) {
            kill(-group, SIGKILL);
        }
    }
    std::signal(number, SIG_DFL);
    raise(number);
}

// 裏で起こされると SIGINT は無視されていて、exec(2) はそれを引きつぐ。ハンドラーにしておけば、
// サーバーは既定の動作から始まる。受け継いだディスクリプタも、サーバーには渡さない。
[[maybe_unused]] const bool installed = [] {
    for (int fd = STDERR_FILENO + 1; fd < 1024; ++fd) {
        fcntl(fd, F_SETFD, FD_CLOEXEC);
    }
    for (const int number : {SIGINT, SIGTERM, SIGHUP}) {
        std::signal(number, end_groups);
    }
    return true;
}();

void change_group(pid_t from, pid_t to) {
    const auto is_from = [from](std::sig_atomic_t group) { return group == from; };
    if (auto* const group = std::ranges::find_if(groups, is_from); group != std::end(groups)) {
        *group = to;
    }
}

// 親プロセスが先に終わり、自分の子になったもの (デーモン) を終わらせる。いれば true。
bool end_daemons() {
    bool found = false;
    for (const pid_t child : children_of(getpid())) {
        const pid_t group = stat_of(std::to_string(child)).group;
        const auto is_it = [group](std::sig_atomic_t each) { return each == group; };
        if (group != getpgrp() && std::ranges::none_of(groups, is_it)) {
            kill(-group, SIGKILL);
            waitpid(child, nullptr, 0);
            found = true;
        }
    }
    return found;
}

// 読者に見せる、シグナルの名前。
std::string name_of_signal(int number) {
    constexpr std::pair<int, const char*> names[] = {
        {SIGABRT, "SIGABRT"}, {SIGBUS, "SIGBUS"},   {SIGFPE, "SIGFPE"},
        {SIGILL, "SIGILL"},   {SIGINT, "SIGINT"},   {SIGKILL, "SIGKILL"},
        {SIGPIPE, "SIGPIPE"}, {SIGSEGV, "SIGSEGV"}, {SIGTERM, "SIGTERM"}};
    const auto* const found = std::ranges::find(names, number, &std::pair<int, const char*>::first);
    return found == std::end(names) ? strsignal(number) : found->second;
}

std::vector<std::string> with_arguments(std::vector<std::string> command,
                                        const std::string& address,
                                        const Process::Options& options) {
    for (const auto& [name, number] : options.numbers) { // ポートやアドレスより、先でもよい
        command.insert(command.end(), {"--" + name, number});
    }
    for (const std::string& word : {options.port, address}) {
        command.insert(command.end(), word.empty() ? 0 : 1, word);
    }
    return command;
}

} // namespace

bool eventually(const std::function<bool()>& condition, std::chrono::seconds limit) {
    const auto end = std::chrono::steady_clock::now() + limit;
    Hope hope;
    for (int times = 1; !condition(); ++times) {
        if (std::chrono::steady_clock::now() > end || (times % 50 == 0 && hope.lost())) {
            return condition();
        }
        // 長く待つときは、/proc を読む間を空け、相手に CPU を譲る。
        std::this_thread::sleep_for(std::chrono::milliseconds{times < 50 ? 2 : 10});
    }
    return true;
}

bool Hope::lost() {
    if (!impatient || present == nullptr) {
        return false;
    }
    const double used = present->usage().cpu_seconds;
    begin_ = begin_ < 0 ? used : begin_;
    const long now = switches_while_asleep(tasks_of(present->family()));
    if (now == -1 || now != switches_) {
        switches_ = now;
        since_ = std::chrono::steady_clock::now();
        return used - begin_ > 4;
    }
    return std::chrono::steady_clock::now() - since_ > std::chrono::seconds{2};
}

Process::Process(const std::vector<std::string>& command) : Process(command, Options{}) {}

Process::Process(const std::vector<std::string>& command, const Options& options)
    : output_(temporary_file()), errors_(temporary_file()) {
    latest.clear();
    for (const std::string& word : command) {
        latest += (latest.empty() ? "" : " ") + word;
    }
    const Socket input{
        open(options.input.empty() ? "/dev/null" : options.input.c_str(), O_RDONLY | O_CLOEXEC)};
    const Socket program{open(command[0].c_str(), O_RDONLY | O_CLOEXEC)};
    if (input.fd() == -1 || program.fd() == -1) {
        throw std::runtime_error("cannot open " +
                                 (program.fd() == -1 ? command[0] : options.input));
    }
    int ends[2] = {-1, -1};
    if (options.output_to_pipe && pipe2(ends, O_CLOEXEC) == -1) {
        throw std::runtime_error("pipe failed");
    }
    pipe_ = Socket{ends[0]};
    const Socket write_end{ends[1]};

    std::vector<char*> arguments;
    arguments.reserve(command.size() + 1);
    for (const std::string& word : command) {
        arguments.push_back(const_cast<char*>(word.c_str()));
    }
    arguments.push_back(nullptr);

    const pid_t parent = getpid();
    pid_ = fork();
    if (pid_ == 0) {
        setpgid(0, 0);
        dup2(input.fd(), STDIN_FILENO);
        dup2(write_end.fd() == -1 ? output_.fd() : write_end.fd(), STDOUT_FILENO);
        dup2(options.one_output ? STDOUT_FILENO : errors_.fd(), STDERR_FILENO);
        if (options.listener != -1) {
            dup2(options.listener, 3);
            setenv("LISTEN_PID", std::to_string(getpid()).c_str(), 1);
            setenv("LISTEN_FDS", "1", 1);
        }
        // 見張り役が殺されたら、いっしょに終わる。
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent) {
            _exit(126);
        }
        fexecve(program.fd(), arguments.data(), environ);
        _exit(127);
    }
    if (pid_ == -1) {
        throw std::runtime_error("fork failed");
    }
    setpgid(pid_, pid_); // 子プロセスが先でも自分が先でも、グループはできている
    change_group(0, pid_);
}

Process::~Process() {
    // グループには、サーバーの作った子プロセスもいる。回収するまで、番号は使い回されない。
    kill(-pid_, SIGKILL);
    wait();
    change_group(pid_, 0);
    waitpid(pid_, nullptr, WNOHANG);
}

std::string Process::output() const {
    return contents(output_);
}
std::string Process::errors() const {
    return contents(errors_);
}

void Process::signal(int number) const {
    kill(pid_, number);
}

std::vector<pid_t> Process::family() const {
    return members_of(pid_);
}

Usage Process::usage() const {
    return usage_of(family());
}

void Process::stop() const {
    kill(-pid_, SIGSTOP);
    const bool stopped = eventually([&] {
        return std::ranges::all_of(tasks_of(family()), [](const std::string& task) {
            const char state = stat_of(task).state;
            return state == 'T' || state == 'Z' || state == 0;
        });
    });
    if (!stopped) {
        throw std::runtime_error("SIGSTOP did not stop the process");
    }
}

bool Process::asleep() const {
    // 一つずつ調べる間に、起こしあっているかもしれない。二度とも眠っていて、その間に眠らされた
    // 回数が変わらなければ、だれも動かなかった。
    const long switches = switches_while_asleep(tasks_of(family()));
    return switches != -1 && switches == switches_while_asleep(tasks_of(family()));
}

void Process::resume() const {
    kill(-pid_, SIGCONT);
}

bool Process::running() {
    siginfo_t info{};
    // WNOWAIT: 終わったことだけを知る。回収は、グループを終わらせたあとでする。
    waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOHANG | WNOWAIT);
    if (info.si_pid == pid_) {
        ended_ = true;
        status_ = info.si_code == CLD_EXITED ? info.si_status : 128 + info.si_status;
    }
    return !ended_;
}

int Process::wait(std::chrono::seconds limit) {
    return eventually([this] { return !running(); }, limit) ? status_ : -1;
}

bool contains(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
}

std::vector<std::string> lines_with(const std::string& text, const std::string& part,
                                    const std::string& start) {
    std::vector<std::string> lines;
    std::istringstream stream(text);
    for (std::string line; std::getline(stream, line);) {
        if (line.starts_with(start) && contains(line, part)) {
            lines.push_back(line);
        }
    }
    return lines;
}

Endpoint endpoint_from_text(const std::string& text) {
    const auto colon = text.rfind(':');
    std::string host = text.substr(0, colon);
    if (host.starts_with('[')) {
        host = host.substr(1, host.size() - 2);
    }
    const auto endpoint = parse_endpoint(text.substr(colon + 1).c_str(), host.c_str());
    if (!endpoint) {
        throw std::runtime_error("not an endpoint: " + text);
    }
    return *endpoint;
}

Endpoint endpoint_from_first_line(const std::string& text) {
    const std::string expected = "listening on ";
    if (!text.starts_with(expected)) {
        throw std::runtime_error("not the first line of a server: " + text);
    }
    return endpoint_from_text(text.substr(expected.size(), text.find('\n') - expected.size()));
}

std::string port_of(const Endpoint& endpoint) {
    const std::string text = to_text(endpoint).text;
    return text.substr(text.rfind(':') + 1);
}

Server::Server(std::vector<std::string> command, const std::string& address, const Options& options)
    : Process(with_arguments(std::move(command), address, options), options) {
    std::string first;
    eventually([&] {
        const bool ended = !running(); // 最後の出力を見落とさないよう、先に調べる
        first = output();
        return contains(first, "\n") || ended;
    });
    endpoint = endpoint_from_first_line(first + errors());
    listener = pid();
    present = this;
}

Server::Place Server::borrow_port() {
    static unsigned next = std::random_device{}();
    for (int i = 0; i < 20'000; ++i) {
        const std::string port = std::to_string(10'000 + next++ % 20'000);
        Socket lease{socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
        sockaddr_un name = {AF_UNIX, {}};
        // 0 で始まる名前はファイルにならず、持ち主が終われば消える (man 7 unix)。
        const std::string text = "echo-test-" + port;
        text.copy(name.sun_path + 1, text.size());
        const Socket tcp{socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
        const Endpoint any = *parse_endpoint(port.c_str(), "0.0.0.0");
        if (bind(lease.fd(), reinterpret_cast<const sockaddr*>(&name), sizeof name) == 0 &&
            bind(tcp.fd(), any.address(), any.length) == 0) {
            return {port, std::move(lease), {}};
        }
    }
    throw std::runtime_error("no free port");
}

Server Server::foreign(const std::string& command, const Options& options) {
    Place place = options.port == "0" ? borrow_port() : Place{options.port, {}, {}};
    place.others = listening_inodes(place.port);
    std::string filled = command;
    const auto fill = [&](const std::string& name, const std::string& value) {
        for (size_t at = 0; (at = filled.find(name, at)) != std::string::npos;) {
            filled.replace(at, name.size(), value);
        }
    };
    fill("{port}", place.port);
    Process::Numbers numbers = options.numbers; // 先にあるものが勝つ
    numbers.insert(numbers.end(), {{"idle-ms", "60000"},
                                   {"clients", "20000"},
                                   {"grace-ms", "5000"},
                                   {"threads", "64"},
                                   {"loops", "2"}});
    for (const auto& [name, number] : numbers) {
        fill("{" + name + "}", number);
    }
    prctl(PR_SET_CHILD_SUBREAPER, 1); // 裏へ回ったものは、自分の子になる
    return {filled, std::move(place), options};
}

Server::Server(const std::string& command, Place place, Options options)
    : Process({"/bin/sh", "-c", command}, (options.one_output = true, options)),
      endpoint(*parse_endpoint(place.port.c_str(), "127.0.0.1")), place_(std::move(place)) {
    const auto listens = [&] {
        for (const unsigned long inode : listening_inodes(place_.port)) {
            if (!place_.others.contains(inode)) {
                const auto members = family();
                const auto holder = std::ranges::find_if(
                    members, [&](pid_t member) { return holds_socket(member, inode); });
                listener = holder == members.end() ? pid() : *holder;
                return true;
            }
        }
        return !running();
    };
    // 起動には時間がかかることもあるので、deadline が短くても、前のサーバーが終わっていても待つ。
    present = nullptr;
    const bool listening = eventually(listens, std::max(deadline, std::chrono::seconds{30}));
    eventually([this] { return asleep(); }, std::chrono::seconds{1}); // 待ち受けてから裏へ回るもの
    if (end_daemons()) {
        throw std::runtime_error("サーバーが裏へ回りました "
                                 "(デーモンになりました)。フォアグラウンドで動かしてください: " +
                                 command);
    }
    prctl(PR_SET_CHILD_SUBREAPER, 0);
    if (!listening || listener == -1) {
        throw std::runtime_error("サーバーが待ち受けません: " + command + "\n" + testimony());
    }
    present = this;
}

Server::~Server() {
    present = present == this ? nullptr : present;
    if (!place_.port.empty()) {
        last_words += testimony();
    }
}

std::string Server::testimony() {
    std::string text;
    // 終わりかけているなら、終わるまで待つ。終わるときは、待ち受けソケットから先に閉じる。
    const auto stays = [this] {
        return asleep() && (told_to_stop || !listening_inodes(place_.port).empty());
    };
    eventually([&] { return !running() || stays(); }, std::chrono::seconds{5});
    if (!told_to_stop && !running()) {
        const int status = wait();
        text = status > 128 ? "    サーバーは、シグナル " + name_of_signal(status - 128) +
                                  " で終わっていました\n"
                            : "    サーバーは、終了ステータス " + std::to_string(status) +
                                  " で終わっていました\n";
    }
    const std::vector<std::string> lines = lines_with(output(), "");
    const size_t shown = std::min<size_t>(lines.size(), 10);
    text += shown == 0 ? "" : "    サーバーの書いたものの最後:\n";
    for (size_t i = lines.size() - shown; i < lines.size(); ++i) {
        text += "      | " + lines[i] + "\n";
    }
    return text;
}
