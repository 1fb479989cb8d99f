// 一つのスレッドが recv で待っているソケットを、別のスレッドが閉じる (docs/more/03-threads.md)。
// 引数に shutdown と書けば、閉じる前に shutdown を呼ぶ。

#include "common/log.h"
#include "common/tcp.h"

#include <iostream>
#include <string>
#include <sys/socket.h>
#include <thread>

int main(int argc, char*[]) {
    const Socket server = create_tcp_server_socket(*parse_endpoint("7777", "127.0.0.1"));
    Connection client = accept_tcp_connection(server);

    std::thread waiter([&client] {
        char byte = 0;
        print_line("recv returned ", recv(client.socket.fd(), &byte, 1, 0));
    });

    std::string line;
    std::getline(std::cin, line); // Enter を待つ
    if (argc > 1) {
        shutdown(client.socket.fd(), SHUT_RDWR);
    }
    client.socket.close();
    print_line("closed");
    waiter.join();
}
