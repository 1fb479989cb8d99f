#include "common/startup.h"

#include <csignal>
#include <cstdlib>
#include <fcntl.h>
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
