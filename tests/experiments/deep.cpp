// co_await を何度も繰り返すと、スタックはどれだけ深くなるか。
//   deep naive 1000      resume() を呼ぶ Naive
//   deep task 1000       ハンドルを返す、この章の Task
#include "chapters/10-coroutines/task.h"

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>

struct Naive {
    struct promise_type;
    using Handle = std::coroutine_handle<promise_type>;

    explicit Naive(Handle h) noexcept : handle(h) {}
    Naive(Naive&& other) noexcept : handle(std::exchange(other.handle, nullptr)) {}
    Naive& operator=(Naive&&) = delete;
    ~Naive() {
        if (handle) {
            handle.destroy();
        }
    }

    bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> caller) const noexcept;
    void await_resume() const noexcept {}
    void resume() const { handle.resume(); }

    Handle handle;
};

struct Naive::promise_type {
    std::coroutine_handle<> caller = std::noop_coroutine();

    struct Finish {
        bool await_ready() const noexcept { return false; }
        void await_suspend(Handle self) const noexcept;
        void await_resume() const noexcept {}
    };
    Naive get_return_object() { return Naive{Handle::from_promise(*this)}; }
    std::suspend_always initial_suspend() const noexcept { return {}; }
    Finish final_suspend() const noexcept { return {}; }
    void return_value(bool) noexcept {}
    void unhandled_exception() const noexcept { std::terminate(); }
};

void Naive::await_suspend(std::coroutine_handle<> caller) const noexcept {
    handle.promise().caller = caller;
    handle.resume(); // 待たれる側を再開する
}

void Naive::promise_type::Finish::await_suspend(Handle self) const noexcept {
    self.promise().caller.resume(); // 待つ側を再開する
}

// 呼んだところのスタックのアドレス。
[[gnu::noinline]] std::intptr_t stack_address() {
    asm volatile(""); // 呼び出しを省かせない
    return reinterpret_cast<std::intptr_t>(__builtin_frame_address(0));
}

template <class T> T once() {
    co_return true;
}

template <class T> T repeat(int times) {
    const std::intptr_t start = stack_address();
    for (int i = 0; i < times; ++i) {
        co_await once<T>();
    }
    std::printf("%ld bytes deeper\n", static_cast<long>(start - stack_address()));
    co_return true;
}

int main(int argc, char* argv[]) {
    if (argc != 3) {
        std::fprintf(stderr, "usage: %s naive|task <times>\n", argv[0]);
        return 2;
    }
    const int times = std::atoi(argv[2]);
    if (std::strcmp(argv[1], "naive") == 0) {
        repeat<Naive>(times).resume();
    } else {
        repeat<Task>(times).resume();
    }
}
