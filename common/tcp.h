// どの章でも変わらない TCP の部品。
#pragma once

#include "common/endpoint.h"
#include "common/socket.h"

#include <cstddef>

// クライアントとの接続。
struct Connection {
    Socket socket;     // 接続済みソケット (connected socket)
    EndpointText peer; // 相手のアドレス。accept(2) で得る
};

// endpoint で待ち受けるソケットを作る: socket(2), setsockopt(2), bind(2), listen(2)。
// 返した Socket が持ち主。失敗すると std::system_error ("bind 127.0.0.1:80: ...") を投げる。
Socket create_tcp_server_socket(const Endpoint& endpoint);

// 自分を起動したプログラム (systemd など) が待ち受けソケットを開いて渡していれば、それを返す。
// そうでなければ create_tcp_server_socket と同じ。渡し方は sd_listen_fds(3) の決まり: 環境変数
// LISTEN_PID が自分の PID で、LISTEN_FDS が 1 なら、ディスクリプタ 3 がそれである。
// 渡されたものが待ち受けソケット一つでなければ、std::system_error を投げる。
Socket inherit_or_create_tcp_server_socket(const Endpoint& endpoint);

// endpoint に接続したソケットを作る: socket(2), connect(2)。
// 返した Socket が持ち主。失敗すると std::system_error ("connect 127.0.0.1:80: ...") を投げる。
// 接続の途中でシグナルハンドラーが呼ばれても失敗 (EINTR) になる。
Socket create_tcp_client_socket(const Endpoint& endpoint);

// 次の接続を待って返す (accept(2))。返した Connection が持ち主。
// 失敗は返さない。その接続だけの失敗なら次の接続を待ち、ディスクリプタやメモリが
// 足りなければ 100 ミリ秒おきに試し続ける。どちらもログに一行を残す。
Connection accept_tcp_connection(const Socket& server) noexcept;

// ブロックしない accept の、三通りの結果。
enum class Accepted {
    connection, // 接続を受け付けた
    nobody,     // 待っている接続がないか、その接続が失敗した
    no_resources, // ディスクリプタやメモリが足りない。少し休んでから、また試す
};

// 待っている接続があれば client に入れる (accept4(2))。なくても待たない。
// server はノンブロッキングにしておくこと (set_nonblocking)。client もノンブロッキングになる。
// 失敗はログに一行を残す。
Accepted try_accept_tcp_connection(const Socket& server, Connection& client) noexcept;

// accept(2) や recv(2) が、ブロックする代わりに EAGAIN で失敗するようにする (fcntl(2) の
// O_NONBLOCK)。
void set_nonblocking(const Socket& socket) noexcept;

// EOF まで、届いたバイト列をそのまま送り返してから閉じる (recv(2), send(2))。
// 途中で失敗すればそこで閉じる。戻ったとき client は閉じていて、ログに一行が残る。
// 例外を投げない。
void handle_tcp_client(Connection& client) noexcept;

// 通信を終える: socket を閉じてから、ログに一行を残す。failed は失敗した呼び出しの名前
// ("recv() from") で、その理由は errno から読む。EOF で終わるときは nullptr。
void finish_tcp_client(Socket& socket, const EndpointText& peer, long long echoed,
                       const char* failed) noexcept;

// size バイトのすべてを送る。send(2) は一部しか送らないことがある。
// 失敗すれば false を返し、理由は errno に残る。切断されたあとの送信でプロセスが終了しないよう、
// SIGPIPE は無視しておくこと。
bool send_all(const Socket& socket, const char* data, std::size_t size) noexcept;

// ちょうど size バイトを受け取り、受け取ったバイト数を返す。recv(2) は一部しか届けないことがある。
// EOF か失敗で終われば size より少ない。理由は errno にある (EOF なら 0)。
std::size_t receive_all(const Socket& socket, char* buffer, std::size_t size) noexcept;
