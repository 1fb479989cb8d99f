#include "tests/outside/proc.h"

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <functional>
#include <netinet/tcp.h>
#include <sstream>
#include <system_error>
#include <unistd.h>

namespace {

std::vector<std::string> entries(const std::string& directory) {
    std::vector<std::string> names;
    std::error_code gone; // なければ空で、読んでいる間になくなれば、そこまで
    for (std::filesystem::directory_iterator entry(directory, gone), end; entry != end;
         entry.increment(gone)) {
        names.push_back(entry->path().filename());
    }
    return names;
}

std::vector<pid_t> processes(const std::function<bool(const Stat&)>& wanted) {
    std::vector<pid_t> found;
    for (const std::string& name : entries("/proc")) {
        if (wanted(stat_of(name))) {
            found.push_back(std::stoi(name));
        }
    }
    return found;
}

} // namespace

std::string read_text(const std::string& path) {
    std::ostringstream text;
    text << std::ifstream(path, std::ios::binary).rdbuf();
    return std::move(text).str();
}

Usage usage_of(const std::vector<pid_t>& pids) {
    Usage usage;
    for (const pid_t pid : pids) {
        const std::string proc = "/proc/" + std::to_string(pid);
        usage.descriptors += static_cast<int>(entries(proc + "/fd").size());
        usage.threads += static_cast<int>(entries(proc + "/task").size());
        long pages[2] = {};
        std::ifstream(proc + "/statm") >> pages[0] >> pages[1];
        usage.virtual_kib += pages[0] * (sysconf(_SC_PAGESIZE) / 1024);
        usage.resident_kib += pages[1] * (sysconf(_SC_PAGESIZE) / 1024);
        const Stat stat = stat_of(std::to_string(pid));
        usage.processes += stat.state == 0 ? 0 : 1;
        usage.zombies += stat.state == 'Z' ? 1 : 0;
        usage.cpu_seconds += stat.cpu_seconds;
    }
    return usage;
}

Usage usage_of(pid_t pid) {
    return usage_of(std::vector{pid});
}

char state_of(pid_t pid) {
    return stat_of(std::to_string(pid)).state;
}

bool has_ended(pid_t pid) {
    const char state = state_of(pid);
    // 初めのスレッドがゾンビになっても、ほかのスレッドが終わるまで、ソケットは閉じられない。
    return state == 0 || (state == 'Z' && usage_of(pid).threads <= 1);
}

std::vector<pid_t> children_of(pid_t pid, char state) {
    return processes([&](const Stat& stat) {
        return stat.parent == pid && (state == 0 || stat.state == state);
    });
}

std::vector<pid_t> members_of(pid_t group) {
    return processes([&](const Stat& stat) { return stat.group == group; });
}

Stat stat_of(const std::string& task) {
    std::ifstream file("/proc/" + task + "/stat");
    std::string line;
    std::getline(file, line);
    // 名前には空白や括弧もありうるので、最後の括弧から読む。
    std::istringstream rest(line.substr(line.rfind(')') + 1));
    Stat stat;
    rest >> stat.state >> stat.parent >> stat.group;
    double ticks[12] = {}; // session から cmajflt までの 8 つと、utime, stime, cutime, cstime
    for (double& value : ticks) {
        rest >> value;
    }
    const auto second = static_cast<double>(sysconf(_SC_CLK_TCK));
    stat.cpu_seconds = (ticks[8] + ticks[9]) / second;
    stat.reaped_seconds = (ticks[10] + ticks[11]) / second;
    return stat;
}

std::vector<std::string> tasks_of(const std::vector<pid_t>& pids) {
    std::vector<std::string> tasks;
    for (const pid_t pid : pids) {
        const std::string directory = std::to_string(pid) + "/task/";
        for (const std::string& task : entries("/proc/" + directory)) {
            tasks.push_back(directory + task);
        }
    }
    return tasks;
}

long switches_while_asleep(const std::vector<std::string>& tasks) {
    long switches = 0;
    for (const std::string& task : tasks) {
        std::ifstream status("/proc/" + task + "/status");
        for (std::string line; std::getline(status, line);) {
            if (line.starts_with("State:") && line.find_first_of("SIZTX", 6) == line.npos) {
                return -1;
            }
            const size_t at = line.find("ctxt_switches:");
            switches += at == line.npos ? 0 : std::stol(line.substr(at + 14));
        }
    }
    return switches;
}

std::vector<TcpSocket> tcp_sockets(const std::string& port, bool listening) {
    const auto number = static_cast<unsigned>(std::stoul(port));
    std::vector<TcpSocket> sockets;
    for (const char* const table : {"/proc/net/tcp", "/proc/net/tcp6"}) {
        std::ifstream file(table);
        for (std::string line; std::getline(file, line);) {
            TcpSocket tcp;
            // "0: 0100007F:1F90 00000000:0000 0A 送信:受信 00:00000000 00000000 uid 0 inode ..."
            if (std::sscanf(line.c_str(),
                            "%*d: %*[^:]:%x %*[^:]:%x %x %*[^:]:%lx %*s %*s %*s %*s %lu", &tcp.port,
                            &tcp.peer, &tcp.state, &tcp.unread, &tcp.inode) != 5) {
                continue; // 見出し
            }
            if (listening && tcp.state != TCP_LISTEN) {
                break; // 待ち受けるものが先に並ぶ (カーネルの proc_net_tcp.rst)
            }
            if (tcp.port == number) {
                sockets.push_back(tcp);
            }
        }
    }
    return sockets;
}

std::set<unsigned long> listening_inodes(const std::string& port) {
    std::set<unsigned long> inodes;
    for (const TcpSocket& tcp : tcp_sockets(port, true)) {
        inodes.insert(tcp.inode);
    }
    return inodes;
}

bool holds_socket(pid_t pid, unsigned long inode) {
    const std::string directory = "/proc/" + std::to_string(pid) + "/fd/";
    const std::string wanted = "socket:[" + std::to_string(inode) + "]";
    return std::ranges::any_of(entries(directory), [&](const std::string& fd) {
        std::error_code gone;
        return std::filesystem::read_symlink(directory + fd, gone) == wanted;
    });
}
