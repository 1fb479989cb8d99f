#include "common/standard_io.h"

#include <cerrno>
#include <poll.h>
#include <unistd.h>

namespace {

// 失敗した read(2) か write(2) を、もう一度呼んでよければ true。ノンブロッキングで待てなかった
// (EAGAIN) のなら、events が起きるまで代わりに待つ (poll(2))。
bool may_retry(int fd, short events) noexcept {
    if (errno == EAGAIN) {
        pollfd event = {fd, events, 0};
        return poll(&event, 1, -1) == 1 || errno == EINTR;
    }
    return errno == EINTR;
}

} // namespace

ssize_t read_input(char* buffer, std::size_t size) noexcept {
    ssize_t n = 0;
    do {
        n = read(STDIN_FILENO, buffer, size);
    } while (n == -1 && may_retry(STDIN_FILENO, POLLIN));
    return n;
}

bool write_output(const char* data, std::size_t size) noexcept {
    while (size > 0) {
        const ssize_t written = write(STDOUT_FILENO, data, size);
        if (written >= 0) {
            data += written;
            size -= static_cast<std::size_t>(written);
        } else if (!may_retry(STDOUT_FILENO, POLLOUT)) {
            return false;
        }
    }
    return true;
}
