// 中断して、続きから動く関数。
#include "chapters/10-coroutines/task.h"

#include <cstdio>

Task count() {
    for (int i = 0; i < 3; ++i) {
        std::printf("count: %d\n", i);
        co_await std::suspend_always{}; // ここで中断する
    }
    co_return true;
}

int main() {
    const Task task = count();
    std::puts("main: called");
    while (!task.done()) {
        task.resume(); // 次に中断するか終わるまで実行する
        std::puts("main: back");
    }
}
