#include "tests/outside/client.h"

#include "common/tcp.h"
#include "tests/outside/process.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <poll.h>
#include <stdexcept>
#include <sys/socket.h>
#include <vector>

namespace {

// 起きた出来事を返す。milliseconds の間に何も起きなければ 0。
short wait_for(int fd, short events, int milliseconds) {
    pollfd event = {fd, events, 0};
    while (poll(&event, 1, milliseconds) == -1 && errno == EINTR) {
    }
    return event.revents;
}

// deadline まで待つ。混んだコンピューターで、サーバーがまだ働いていれば、その三倍まで待つ。
// 空回りしているだけのサーバーは、それから CPU を 2 秒使うところまでしか待たない。
short wait_for(int fd, short events) {
    const auto seconds = static_cast<int>(deadline.count());
    Hope hope;
    short happened = wait_for(fd, events, 100);
    for (int i = 1; i < seconds * 10 && happened == 0 && !hope.lost(); ++i) {
        happened = wait_for(fd, events, 100);
    }
    const double used = happened == 0 && present ? present->usage().cpu_seconds : 0;
    for (int i = 0; i < 2 * seconds && happened == 0 && present && !present->asleep() &&
                    present->usage().cpu_seconds - used < 2;
         ++i) {
        happened = wait_for(fd, events, 1000);
    }
    return happened;
}

[[noreturn]] void fail(const char* what, int error) {
    throw std::runtime_error(what + std::string(" (") + std::strerror(error) + ")");
}

[[noreturn]] void give_up(const std::string& what) {
    throw std::runtime_error("いくら待っても、" + what);
}

// 一部でも送れれば、その長さ。いま送れなければ 0。
std::size_t send_some(int fd, const char* data, std::size_t size) {
    const ssize_t n = send(fd, data, size, MSG_NOSIGNAL);
    if (n == -1 && errno != EAGAIN && errno != EINTR) {
        fail("サーバーが接続を打ち切った", errno);
    }
    return n == -1 ? 0 : static_cast<std::size_t>(n);
}

// 届いていれば受け取る。size に 0 を入れて戻れば、相手が閉じた。
bool receive_some(int fd, char* data, std::size_t& size) {
    const ssize_t n = recv(fd, data, size, 0);
    if (n == -1 && errno != EAGAIN && errno != EINTR) {
        fail("サーバーが接続を打ち切った", errno);
    }
    size = n == -1 ? 0 : static_cast<std::size_t>(n);
    return n != -1;
}

// 乱数列は位置だけで決まる (splitmix64) ので、どこで区切って作っても同じになる。
std::uint64_t mix(std::uint64_t x) {
    x += 0x9e3779b97f4a7c15U;
    x = (x ^ (x >> 30U)) * 0xbf58476d1ce4e5b9U;
    x = (x ^ (x >> 27U)) * 0x94d049bb133111ebU;
    return x ^ (x >> 31U);
}

void random_bytes(std::uint64_t seed, std::size_t position, char* data, std::size_t size) {
    std::uint64_t word = 0;
    for (std::size_t i = 0; i < size; ++i, ++position) {
        if (i == 0 || position % 8 == 0) { // 一度混ぜれば、8 バイトになる
            word = mix(seed + position / 8);
        }
        data[i] = static_cast<char>(word >> (position % 8 * 8));
    }
}

// seed の乱数列の position からが bytes と違えば、どこがどう違うか。同じなら空。
std::string byte_problem(std::uint64_t seed, std::size_t position, std::string_view bytes) {
    std::string expected(bytes.size(), '\0');
    random_bytes(seed, position, expected.data(), expected.size());
    const auto [sent, received] = std::ranges::mismatch(expected, bytes);
    if (sent == expected.end()) {
        return "";
    }
    char text[128];
    std::snprintf(text, sizeof text, "%zu バイト目: 送ったのは 0x%02x、返ってきたのは 0x%02x",
                  position + static_cast<std::size_t>(sent - expected.begin()) + 1,
                  static_cast<unsigned char>(*sent), static_cast<unsigned char>(*received));
    return text;
}

std::string length_problem(std::size_t received, std::size_t total) {
    if (received == total) {
        return "";
    }
    return std::to_string(total) + " バイトのうち、返ってきたのは " + std::to_string(received) +
           " バイト";
}

constexpr std::size_t largest_chunk = 256UL * 1024;

} // namespace

Client::Client(const Endpoint& server, int buffers)
    : socket_(socket(server.storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)) {
    for (const int option : {SO_RCVBUF, SO_SNDBUF}) {
        if (buffers > 0) {
            setsockopt(fd(), SOL_SOCKET, option, &buffers, sizeof buffers);
        }
    }
    int error = connect(fd(), server.address(), server.length) == 0 ? 0 : errno;
    if (error == EINPROGRESS) {
        if (wait_for(fd(), POLLOUT) == 0) {
            give_up("接続できない");
        }
        socklen_t length = sizeof error;
        getsockopt(fd(), SOL_SOCKET, SO_ERROR, &error, &length);
    }
    if (error != 0) {
        fail("サーバーに接続できない", error);
    }
}

