// アドレスとポートの組。コマンドラインの文字列から作り、ログのための文字列に戻す。
#pragma once

#include "common/socket.h"

#include <initializer_list>
#include <optional>
#include <sys/socket.h>

// IPv4 か IPv6 のアドレスとポート。bind(2) と connect(2) に渡せる形で持つ。
struct Endpoint {
    sockaddr_storage storage{};
    socklen_t length = sizeof storage; // バイト数

    sockaddr* address() noexcept { return reinterpret_cast<sockaddr*>(&storage); }
    const sockaddr* address() const noexcept { return reinterpret_cast<const sockaddr*>(&storage); }
};

// ログのための文字列。std::string にしないのは、メモリが尽きたときにもログを書くため。
struct EndpointText {
    char text[64]; // 最長は "[" + 45 文字の IPv6 アドレス + "]:65535"
};

// 10 進数のポート (0 から 65535) とアドレスの文字列から Endpoint を作る。
// それ以外の文字が一つでもあれば nullopt。名前解決はせず、"%eth0" のようなスコープも読まない
// (inet_pton(3))。
std::optional<Endpoint> parse_endpoint(const char* port, const char* address);

// 名前で渡す数: "--threads 8" か "--threads=8"。省いてもよい。
struct NumberOption {
    const char* name;    // "threads"
    const char* meaning; // --help での説明
    int value; // 1 以上。初めは省略したときの値で、指定があればその値になる
};

// <port> [address] と、どこに書いてもよい options を読む (getopt_long(3))。
// address を省くと 127.0.0.1。
// -h と --help では使い方を標準出力に書き、終了ステータス 0 で終了する (書けなければ 1)。
// 誤りがあれば、その理由と使い方を標準エラー出力に書き、終了ステータス 2 で終了する。
Endpoint endpoint_from_arguments(int argc, char* argv[],
                                 std::initializer_list<NumberOption*> options = {});

// "127.0.0.1:7000" か "[::1]:7000" の形にする。どちらでもなければ "unknown"。
EndpointText to_text(const Endpoint& endpoint) noexcept;

// そのソケットの、自分側のアドレス (getsockname(2))。
EndpointText local_address(const Socket& socket) noexcept;
