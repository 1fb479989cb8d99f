#include "common/startup.h"

#include <csignal>
#include <cstdlib>
#include <fcntl.h>
#include <unistd.h>

void start_clean() noexcept {
    // 閉じたままだと、ソケットが 0, 1, 2 番になり、ログがクライアントに届いてしまう。
    int fd = 0;
    while ((fd = open("/dev/null", O_RDWR)) != -1 && fd <= STDERR_FILENO) {
    }
    if (fd == -1 && fcntl(STDERR_FILENO, F_GETFD) == -1) {
        std::exit(1); // 理由を書くところもない
    }
    close(fd);

    // シグナルマスクは execve(2) を越えて残る。SIGCHLD がブロックされたままだと、ゾンビがたまる。
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, nullptr);

    std::signal(SIGXFSZ, SIG_IGN);
}