std::string Client::port() const {
    const std::string text = local_address(socket_).text;
    return text.substr(text.rfind(':') + 1);
}

void Client::send(std::string_view bytes) const {
    while (!bytes.empty()) {
        if (wait_for(fd(), POLLOUT) == 0) {
            give_up("送れない");
        }
        bytes.remove_prefix(send_some(fd(), bytes.data(), bytes.size()));
    }
}

std::string Client::receive(std::size_t size) const {
    std::string bytes;
    char buffer[65536];
    while (bytes.size() < size) {
        if (wait_for(fd(), POLLIN) == 0) {
            give_up((size == SIZE_MAX ? "サーバーが閉じない" : "続きが届かない") +
                    (" (届いたのは " + std::to_string(bytes.size())) + " バイト)");
        }
        std::size_t n = std::min(sizeof buffer, size - bytes.size());
        if (receive_some(fd(), buffer, n) && n == 0) {
            break;
        }
        bytes.append(buffer, n);
    }
    return bytes;
}

std::string Client::receive_until_closed() const {
    return receive(SIZE_MAX);
}

std::string Client::echo(std::string_view bytes) const {
    send(bytes);
    return receive(bytes.size());
}

bool Client::has_something_to_read() const {
    return wait_for(fd(), POLLIN, 0) != 0;
}

bool Client::closed(std::string& received) const {
    char bytes[4096];
    ssize_t n = 0;
    while ((n = recv(fd(), bytes, sizeof bytes, 0)) > 0) {
        received.append(bytes, static_cast<std::size_t>(n));
    }
    return n == 0 || errno != EAGAIN;
}

void Client::finish_writing() const {
    shutdown(fd(), SHUT_WR);
}

void Client::reset() {
    const linger discard = {1, 0}; // close が FIN でなく RST を送るようになる
    setsockopt(fd(), SOL_SOCKET, SO_LINGER, &discard, sizeof discard);
    close();
}

StreamResult Client::echo_random_stream(std::uint64_t seed, std::size_t total,
                                        std::size_t chunk) const {
    std::vector<char> outgoing(std::min(chunk, largest_chunk));
    std::vector<char> incoming(outgoing.size());
    const auto random_size = [&](std::size_t position) {
        return 1 + static_cast<std::size_t>(mix(seed ^ (position + 1)) % outgoing.size());
    };
    if (total == 0) {
        finish_writing();
    }
    std::size_t sent = 0;
    std::size_t begin = 0;
    std::size_t end = 0; // outgoing の [begin, end) がまだ送れていない
    for (std::size_t received = 0;;) {
        if (begin == end && sent < total) {
            begin = 0;
            end = std::min(random_size(sent), total - sent);
            random_bytes(seed, sent, outgoing.data(), end);
        }
        const short events =
            wait_for(fd(), static_cast<short>(begin < end ? POLLIN | POLLOUT : POLLIN));
        if (events == 0) {
            return {"いくら待っても、" +
                        (received == total ? "サーバーが閉じない"
                                           : "続きが届かない: " + length_problem(received, total)),
                    received};
        }
        if ((events & POLLOUT) != 0 && begin < end) {
            const std::size_t n = send_some(fd(), outgoing.data() + begin, end - begin);
            begin += n;
            sent += n;
            if (sent == total) {
                finish_writing();
            }
        }
        if ((events & ~POLLOUT) != 0) {
            std::size_t n = random_size(received);
            if (receive_some(fd(), incoming.data(), n)) {
                if (n == 0) {
                    return {length_problem(received, total), received, true};
                }
                const std::string problem = byte_problem(seed, received, {incoming.data(), n});
                received += n;
                if (!problem.empty() || received > total) {
                    return {problem.empty() ? length_problem(received, total) : problem, received};
                }
            }
        }
    }
}

std::size_t Client::send_until_full(std::uint64_t seed, std::size_t limit,
                                    const std::function<bool()>& stuck) const {
    std::vector<char> outgoing(largest_chunk);
    std::size_t sent = 0;
    while (sent < limit &&
           eventually([&] { return wait_for(fd(), POLLOUT, 10) != 0 || stuck(); }) &&
           wait_for(fd(), POLLOUT, 0) != 0) {
        const std::size_t size = std::min(outgoing.size(), limit - sent);
        random_bytes(seed, sent, outgoing.data(), size);
        sent += send_some(fd(), outgoing.data(), size);
    }
    return sent;
}

StreamResult Client::receive_random_stream(std::uint64_t seed, std::size_t total) const {
    const std::string bytes = receive(total);
    const std::string problem = byte_problem(seed, 0, bytes);
    return {problem.empty() ? length_problem(bytes.size(), total) : problem};
}
