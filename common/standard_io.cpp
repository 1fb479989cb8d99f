#include "common/standard_io.h"

#include <atomic>
#include <cerrno>
#include <poll.h>
#include <unistd.h>

namespace {

int stop_fd = -1; // 読めるようになれば待つのをやめる。-1 ならいつまでも待つ
std::atomic<bool> waits = true;

// fd で event が発生するまで待つ。止めるときは待たない。発生していなければ false。
bool wait_for(int fd, short event) noexcept {
    pollfd events[] = {{fd, event, 0}, {stop_fd, POLLIN, 0}};
    int count = 0;
    do { // 200 ミリ秒ごとに、止めるシグナルを別のスレッドが読んでいないかも見る
        count = poll(events, 2, waits ? 200 : 0);
    } while (waits && (count == 0 || (count == -1 && errno == EINTR)));
    return count > 0 && events[0].revents != 0;
}

} // namespace

ssize_t read_input(char* buffer, std::size_t size) noexcept {
    ssize_t n = 0;
    do {
        n = read(STDIN_FILENO, buffer, size);
    } while (n == -1 && (errno == EINTR || (errno == EAGAIN && wait_for(STDIN_FILENO, POLLIN))));
    return n;
}

bool write_output(const char* data, std::size_t size) noexcept {
    // ブロッキングの write(2) は、止めるときにも待つので、先に poll(2) で確かめる。
    while (size > 0 && (stop_fd == -1 || wait_for(STDOUT_FILENO, POLLOUT))) {
        const ssize_t written = write(STDOUT_FILENO, data, size);
        if (written >= 0) {
            data += written;
            size -= static_cast<std::size_t>(written);
        } else if (errno != EINTR && (errno != EAGAIN || !wait_for(STDOUT_FILENO, POLLOUT))) {
            return false;
        }
    }
    return size == 0;
}

void wait_for_output_until(int stop) noexcept {
    stop_fd = stop;
}

void never_wait_for_output() noexcept {
    waits = false;
}
