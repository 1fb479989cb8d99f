// 二つのスレッドが、順番を決めずに同じ変数に足す。わざと誤っている (docs/03-threads.md の 3 節)。

#include <cstdio>
#include <thread>

int n = 0;

void add() {
    for (int i = 0; i < 100'000'000; ++i) {
        n += 1;
    }
}

int main() {
    std::thread a(add);
    std::thread b(add);
    a.join();
    b.join();
    std::printf("%d\n", n);
}
