// 読めるか、時間が来るか、取り消されるか。先に来たものを返す awaiter と、それを再開するループ。
#include "chapters/10-coroutines/task.h"
#include "common/clock.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <list>
#include <poll.h>
#include <unistd.h>
#include <vector>

enum class Woken { readable, timeout, cancelled };

// 中断している間だけ waiting に並ぶ。中断したまま破棄されても、並びから抜ける。
class FirstOf {
public:
    FirstOf(int fd, int milliseconds, FirstOf** cancel = nullptr)
        : fd_(fd), deadline_(Clock::now() + std::chrono::milliseconds(milliseconds)),
          cancel_(cancel) {}
    FirstOf(const FirstOf&) = delete;
    FirstOf& operator=(const FirstOf&) = delete;
    ~FirstOf() {
        waiting.remove(this);
        if (cancel_ != nullptr) {
            *cancel_ = nullptr;
        }
    }

    bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> self) {
        self_ = self;
        waiting.push_back(this);
        if (cancel_ != nullptr) {
            *cancel_ = this; // 外から取り消せるように、自分のアドレスを教える
        }
    }
    Woken await_resume() const noexcept { return woken_; }

    // 先に来たものを決め、並びから抜けて再開する。二度目に来るものは、もう届かない。
    void wake(Woken woken) {
        woken_ = woken;
        waiting.remove(this);
        self_.resume(); // この間に、*this は破棄されるかもしれない
    }

    static void run_event_loop();

private:
    static inline std::list<FirstOf*> waiting;
    int fd_;
    Clock::time_point deadline_;
    FirstOf** cancel_;
    std::coroutine_handle<> self_;
    Woken woken_ = Woken::timeout;
};

void FirstOf::run_event_loop() {
    while (!waiting.empty()) {
        FirstOf* const first = *std::min_element(
            waiting.begin(), waiting.end(),
            [](const FirstOf* a, const FirstOf* b) { return a->deadline_ < b->deadline_; });
        std::vector<pollfd> watched;
        for (const FirstOf* each : waiting) {
            watched.push_back({each->fd_, POLLIN, 0});
        }
        poll(watched.data(), watched.size(), milliseconds_until(first->deadline_));
        const auto ready = std::find_if(watched.begin(), watched.end(),
                                        [](const pollfd& each) { return each.revents != 0; });
        if (ready != watched.end()) {
            (*std::next(waiting.begin(), ready - watched.begin()))->wake(Woken::readable);
        } else if (first->deadline_ <= Clock::now()) {
            first->wake(Woken::timeout);
        }
    }
}

Task watch(const char* name, int fd, int milliseconds, FirstOf** cancel, FirstOf** other) {
    for (;;) {
        switch (co_await FirstOf(fd, milliseconds, cancel)) {
        case Woken::readable: {
            char buffer[64];
            const ssize_t received = read(fd, buffer, sizeof buffer);
            std::printf("%s: %zd bytes\n", name, received);
            break;
        }
        case Woken::timeout:
            std::printf("%s: timeout\n", name);
            if (other != nullptr && *other != nullptr) {
                (*other)->wake(Woken::cancelled);
            }
            co_return true;
        case Woken::cancelled:
            std::printf("%s: cancelled\n", name);
            co_return false;
        }
    }
}

int main() {
    int a[2];
    int b[2];
    if (pipe(a) == -1 || pipe(b) == -1 || write(a[1], "hello\n", 6) != 6) {
        std::perror("error: pipe");
        return 1;
    }
    FirstOf* waiting_b = nullptr;
    const Task first = watch("a", a[0], 200, nullptr, &waiting_b);
    const Task second = watch("b", b[0], 60'000, &waiting_b, nullptr);
    first.resume();
    second.resume();
    FirstOf::run_event_loop();
    std::puts("main: nobody waits");
}
