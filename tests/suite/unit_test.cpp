// common/ の単体テスト。Linux でなくても走る。

#include "common/clock.h"
#include "common/endpoint.h"
#include "common/log.h"
#include "common/socket.h"
#include "common/standard_io.h"
#include "common/tcp.h"

#include <doctest/doctest.h>

#include <cerrno>
#include <csignal>
#include <fcntl.h>
#include <future>
#include <limits>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string>
#include <system_error>

namespace {

// 標準出力 (か standard) を、しばらく fd に向ける。ログがテストの出力に混ざらないようにする。
struct Redirect {
    int standard;
    int saved = dup(standard);
    explicit Redirect(int fd, int number = STDOUT_FILENO) : standard(number) { dup2(fd, standard); }
    Redirect(const Redirect&) = delete;
    Redirect& operator=(const Redirect&) = delete;
    ~Redirect() {
        dup2(saved, standard);
        close(saved);
    }
};

bool is_open(int fd) {
    return fcntl(fd, F_GETFD) != -1;
}

int new_descriptor() {
    return dup(STDIN_FILENO);
}

// 待ち受けソケットにつなぐための Endpoint。
Endpoint endpoint_of(const Socket& server) {
    const std::string address = local_address(server).text;
    return *parse_endpoint(address.substr(address.find(':') + 1).c_str(), "127.0.0.1");
}

// つながった二つのソケット。
std::pair<Socket, Socket> connected(int type = SOCK_STREAM) {
    int ends[2] = {-1, -1};
    REQUIRE(socketpair(AF_UNIX, type, 0, ends) == 0);
    return {Socket{ends[0]}, Socket{ends[1]}};
}

// 始められなかった理由。始められたら空。
template <typename Create> std::string reason(Create create) {
    try {
        create();
    } catch (const std::system_error& error) {
        return error.what();
    }
    return "";
}

} // namespace

