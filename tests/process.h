// 外から見るための道具: プログラムを一つ起こし、出力を読み、/proc からようすを知る。
#pragma once

#include "common/endpoint.h"

#include <chrono>
#include <functional>
#include <string>
#include <sys/types.h>
#include <vector>

// 待つのは時間ではなく出来事。これは、出来事が起きなかったと決めるまでの時間。
inline std::chrono::seconds deadline{30};

// condition が成り立つまで待つ。limit までに成り立たなければ false。
bool eventually(const std::function<bool()>& condition, std::chrono::seconds limit = deadline);

// 一つのプログラムと、そこから生まれたプロセスすべての持ち主。消えるときにすべてを終わらせる。
class Process {
public:
    struct Options {
        std::string input = ""; // 標準入力に渡すファイル。空なら /dev/null
        bool as_nobody = false; // root のときだけ、特権のない利用者になってから始める
        bool output_to_pipe =
            false; // 標準出力をファイルでなくパイプにする (読み手は output_pipe())
        std::string port = "0"; // Server のポート。0 なら、空いているもの
    };

    // command[0] を起こす。見つからなければ std::runtime_error を投げる。
    explicit Process(const std::vector<std::string>& command);
    Process(const std::vector<std::string>& command, const Options& options);
    Process(const Process&) = delete;
    Process& operator=(const Process&) = delete;
    ~Process();

    pid_t pid() const { return pid_; }
    std::string output() const; // 標準出力に書かれたもの、これまでのすべて
    std::string errors() const; // 標準エラー出力に書かれたもの、これまでのすべて
    Socket& output_pipe() { return pipe_; }

    void signal(int number) const; // このプロセスだけに送る
    // このプロセスと、そこから生まれたものすべてを止め、どのスレッドも止まるまで待つ。
    void stop() const;
    void resume() const;
    bool running();
    // 終わるのを待ち、終了ステータスを返す。シグナルで終わったときは 128 + シグナルの番号、
    // deadline までに終わらなければ -1。
    int wait();

private:
    pid_t pid_ = -1;
    int status_ = -1; // 終わったあとは終了ステータス
    bool ended_ = false;
    Socket output_;
    Socket errors_;
    Socket pipe_;
};

// 動いていて、つながるサーバー。
struct Server : Process {
    // command に、ポートと、空でなければ address を足して起こす。どこで待ち受けているかは、
    // 起動の行 "listening on ..." から読みとる。
    explicit Server(std::vector<std::string> command, const std::string& address = "",
                    const Options& options = {});
    // 起動の行を言わないサーバー。command の {port} をポートに置きかえて起こし、つながるまで待つ。
    static Server foreign(const std::string& command, const Options& options = {});

    Endpoint endpoint;

private:
    Server(const std::string& command, const Endpoint& chosen, const Options& options);
};

// text の行のうち、start で始まり、part を含むもの。改行はつかない。
std::vector<std::string> lines_with(const std::string& text, const std::string& part,
                                    const std::string& start = "");
// "127.0.0.1:7000" か "[::1]:7000" を Endpoint にする。
Endpoint endpoint_from_text(const std::string& text);
// 起動の行 "listening on 127.0.0.1:7000" の言う Endpoint。違う行なら std::runtime_error を投げる。
Endpoint endpoint_from_first_line(const std::string& text);
std::string port_of(const Endpoint& endpoint);

// /proc から読む、プロセスのようす (Linux)。
struct Usage {
    int descriptors = 0;
    int threads = 0;
    long resident_kib = 0;
};
Usage usage_of(pid_t pid);
char state_of(pid_t pid); // 'R' 実行中, 'S' 待ち, 'T' 停止中, 'Z' ゾンビ。いなければ 0
// pid の子プロセスのうち、state ('Z' ならゾンビ、0 ならすべて) にあるものの番号。
std::vector<pid_t> children_of(pid_t pid, char state = 0);
