// 外から見るための道具: プログラムを一つ起こし、出力を読み、終わらせる。
#pragma once

#include "common/endpoint.h"
#include "tests/outside/proc.h"

#include <chrono>
#include <functional>
#include <set>
#include <string>
#include <sys/types.h>
#include <vector>

// 待つのは時間ではなく出来事。これは、出来事が起きなかったと決めるまでの時間。
inline std::chrono::seconds deadline{30};

// condition が成り立つまで待つ。limit までに成り立たなければ false。
bool eventually(const std::function<bool()>& condition, std::chrono::seconds limit = deadline);

// 待つあいだ、時々たずねる: 今いるサーバーが、2 秒の間一度も動かずに眠っているか、待ちはじめてから
// CPU を 4 秒使っても何も起きなければ、もう待たない。読者のサーバー (impatient) にだけ使う。
class Hope {
public:
    bool lost();

private:
    double begin_ = -1;
    long switches_ = -1;
    std::chrono::steady_clock::time_point since_;
};
inline bool impatient = false;

// 一つのプログラムと、そこから生まれたプロセスすべて (家族) の持ち主。消えるときにすべてを
// 終わらせる。家族は同じプロセスグループにいるので、間のプロセスが先に終わっても分かる。
class Process {
public:
    // 名前と数の組: {"idle-ms", "50"} は、--idle-ms 50 か、{idle-ms} のかわりの 50 になる。
    using Numbers = std::vector<std::pair<std::string, std::string>>;
    struct Options {
        std::string input = ""; // 標準入力に渡すファイル。空なら /dev/null
        bool output_to_pipe =
            false; // 標準出力をファイルでなくパイプにする (読み手は output_pipe())
        bool one_output = false; // 標準エラー出力も、標準出力と同じところに書かせる
        int listener = -1;      // 3 番として渡す待ち受けソケット (sd_listen_fds(3))
        std::string port = "0"; // Server に渡すポート。空なら、command にある
        Numbers numbers = {};   // Server に名前で渡す数
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
    std::vector<pid_t> family() const;
    Usage usage() const; // 家族のすべてを足したもの
    // 家族のすべてを止め、どのスレッドも止まるまで待つ。
    void stop() const;
    void resume() const;
    // 家族のどのスレッドも眠り、何かが起きるのを待っている。起きたことには、もう応じおえている。
    bool asleep() const;
    bool running();
    // 終わるのを待ち、終了ステータスを返す。シグナルで終わったときは 128 + シグナルの番号、
    // limit までに終わらなければ -1。
    int wait(std::chrono::seconds limit = deadline);

private:
    pid_t pid_ = -1;
    int status_ = -1; // 終わったあとは終了ステータス
    bool ended_ = false;
    Socket output_;
    Socket errors_;
    Socket pipe_;
};

// 動いていて、待ち受けているサーバー。
struct Server : Process {
    // command に、ポートと、空でなければ address を足して起こす。どこで待ち受けているかは、
    // 起動の行 "listening on ..." から読みとる。
    explicit Server(std::vector<std::string> command, const std::string& address = "",
                    const Options& options = {});
    // 起動の行を言わないサーバー。command の {port} をポートに、{idle-ms} {clients} {grace-ms} を
    // options.numbers か、どのテストの邪魔にもならない数に置きかえて sh に渡し、待ち受けるまで
    // 待つ。裏へ回るもの (デーモン) は、終わらせて、std::runtime_error
    // を投げる。試しにつないではみないので、サーバーはまだだれの相手もしていない。
    static Server foreign(const std::string& command, const Options& options = {});

    // 借りたポート。others は、そこですでに待ち受けているもの (前のサーバーの子プロセスなど)。
    struct Place {
        std::string port;
        Socket lease;
        std::set<unsigned long> others;
    };
    // ほかのだれも使わないポートと、それを借りているしるし。閉じてから起こすまでの間に
    // 取られないよう、カーネルが bind(2) や connect(2) のために選ぶ番号 (ip_local_port_range)
    // より小さいものから選ぶ。並んで走るテストとは、同じ名前の Unix ソケットを持つことで分けあう。
    static Place borrow_port();

    ~Server();
    // 終わっていれば、どう終わったか。そして、書いたものの最後の数行。
    std::string testimony();

    Endpoint endpoint;
    bool told_to_stop = false; // 終わるのは、止めたから
    pid_t listener = -1; // 待ち受けているプロセス。sh を通して起こせば、pid() とは限らない

private:
    Server(const std::string& command, Place place, Options options);
    Place place_;
};

// 今いるサーバー。deadline が過ぎても眠っていなければ、遅いだけかもしれない。
inline const Server* present = nullptr;
inline std::string latest; // 最後に起こしたもの。テストが失敗したときに言う
// foreign のサーバーの testimony。消えるときにここに足す。
inline std::string last_words;

bool contains(const std::string& text, const std::string& part);
// text の行のうち、start で始まり、part を含むもの。改行はつかない。
std::vector<std::string> lines_with(const std::string& text, const std::string& part,
                                    const std::string& start = "");
// "127.0.0.1:7000" か "[::1]:7000" を Endpoint にする。
Endpoint endpoint_from_text(const std::string& text);
// 起動の行 "listening on 127.0.0.1:7000" の言う Endpoint。違う行なら std::runtime_error を投げる。
Endpoint endpoint_from_first_line(const std::string& text);
std::string port_of(const Endpoint& endpoint);
