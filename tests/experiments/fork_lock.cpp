// ほかのスレッドがロックしている間に fork(2) すると、子プロセスではそのロックが解放されない
// (docs/more/02-fork.md)。
#include <csignal>
#include <cstdio>
#include <cstring>
#include <mutex>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

std::mutex mutex;

int main() {
    std::thread worker([] {
        const std::lock_guard<std::mutex> lock(mutex);
        sleep(2);
    });
    sleep(1); // worker がロックしたところで
    const pid_t pid = fork();
    if (pid == 0) {
        alarm(3);     // 3 秒たっても進めなければ SIGALRM で終了する
        mutex.lock(); // worker のいない子プロセスでは、誰も解放しない
        _exit(0);
    }
    mutex.lock();
    std::puts("parent: locked");
    mutex.unlock();
    worker.join();

    int status = 0;
    waitpid(pid, &status, 0);
    std::printf("child: %s\n", WIFSIGNALED(status) ? strsignal(WTERMSIG(status)) : "locked");
}
