// 外から見るための道具: サーバーと話すクライアント。
#pragma once

#include "common/endpoint.h"
#include "common/socket.h"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <ostream>
#include <string>
#include <string_view>

// 乱数列を送って比べた結果。problem が空なら成功、そうでなければ、どこがどう違うか。
struct StreamResult {
    std::string problem;
    std::size_t received = 0; // 返ってきたバイト数 (echo_random_stream)
    bool closed = false;      // サーバーが閉じて終わった (echo_random_stream)
    explicit operator bool() const { return problem.empty(); }
    friend std::ostream& operator<<(std::ostream& out, const StreamResult& result) {
        return out << (result ? "同じ" : result.problem);
    }
};

// どの待ちにも deadline (tests/outside/process.h) がある。過ぎれば std::runtime_error を投げる。
class Client {
public:
    // buffers が 0 でなければ、カーネルの送受信のバッファーを、このバイト数にする。
    explicit Client(const Endpoint& server, int buffers = 0);

    void send(std::string_view bytes) const;
    // ちょうど size バイトを受け取る。その前に閉じられれば、そこまでを返す。
    std::string receive(std::size_t size) const;
    std::string receive_until_closed() const;
    std::string echo(std::string_view bytes) const; // 送り、同じ長さを受け取る
    bool has_something_to_read() const; // 待たずに調べる。閉じられたときも true
    bool closed(std::string& received) const; // 届いているものを足し、待たずに調べる
    void finish_writing() const;              // FIN を送る (half-close)
    void close() { socket_.close(); }
    void reset(); // RST を送って閉じる

    // seed から作った total バイトの乱数列を、送りながら受け取って比べる。一度に送る長さと
    // 受け取る長さは、1 から chunk までの乱数。送り終えたら送る向きを閉じる。
    // 同じ列がちょうどの長さで返り、サーバーが閉じれば成功。
    StreamResult echo_random_stream(std::uint64_t seed, std::size_t total, std::size_t chunk) const;
    // 同じ乱数列を、受け取らずに送りつづける。limit バイト送るか、送れなくなって stuck() が
    // 成り立つか、deadline の間まったく送れなければ、送れたバイト数を返す。
    std::size_t send_until_full(std::uint64_t seed, std::size_t limit,
                                const std::function<bool()>& stuck) const;
    // 同じ乱数列を total バイト受け取って比べる。
    StreamResult receive_random_stream(std::uint64_t seed, std::size_t total) const;

    std::string port() const; // 自分の側のポート
    int fd() const { return socket_.fd(); }

private:
    Socket socket_;
};
