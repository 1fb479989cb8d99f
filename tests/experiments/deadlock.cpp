// 二つのミューテックスを、スレッドごとに違う順番でロックする。わざと誤っている
// (docs/more/03-threads.md)。

#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <thread>

std::mutex accounts;
std::mutex log_file;

void deposit() {
    const std::lock_guard first(accounts);
    const std::lock_guard second(log_file);
}

void report() {
    const std::lock_guard first(log_file);
    const std::lock_guard second(accounts);
}

void repeat(void (*task)(), int times) {
    for (int i = 0; i < times; ++i) {
        task();
    }
}

int main(int argc, char* argv[]) {
    const int times = argc > 1 ? std::atoi(argv[1]) : 1;
    std::thread a(repeat, deposit, times);
    std::thread b(repeat, report, times);
    a.join();
    b.join();
    std::puts("done");
}
