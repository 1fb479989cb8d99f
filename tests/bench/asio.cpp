// Asio によるエコーサーバー。
#include "tests/bench/peer.h"

#include <array>
#include <asio.hpp>
#include <cstdio>
#include <memory>
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
        finished(peer, echoed, error == asio::error::eof ? 0 : error.value());
    }
};

void accept_next(tcp::acceptor& acceptor, tcp::endpoint& peer) {
    acceptor.async_accept(peer, [&](std::error_code error, tcp::socket socket) {
        if (error) {
            die_with_error({error, "accept"});
        }
        std::make_shared<Session>(std::move(socket), accepted(peer.data(), peer.size()))->read();
        accept_next(acceptor, peer);
    });
}

int main(int argc, char* argv[]) try {
    const Socket server = listen_as_told(argc, argv);
    asio::io_context loop(1); // スレッドは一つ: 内部のロックを省ける
    tcp::acceptor acceptor(loop, tcp::v4(), dup(server.fd())); // acceptor も、閉じる持ち主
    tcp::endpoint peer;
    accept_next(acceptor, peer);
    loop.run();
} catch (const std::exception& error) { // ハンドラーの、メモリ不足など
    std::fprintf(stderr, "error: %s\n", error.what());
    return 1;
}
