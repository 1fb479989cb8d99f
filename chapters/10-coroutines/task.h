// コルーチン (coroutine): 途中で中断し、あとでそこから再開できる関数。
#pragma once

#include "common/log.h"

#include <cerrno>
#include <coroutine>
#include <utility>

// Task を返し、co_await や co_return を使う関数は、コルーチンになる。呼ぶと、引数とローカル変数を
// 収める frame がヒープに確保され、まだ一行も実行しないうちに、Task が返る。
// - 持ち主は Task。Task を破棄すれば、frame も、その中の変数も破棄される。中断していてもよい。
// - 実行を始めるのは、resume() か、ほかのコルーチンの co_await。中断したあとは、待っているものの
//   ハンドルを resume() して再開する。co_await の値は、co_return した値になる。
// - frame のメモリがなければ、空の Task が返る。それを co_await すると、ENOMEM の false になる。
class [[nodiscard]] Task {
public:
    struct promise_type; // frame の中に一つある。この名前を、コンパイラーが探す
    using Handle = std::coroutine_handle<promise_type>; // frame のアドレス

    Task(Task&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
    Task& operator=(Task&&) = delete;
    ~Task() {
        if (handle_) {
            handle_.destroy();
        }
    }

    bool empty() const noexcept { return !handle_; }
    bool done() const noexcept { return handle_.done(); }
    void resume() const noexcept { handle_.resume(); } // 次に中断するまで実行する

    // co_await は、この三つを順に呼ぶ。まず、中断しなくてよければ true。
    bool await_ready() const noexcept { return empty(); }
    // 呼んだコルーチン (caller) は、もう中断している。代わりに実行するものを返す (対称転送)。
    Handle await_suspend(std::coroutine_handle<> caller) const noexcept;
    // 呼んだコルーチンが再開する。返した値が、co_await の値になる。
    bool await_resume() const noexcept;

private:
    explicit Task(Handle handle) noexcept : handle_(handle) {}

    Handle handle_;
};

struct Task::promise_type {
    std::coroutine_handle<> caller = std::noop_coroutine(); // 終わったら再開するもの
    bool result = false;                                    // co_return した値

    Task get_return_object() noexcept { return Task{Handle::from_promise(*this)}; }
    static Task get_return_object_on_allocation_failure() noexcept { return Task{nullptr}; }
    std::suspend_always initial_suspend() const noexcept { return {}; }
    void return_value(bool value) noexcept { result = value; }
    // 捕まえられなかった例外で終わるのは、この frame だけ。結果は false になる。
    void unhandled_exception() const noexcept { log_line("coroutine ended by an exception"); }

    // 最後まで実行したら、待っているもの (caller) に移る。frame は、Task が破棄されるまで残る。
    struct Finish {
        bool await_ready() const noexcept { return false; }
        std::coroutine_handle<> await_suspend(Handle self) const noexcept {
            return self.promise().caller;
        }
        void await_resume() const noexcept {}
    };
    Finish final_suspend() const noexcept { return {}; }
};

inline Task::Handle Task::await_suspend(std::coroutine_handle<> caller) const noexcept {
    handle_.promise().caller = caller;
    return handle_;
}

inline bool Task::await_resume() const noexcept {
    if (empty()) {
        errno = ENOMEM;
        return false;
    }
    return handle_.promise().result;
}
