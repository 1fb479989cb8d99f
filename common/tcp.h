// どの章でも変わらない TCP の部品。
#pragma once

#include "common/endpoint.h"
#include "common/socket.h"

#include <cstddef>

// 一人のクライアントとの接続。
struct Connection {
    Socket socket;     // 接続済みソケット (connected socket)
    EndpointText peer; // 相手のアドレス。accept(2) が言ったもの
};

// endpoint で待ち受けるソケットを作る: socket(2), setsockopt(2), bind(2), listen(2)。
// 返した Socket が持ち主。失敗すると std::system_error ("bind 127.0.0.1:80: ...") を投げる。
Socket create_tcp_server_socket(const Endpoint& endpoint);

// 自分を起動したプログラム (systemd など) が待ち受けソケットを開いて渡していれば、それを返す。
// そうでなければ create_tcp_server_socket と同じ。渡し方は sd_listen_fds(3) の決まり: 環境変数
// LISTEN_PID が自分の PID で、LISTEN_FDS が 1 なら、ディスクリプタ 3 がそれである。
// 渡されたものが待ち受けソケット一つでなければ、std::system_error を投げる。
Socket inherit_or_create_tcp_server_socket(const Endpoint& endpoint);

// endpoint につないだソケットを作る: socket(2), connect(2)。
// 返した Socket が持ち主。失敗すると std::system_error ("connect 127.0.0.1:80: ...") を投げる。
// つなぐ途中でシグナルハンドラーが動けば、それも失敗 (EINTR) になる。
Socket create_tcp_client_socket(const Endpoint& endpoint);

// 次のクライアントを待ち、その接続を返す (accept(2))。返した Connection が持ち主。
// 失敗は返さない。その接続だけの失敗なら次のクライアントを待ち、ディスクリプタやメモリが
// 足りなければ 100 ミリ秒おきに試しつづける。どちらもログに一行を残す。
Connection accept_tcp_connection(const Socket& server) noexcept;

// 待たない accept の、三通りの結果。
enum class Accepted {
    connection, // 一人来た
    nobody,     // だれも来ていないか、来た接続が失敗した
    no_resources, // ディスクリプタやメモリが足りない。少し休んでから、また試す
};

// だれか来ていれば、その接続を client に入れる (accept4(2))。来ていなくても待たない。
// server はノンブロッキングにしておくこと (set_nonblocking)。client もノンブロッキングになる。
// 失敗はログに一行を残す。
Accepted try_accept_tcp_connection(const Socket& server, Connection& client) noexcept;

// accept(2) や recv(2) を、待つかわりに EAGAIN で失敗させる (fcntl(2) の O_NONBLOCK)。
void set_nonblocking(const Socket& socket) noexcept;

// クライアントが書き終えるまで、届いたバイトをそのまま送り返し、閉じる (recv(2), send(2))。
// 戻ったとき、client は閉じている。途中で失敗すれば、そこで閉じる。どちらもログに一行を残す。
// 例外を投げない。
void handle_tcp_client(Connection& client) noexcept;

// 一人の相手を終える: socket を閉じてから、ログに一行を残す。failed は、失敗した呼び出しの名前
// ("recv() from") で、そのわけは errno から読む。nullptr なら、クライアントが書き終えたので終わる。
void finish_tcp_client(Socket& socket, const EndpointText& peer, long long echoed,
                       const char* failed) noexcept;

// size バイトのすべてを送る。send(2) は一部しか送らないことがある。
// 失敗すれば false を返し、理由は errno に残る。相手が去ったあとの送信でプロセスが終わらないよう、
// SIGPIPE は無視しておくこと。
bool send_all(const Socket& socket, const char* data, std::size_t size) noexcept;

// ちょうど size バイトを受け取り、受け取ったバイト数を返す。recv(2) は一部しか届けないことがある。
// 相手が先に書き終えるか、失敗すれば、size より少ない。理由は errno にある (書き終えたのなら 0)。
std::size_t receive_all(const Socket& socket, char* buffer, std::size_t size) noexcept;
