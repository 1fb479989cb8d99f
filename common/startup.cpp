#include "common/startup.h"

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

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
