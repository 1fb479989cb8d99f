// 第2章 接続ごとにプロセス: 親プロセスは受け付けるだけで、通信は子プロセスが行う。

#include "common/endpoint.h"
#include "common/log.h"
#include "common/socket.h"
#include "common/startup.h"
#include "common/tcp.h"

#include <cerrno>
#include <csignal>
#include <cstring>
#include <sys/wait.h>
#include <system_error>
#include <unistd.h>

// SIGCHLD のハンドラー: 終了した子プロセスを残らず回収する。
// 続けて届いたシグナルは一つにまとまるので、一度の waitpid では足りない。
void reap_children(int) {
    const int saved_errno = errno; // 割り込まれた処理が、このあと errno を調べるかもしれない
    pid_t pid = 0;
    do {
        pid = waitpid(-1, nullptr, WNOHANG);
    } while (pid > 0 || (pid == -1 && errno == EINTR));
    errno = saved_errno;
}

int main(int argc, char* argv[]) {
    start_clean();
    const Endpoint endpoint = endpoint_from_arguments(argc, argv);

    // 切断された接続に send しても、SIGPIPE でサーバーが終了しないようにする。
    std::signal(SIGPIPE, SIG_IGN);

    struct sigaction action {};
    action.sa_handler = reap_children;
    sigemptyset(&action.sa_mask);
    action.sa_flags = SA_RESTART | SA_NOCLDSTOP;
    sigaction(SIGCHLD, &action, nullptr); // 失敗するのは、引数が誤っているときだけ

    Socket server;
    try {
        server = create_tcp_server_socket(endpoint);
    } catch (const std::system_error& error) {
        die_with_error(error);
    }
    print_line("listening on ", local_address(server).text);

    for (;;) {
        Connection client = accept_tcp_connection(server);

        const pid_t pid = fork();
        if (pid == -1) {
            // 子プロセスを作れなかった: この接続だけをあきらめる
            log_line("fork() failed: ", std::strerror(errno));
        } else if (pid == 0) {
            // 子プロセス: この接続だけを扱って終了する
            server.close(); // 待ち受けは親プロセスの仕事
            handle_tcp_client(client);
            _exit(0); // exit と違い、親プロセスからコピーしたバッファーを書き出さない
        } else {
            // 親プロセス: すぐに次の接続を待つ
            client.socket.close(); // 接続は、コピーを持つ子プロセスが閉じる
            log_line("forked child ", pid);
        }
    }
}
