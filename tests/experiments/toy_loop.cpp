// 二つのコルーチンを、交互に再開するループ。
#include "chapters/10-coroutines/task.h"

#include <cstdio>
#include <deque>

std::deque<std::coroutine_handle<>> waiting; // 中断しているコルーチン。先に中断したものから

struct Turn {
    bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> self) const { waiting.push_back(self); }
    void await_resume() const noexcept {}
};

Task count(const char* name, int times) {
    for (int i = 0; i < times; ++i) {
        std::printf("%s: %d\n", name, i);
        co_await Turn{};
    }
    co_return true;
}

int main() {
    const Task a = count("a", 3);
    const Task b = count("b", 2);
    a.resume();
    b.resume();
    while (!waiting.empty()) {
        const std::coroutine_handle<> next = waiting.front();
        waiting.pop_front();
        next.resume();
    }
}
