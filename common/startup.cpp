#include "common/startup.h"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <fcntl.h>
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
    // 閉じたままだと、ソケットが 0, 1, 2 番になり、ログがクライアントに届いてしまう。
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; ++fd) {
        if (fcntl(fd, F_GETFD) == -1 && open("/dev/null", O_RDWR) != fd) {
            std::exit(1); // 理由を書くところもない
        }
    }

    // シグナルマスクは execve(2) を越えて残る。SIGCHLD がブロックされたままだと、ゾンビがたまる。
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, nullptr);

    std::signal(SIGXFSZ, SIG_IGN);
}

int descriptors_left() noexcept {
    rlimit limit{};
    getrlimit(RLIMIT_NOFILE, &limit);
    // 上限がなければ、カーネルがどこまで許すかは分からない。足りなくなったら、そのときに休む。
    const auto most = static_cast<int>(std::min<rlim_t>(limit.rlim_cur, 1'000'000));
    const int next = dup(STDIN_FILENO); // 空いている、いちばん小さい番号
    close(next);
    constexpr int own = 16; // サーバーが自分のために開くもの
    return std::max(next == -1 ? 1 : most - next - own, 1);
}

#ifdef __linux__
Socket create_signalfd(std::initializer_list<int> signals) {
    const sigset_t held = set_of(signals);
    sigprocmask(SIG_BLOCK, &held, nullptr); // 保留にして、読まれるまで残しておく。PID 1 にも届く
    Socket socket{signalfd(-1, &held, 0)};
    if (socket.fd() == -1) {
        throw std::system_error(errno, std::generic_category(), "signalfd");
    }
    return socket;
}
#endif

void exit_on_signals(std::initializer_list<int> signals) noexcept {
    for (const int signal : signals) {
        std::signal(signal, [](int) { _exit(1); });
    }
    const sigset_t held = set_of(signals);
    sigprocmask(SIG_UNBLOCK, &held, nullptr);
}
