// make bench で並べるための、Asio によるエコーサーバー。引数もログも、各章のサーバーと同じ。

#include "common/endpoint.h"
#include "common/log.h"
#include "common/startup.h"
#include "common/tcp.h"

#include <array>
#include <asio.hpp>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <exception>
#include <memory>
#include <system_error>
#include <thread>
#include <utility>

using asio::ip::tcp;

// 一人との会話。次に呼ばれるハンドラーが持ち主で、次がなくなれば、消えて閉じる。
struct Session : std::enable_shared_from_this<Session> {
    tcp::socket socket;
    EndpointText peer;
    std::array<char, 16384> buffer;
    long long echoed = 0;

    Session(tcp::socket accepted, const EndpointText& text)
        : socket(std::move(accepted)), peer(text) {}

    void read() {
        socket.async_read_some(asio::buffer(buffer),
                               [self = shared_from_this()](std::error_code error, std::size_t n) {
                                   error ? self->finish(error) : self->write(n);
                               });
    }
    void write(std::size_t size) {
        asio::async_write(socket, asio::buffer(buffer, size),
                          [self = shared_from_this()](std::error_code error, std::size_t n) {
                              self->echoed += static_cast<long long>(n);
                              error ? self->finish(error) : self->read();
                          });
    }
    void finish(std::error_code error) {
        socket.close();
        if (error == asio::error::eof) {
            log_line("finished ", peer.text, ": ", echoed, " bytes echoed");
        } else {
            log_line("serving ", peer.text, " failed: ", error.message());
        }
    }
};

void accept_next(tcp::acceptor& acceptor, tcp::endpoint& peer) {
    acceptor.async_accept(peer, [&](std::error_code error, tcp::socket socket) {
        if (error) {
            log_line("accept() failed: ", error.message());
            std::this_thread::sleep_for(std::chrono::milliseconds(100)); // 空回りを避ける
        } else {
            Endpoint endpoint;
            std::memcpy(&endpoint.storage, peer.data(), peer.size());
            const auto session = std::make_shared<Session>(std::move(socket), to_text(endpoint));
            log_line("accepted ", session->peer.text);
            session->read();
        }
        accept_next(acceptor, peer);
    });
}

int main(int argc, char* argv[]) try {
    start_clean();
    std::signal(SIGPIPE, SIG_IGN);
    const Socket server = create_tcp_server_socket(endpoint_from_arguments(argc, argv));
    print_line("listening on ", local_address(server).text);

    asio::io_context loop(1); // スレッドは一つ: 内部のロックを省ける
    tcp::acceptor acceptor(loop, tcp::v4(), dup(server.fd())); // acceptor も、閉じる持ち主
    tcp::endpoint peer;
    accept_next(acceptor, peer);
    loop.run();
} catch (const std::system_error& error) {
    die_with_error(error);
} catch (const std::exception& error) { // ハンドラーの、メモリ不足など
    std::fprintf(stderr, "error: %s\n", error.what());
    return 1;
}
