// どの章でも変わらない TCP の部品。
#pragma once

#include "common/endpoint.h"
#include "common/socket.h"

#include <cstddef>

// endpoint で待ち受けるソケットを作る: socket(2), setsockopt(2), bind(2), listen(2)。
// 返した Socket が持ち主。失敗すると std::system_error ("bind 127.0.0.1:80: ...") を投げる。
Socket create_tcp_server_socket(const Endpoint& endpoint);

// endpoint につながったソケットを作る: socket(2), connect(2)。
// 返した Socket が持ち主。失敗すると std::system_error ("connect 127.0.0.1:80: ...") を投げる。
Socket create_tcp_client_socket(const Endpoint& endpoint);

// 次のクライアントを待ち、つながったソケットを返す (accept(2))。返した Socket が持ち主。
// 失敗は返さない。その接続だけの失敗なら次のクライアントを待ち、ディスクリプタやメモリが
// 足りなければ 100 ミリ秒おきに試しつづける。どちらもログに一行を残す。
Socket accept_tcp_connection(const Socket& server) noexcept;

// クライアントが書き終えるまで、届いたバイトをそのまま送り返す (recv(2), send(2))。
// client は借りるだけで、閉じるのは呼び出し側。途中で失敗すればログに一行を残して戻る。
// 例外を投げない。
void handle_tcp_client(const Socket& client) noexcept;

// size バイトのすべてを送る。send(2) は一部しか送らないことがある。
// 失敗すれば false を返し、理由は errno に残る。相手が去ったあとの送信でプロセスごと
// 終わらせられないよう、SIGPIPE は無視しておくこと。
bool send_all(const Socket& socket, const char* data, std::size_t size) noexcept;
