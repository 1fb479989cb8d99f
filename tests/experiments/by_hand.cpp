// count.cpp を、コルーチンを使わずに書く。
#include <cstdio>

struct Count {
    int line = 0; // 次に実行するところ
    int i = 0;    // 戻っている間も残るローカル変数

    bool done() const { return line == 2; }
    void resume() {
        if (line == 1) {
            ++i; // co_await の次から
        }
        if (i < 3) {
            std::printf("count: %d\n", i);
            line = 1;
            return; // ここで中断する
        }
        line = 2; // 最後まで実行した
    }
};

int main() {
    Count task;
    std::puts("main: called");
    while (!task.done()) {
        task.resume();
        std::puts("main: back");
    }
}
