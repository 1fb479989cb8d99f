#include "common/startup.h"

#include "common/clock.h"
#include "common/standard_io.h"

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#ifdef __linux__
#include <sys/signalfd.h>
#endif
#include <sys/resource.h>
#include <system_error>
#include <unistd.h>

namespace {

sigset_t set_of(std::initializer_list<int> signals) noexcept {
    sigset_t set;
    sigemptyset(&set);
    for (const int signal : signals) {
        sigaddset(&set, signal);
    }
    return set;
}

} // namespace

void start_clean() noexcept {
    // 閉じたままだと、ソケットが 0, 1, 2 番になり、ログがクライアントに送られてしまう。
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; ++fd) {
        if (fcntl(fd, F_GETFD) == -1 && open("/dev/null", O_RDWR) != fd) {
            std::exit(1); // 理由を書くところもない
        }
    }

    // シグナルマスクは execve(2) を越えて残る。SIGCHLD がブロックされたままだと、ゾンビがたまる。
    const sigset_t none = set_of({});
    sigprocmask(SIG_SETMASK, &none, nullptr);

    std::signal(SIGXFSZ, SIG_IGN);
}

int descriptors_left() noexcept {
    rlimit limit{};
    getrlimit(RLIMIT_NOFILE, &limit);
    // 上限がなければ、カーネルがどこまで許すかは分からない。足りなくなったら、そのときに休む。
    const auto most = static_cast<int>(std::min<rlim_t>(limit.rlim_cur, 1'000'000));
    int open = -1; // もう開いているもの。数える間だけ開く一つを除く
    std::error_code error;
    for (std::filesystem::directory_iterator fd("/dev/fd", error), end; fd != end;
         fd.increment(error)) {
        ++open;
    }
    constexpr int own = 16; // サーバーが自分のために開くもの
    return std::max(most - std::max(open, 3) - own, 1);
}

#ifdef __linux__
Socket create_signalfd(std::initializer_list<int> signals) {
    const sigset_t held = set_of(signals);
    sigprocmask(SIG_BLOCK, &held, nullptr); // ブロックして、読まれるまで保留にする。PID 1 にも届く
    Socket socket = checked_socket(signalfd(-1, &held, 0), "signalfd");
    wait_for_output_until(socket.fd());
    return socket;
}

void read_stop_signal(const Socket& signals) noexcept {
    signalfd_siginfo signal;
    while (read(signals.fd(), &signal, sizeof signal) == -1) {
    }
    never_wait_for_output();
    static const Clock::time_point first = Clock::now();
    std::signal(SIGINT, [](int) {
        if (Clock::now() - first >= std::chrono::seconds{1}) {
            _exit(1);
        }
    });
    const sigset_t interrupt = set_of({SIGINT});
    sigprocmask(SIG_UNBLOCK, &interrupt, nullptr);
}
#endif
