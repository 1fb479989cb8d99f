#include "tests/process.h"

#include "common/tcp.h"

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <dirent.h>
#include <fcntl.h>
#include <fstream>
#include <grp.h>
#include <sstream>
#include <stdexcept>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <thread>

namespace {

constexpr uid_t nobody = 65534;

// 名前のない一時ファイル。パイプと違い、だれも読まなくても書き手が止まらない。
Socket temporary_file() {
    char path[] = "/tmp/echo-test-XXXXXX";
    Socket file{mkostemp(path, O_CLOEXEC | O_APPEND)};
    unlink(path);
    return file;
}

std::string contents(const Socket& file) {
    std::string text;
    char buffer[65536];
    for (off_t offset = 0;;) {
        const ssize_t n = pread(file.fd(), buffer, sizeof buffer, offset);
        if (n <= 0) {
            return text;
        }
        text.append(buffer, static_cast<size_t>(n));
        offset += n;
    }
}

std::vector<std::string> entries(const std::string& directory) {
    std::vector<std::string> names;
    if (DIR* const dir = opendir(directory.c_str())) {
        while (const dirent* const entry = readdir(dir)) {
            if (entry->d_name[0] != '.') {
                names.emplace_back(entry->d_name);
            }
        }
        closedir(dir);
    }
    return names;
}

// /proc/PID/stat のはじめのほう: "4021 (chapter02) S 4020 ..."。
struct Stat {
    char state = 0;
    pid_t parent = 0;
};
Stat read_stat(const std::string& pid) {
    std::ifstream file("/proc/" + pid + "/stat");
    std::string line;
    std::getline(file, line);
    // 名前には空白や括弧もありうるので、最後の括弧から読む。
    std::istringstream rest(line.substr(line.rfind(')') + 1));
    Stat stat;
    rest >> stat.state >> stat.parent;
    return stat;
}

std::vector<std::string> with_address(std::vector<std::string> command, const std::string& port,
                                      const std::string& address) {
    command.push_back(port);
    if (!address.empty()) {
        command.push_back(address);
    }
    return command;
}

} // namespace

bool eventually(const std::function<bool()>& condition, std::chrono::seconds limit) {
    const auto end = std::chrono::steady_clock::now() + limit;
    while (!condition()) {
        if (std::chrono::steady_clock::now() > end) {
            return false;
        }
        std::this_thread::sleep_for(std::chrono::milliseconds{2});
    }
    return true;
}

Process::Process(const std::vector<std::string>& command) : Process(command, Options{}) {}

Process::Process(const std::vector<std::string>& command, const Options& options)
    : output_(temporary_file()), errors_(temporary_file()) {
    const Socket input{
        open(options.input.empty() ? "/dev/null" : options.input.c_str(), O_RDONLY | O_CLOEXEC)};
    // 利用者を変えたあとでは読めないフォルダーにあっても、開いておけば実行できる。
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
        dup2(errors_.fd(), STDERR_FILENO);
        if (options.as_nobody && geteuid() == 0) {
            if (setgroups(0, nullptr) == -1 || setgid(nobody) == -1 || setuid(nobody) == -1) {
                _exit(126);
            }
        }
        // 見張り役が殺されたら、いっしょに終わる。利用者を変えると消えるので、そのあとで頼む。
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
}

Process::~Process() {
    // グループには、サーバーの作った子プロセスもいる。回収するまで、番号は使い回されない。
    kill(-pid_, SIGKILL);
    wait();
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

void Process::stop() const {
    kill(-pid_, SIGSTOP);
    std::vector<pid_t> family = children_of(pid_);
    family.push_back(pid_);
    const bool stopped = eventually([&] {
        return std::ranges::all_of(family, [](pid_t pid) {
            const std::string tasks = std::to_string(pid) + "/task/";
            return std::ranges::all_of(entries("/proc/" + tasks), [&](const std::string& task) {
                const char state = read_stat(tasks + task).state;
                return state == 'T' || state == 'Z' || state == 0;
            });
        });
    });
    if (!stopped) {
        throw std::runtime_error("SIGSTOP did not stop the process");
    }
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

int Process::wait() {
    return eventually([this] { return !running(); }) ? status_ : -1;
}

std::vector<std::string> lines_with(const std::string& text, const std::string& part,
                                    const std::string& start) {
    std::vector<std::string> lines;
    std::istringstream stream(text);
    for (std::string line; std::getline(stream, line);) {
        if (line.starts_with(start) && line.find(part) != std::string::npos) {
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
    : Process(with_address(std::move(command), options.port, address), options) {
    std::string first;
    eventually([&] {
        const bool ended = !running(); // 最後の出力を見落とさないよう、先に調べる
        first = output();
        return first.find('\n') != std::string::npos || ended;
    });
    endpoint = endpoint_from_first_line(first + errors());
}

Server Server::foreign(const std::string& command, const Options& options) {
    std::string port = options.port;
    if (port == "0") { // 空いているポートを、一度使ってみて選ぶ
        const Socket free = create_tcp_server_socket(*parse_endpoint("0", "127.0.0.1"));
        port = port_of(endpoint_from_text(local_address(free).text));
    }
    std::string filled = command;
    for (size_t at = 0; (at = filled.find("{port}", at)) != std::string::npos;) {
        filled.replace(at, 6, port);
    }
    return {filled, *parse_endpoint(port.c_str(), "127.0.0.1"), options};
}

Server::Server(const std::string& command, const Endpoint& chosen, const Options& options)
    : Process({"/bin/sh", "-c", "exec " + command}, options), endpoint(chosen) {
    const auto connect = [&] {
        try {
            create_tcp_client_socket(endpoint);
            return true;
        } catch (const std::system_error&) {
            return !running();
        }
    };
    // 起動には時間がかかることもあるので、deadline が短くても待つ。
    const bool connected = eventually(connect, std::max(deadline, std::chrono::seconds{30}));
    if (!connected || !running()) {
        throw std::runtime_error("サーバーにつながりません: " + command + "\n" + errors());
    }
}

Usage usage_of(pid_t pid) {
    const std::string proc = "/proc/" + std::to_string(pid);
    Usage usage;
    usage.descriptors = static_cast<int>(entries(proc + "/fd").size());
    usage.threads = static_cast<int>(entries(proc + "/task").size());
    long total = 0;
    std::ifstream(proc + "/statm") >> total >> usage.resident_kib;
    usage.resident_kib *= sysconf(_SC_PAGESIZE) / 1024;
    return usage;
}

char state_of(pid_t pid) {
    return read_stat(std::to_string(pid)).state;
}

std::vector<pid_t> children_of(pid_t pid, char state) {
    std::vector<pid_t> children;
    for (const std::string& name : entries("/proc")) {
        const Stat stat = read_stat(name);
        if (stat.parent == pid && (state == 0 || stat.state == state)) {
            children.push_back(std::stoi(name));
        }
    }
    return children;
}
