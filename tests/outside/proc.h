// 外から見るための道具: プロセスとソケットのようすを、/proc から読む (Linux)。
#pragma once

#include <ostream>
#include <set>
#include <string>
#include <sys/types.h>
#include <vector>

std::string read_text(const std::string& path); // ファイルのすべて。なければ空

// プロセスのようす。
struct Usage {
    int descriptors = 0;
    int threads = 0;
    long resident_kib = 0;
    long virtual_kib = 0;
    int processes = 0; // ゾンビも数える
    int zombies = 0;
    double cpu_seconds = 0; // これまでに使った CPU 時間
    friend std::ostream& operator<<(std::ostream& out, const Usage& usage) {
        return out << "ディスクリプタ " << usage.descriptors << ", スレッド " << usage.threads
                   << ", プロセス " << usage.processes << " (うちゾンビ " << usage.zombies << ")";
    }
};
Usage usage_of(pid_t pid);
Usage usage_of(const std::vector<pid_t>& pids); // すべてを足したもの

char state_of(pid_t pid); // 'R' 実行中, 'S' 待ち, 'T' 停止中, 'Z' ゾンビ。いなければ 0
bool has_ended(pid_t pid); // いないか、回収されるのを待っている
// pid の子プロセスのうち、state ('Z' ならゾンビ、0 ならすべて) にあるものの番号。
std::vector<pid_t> children_of(pid_t pid, char state = 0);
std::vector<pid_t> members_of(pid_t group); // プロセスグループにいるもの

// /proc/PID/stat のはじめのほう: "4021 (chapter02) S 4020 ..."。
struct Stat {
    char state = 0;
    pid_t parent = 0;
    pid_t group = 0;
    double cpu_seconds = 0;
    double reaped_seconds = 0; // 回収した子プロセスの分。10 ミリ秒単位に切り捨ててある
};
Stat stat_of(const std::string& task); // "PID" か "PID/task/TID"。いなければ、どれも 0
std::vector<std::string> tasks_of(const std::vector<pid_t>& pids); // "PID/task/TID" のすべて
// 眠らされた回数と、待たされた回数の合計。眠っていないスレッドがあれば -1。
long switches_while_asleep(const std::vector<std::string>& tasks);

// TCP のソケット一つ (/proc/net/tcp と tcp6)。
struct TcpSocket {
    unsigned port = 0;
    unsigned peer = 0;        // 相手のポート
    unsigned state = 0;       // TCP_LISTEN など (netinet/tcp.h)
    unsigned long unread = 0; // 届いたのに、まだ読まれていないバイト数
    unsigned long inode = 0;
};
// 自分の側のポートが port のもの。listening なら、待ち受けるものだけ。
std::vector<TcpSocket> tcp_sockets(const std::string& port, bool listening = false);
std::set<unsigned long> listening_inodes(const std::string& port); // そこで待ち受けるもの
bool holds_socket(pid_t pid, unsigned long inode);