TEST_SUITE("unit") {
    TEST_CASE("Socket: ディスクリプタの持ち主はいつも一つ") {
        const int fd = new_descriptor();
        {
            Socket first{fd};
            Socket second = std::move(first);
            CHECK(first.fd() == -1); // NOLINT: 移したあとは空、と約束している
            CHECK(second.fd() == fd);
            CHECK(is_open(fd));
        }
        CHECK_FALSE(is_open(fd));
    }

    TEST_CASE("Socket: 代入は前のディスクリプタを閉じる") {
        const int old_fd = new_descriptor();
        const int new_fd = new_descriptor();
        Socket socket{old_fd};
        socket = Socket{new_fd};
        CHECK_FALSE(is_open(old_fd));
        CHECK(is_open(new_fd));
    }

    TEST_CASE("Socket: 二度閉じても、ほかのディスクリプタを閉じない") {
        Socket socket{new_descriptor()};
        const int fd = socket.fd();
        socket.close();
        const int reused = new_descriptor(); // 同じ番号が使い回される
        REQUIRE(reused == fd);
        socket.close();
        CHECK(is_open(reused));
        close(reused);
    }

    TEST_CASE("parse_endpoint と to_text は行って帰る") {
        const struct {
            const char* port;
            const char* address;
            std::string text;
        } rows[] = {
            {"7000", "127.0.0.1", "127.0.0.1:7000"},
            {"0", "0.0.0.0", "0.0.0.0:0"},
            {"65535", "::1", "[::1]:65535"},
            {"80", "::", "[::]:80"},
            {"00080", "::ffff:127.0.0.1", "[::ffff:127.0.0.1]:80"},
            {"65535", "1111:2222:3333:4444:5555:6666:7777:8888",
             "[1111:2222:3333:4444:5555:6666:7777:8888]:65535"},
        };
        for (const auto& row : rows) {
            CAPTURE(row.text);
            const auto endpoint = parse_endpoint(row.port, row.address);
            REQUIRE(endpoint);
            CHECK(std::string(to_text(*endpoint).text) == row.text);
        }
        CHECK(std::string(to_text(Endpoint{}).text) == "unknown");
    }

    TEST_CASE("parse_endpoint は、少しでもおかしな引数を認めない") {
        for (const char* const port : {"", "abc", "80abc", "-1", "65536", " 80", "80 ", "+80",
                                       "0x50", "8 0", "12345678901234567890"}) {
            CAPTURE(std::string(port));
            CHECK_FALSE(parse_endpoint(port, "127.0.0.1"));
        }
        for (const char* const address : {"", "localhost", "127.0.0", "127.1", "256.0.0.1",
                                          "1.2.3.4 ", "[::1]", "::1:::", "0x7f.1", "::1%lo"}) {
            CAPTURE(std::string(address));
            CHECK_FALSE(parse_endpoint("80", address));
        }
    }

    TEST_CASE("始められないときは、呼び出しとアドレスと理由が分かる") {
        const Socket taken = create_tcp_server_socket(*parse_endpoint("0", "127.0.0.1"));
        CHECK(reason([&] { create_tcp_server_socket(endpoint_of(taken)); }) ==
              std::string("bind ") + local_address(taken).text + ": " +
                  std::generic_category().message(EADDRINUSE));
    }

    TEST_CASE("つなぐ先に待ち受けがなければ、そう分かる") {
        Socket gone = create_tcp_server_socket(*parse_endpoint("0", "127.0.0.1"));
        const Endpoint endpoint = endpoint_of(gone);
        gone.close();
        CHECK(reason([&] { create_tcp_client_socket(endpoint); }) ==
              std::string("connect ") + to_text(endpoint).text + ": " +
                  std::generic_category().message(ECONNREFUSED));
    }

    TEST_CASE("accept_tcp_connection と handle_tcp_client: 書き終えるまでをそのまま返す") {
        std::signal(SIGPIPE, SIG_IGN);
        const Socket server = create_tcp_server_socket(*parse_endpoint("0", "127.0.0.1"));
        const Socket client = create_tcp_client_socket(endpoint_of(server));
        {
            const Socket nowhere{open("/dev/null", O_WRONLY)};
            const Redirect redirect(nowhere.fd());
            Connection accepted = accept_tcp_connection(server);
            CHECK(std::string(accepted.peer.text) == local_address(client).text);
            for (const auto& [level, name] : {std::pair{SOL_SOCKET, SO_KEEPALIVE},
                                              {SOL_SOCKET, SO_OOBINLINE},
                                              {IPPROTO_TCP, TCP_NODELAY}}) {
                int on = 0; // 待ち受けソケットから受け継いでいる
                socklen_t size = sizeof on;
                getsockopt(accepted.socket.fd(), level, name, &on, &size);
                CHECK(on != 0);
            }
            REQUIRE(send_all(client, "he", 2));
            REQUIRE(send(client.fd(), "l", 1, MSG_OOB) == 1); // 緊急データも、同じ順に返る
            REQUIRE(send_all(client, "lo", 2));
            shutdown(client.fd(), SHUT_WR);
            handle_tcp_client(accepted);
            CHECK(accepted.socket.fd() == -1); // 閉じてから、ログを書いて戻る
        }
        char buffer[16];
        CHECK(recv(client.fd(), buffer, sizeof buffer, MSG_WAITALL) == 5);
        CHECK(std::string(buffer, 5) == "hello");
        CHECK(recv(client.fd(), buffer, sizeof buffer, 0) == 0);
    }

    TEST_CASE("send_all: 相手が去っていれば false を返し、プロセスは無事") {
        std::signal(SIGPIPE, SIG_IGN);
        const Socket writer = connected().first; // もう一方は、ここで閉じる
        CHECK_FALSE(send_all(writer, "hello", 5));
        CHECK(errno == EPIPE);
    }

    TEST_CASE("receive_all: 少しずつ届いても待ち、相手が書き終えれば、そこまでの長さと errno 0") {
        for (const int type : {SOCK_DGRAM, SOCK_STREAM}) { // SOCK_DGRAM の recv(2) は一度に一つずつ
            const auto [writer, reader] = connected(type);
            REQUIRE(send_all(writer, "hel", 3));
            REQUIRE(send_all(writer, "lo", 2));
            shutdown(writer.fd(), SHUT_WR);
            char buffer[8];
            errno = EBADF;
            CHECK(receive_all(reader, buffer, type == SOCK_DGRAM ? 5 : 8) == 5);
            CHECK(std::string(buffer, 5) == "hello");
            CHECK((type == SOCK_DGRAM || errno == 0));
        }
    }

    TEST_CASE("read_input と write_output: ノンブロッキングのパイプでも、待ってすべてを通す") {
        int ends[2] = {-1, -1};
        REQUIRE(pipe(ends) == 0);
        const Socket reader{ends[0]};
        const Socket writer{ends[1]};
        fcntl(reader.fd(), F_SETFL, O_NONBLOCK);
        fcntl(writer.fd(), F_SETFL, O_NONBLOCK);
        std::string sent;
        while (sent.size() < 1'000'000) {
            sent += std::to_string(sent.size());
        }
        std::string received;
        alarm(60); // どちらかが待ちつづけるなら、終わらせる
        {
            const Redirect input(reader.fd(), STDIN_FILENO);
            const Redirect output(writer.fd());
            auto written = std::async(std::launch::async,
                                      [&] { return write_output(sent.data(), sent.size()); });
            char buffer[4096];
            while (received.size() < sent.size()) {
                const ssize_t n = read_input(buffer, sizeof buffer);
                REQUIRE(n > 0);
                received.append(buffer, static_cast<size_t>(n));
            }
            CHECK(written.get());
        }
        alarm(0);
        CHECK((received == sent));
    }

    TEST_CASE("log_line: 一行は一度の write で、長すぎる行は切られる") {
        int ends[2] = {-1, -1};
        REQUIRE(pipe(ends) == 0);
        {
            const Redirect redirect(ends[1]);
            log_line(std::string(1000, 'x'), 1);
            print_line(std::string(254, 'x'), "yz"); // 改行とあわせて、ちょうど 256 バイト
            print_line(-42, " bytes, ", std::numeric_limits<long long>::min());
        }
        char buffer[2000];
        const ssize_t n = read(ends[0], buffer, sizeof buffer);
        close(ends[0]);
        close(ends[1]);
        const std::string text(buffer, n > 0 ? static_cast<size_t>(n) : 0);
        CHECK(text.starts_with("[pid " + std::to_string(getpid()) + " tid "));
        CHECK(text.find('\n') == 255);
        CHECK(text.substr(256) == std::string(254, 'x') + "y\n-42 bytes, -9223372036854775808\n");
    }

    TEST_CASE("milliseconds_until: 端数は切り上げ、過ぎていれば 0、いつまでもなら -1") {
        using std::chrono::milliseconds;
        for (int i = 0; i < 100; ++i) { // 締め切りより早く起きない
            const Clock::time_point before = Clock::now();
            const Clock::time_point deadline = before + std::chrono::microseconds(5000 + 37 * i);
            const int wait = milliseconds_until(deadline);
            CHECK(milliseconds(wait) >= deadline - Clock::now());
            CHECK(milliseconds(wait - 1) < deadline - before);
        }
        CHECK(milliseconds_until(Clock::now() - milliseconds(1)) == 0);
        CHECK(milliseconds_until(Clock::time_point::max()) == -1);
        CHECK(milliseconds_until(Clock::now() + std::chrono::hours(10'000)) ==
              std::numeric_limits<int>::max());
    }
}
