// 接続一本と往復一回の費用を、いくつものサーバーで同じときに測って並べる (Linux)。
// 列の意味は、表の下に出る説明 (legend) にある。

#include "common/endpoint.h"
#include "common/socket.h"
#include "common/tcp.h"
#include "tests/process.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cmath>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <deque>
#include <filesystem>
#include <fstream>
#include <limits>
#include <memory>
#include <set>
#include <sstream>
#include <stdexcept>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <system_error>
#include <thread>

namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;
using Message = std::array<std::uint64_t, 8>; // 往復させる 64 バイト

// 一つの測定で得る数。時間はマイクロ秒。測れなかったものは NaN。
enum Metric { rate, p50, p99, longest, cpu, memory, processes, threads, errors, metrics };
using Figures = std::array<double, metrics>;
constexpr double missing = std::numeric_limits<double>::quiet_NaN();
constexpr Figures nothing = {missing, missing, missing, missing, missing,
                             missing, missing, missing, missing};

struct Candidate {
    std::string label;
    std::string command; // 実行ファイル。foreign なら、{port} を含むコマンド
    bool foreign = false;
};

// 表の一行。
struct Row {
    Candidate candidate;
    std::string load;
    std::size_t connections = 0;
    std::vector<Figures> rounds;
    std::string note; // 測れなかったわけ、失敗のわけ
};

// 何を測るか。どの測定も、回数と時間のうち、先に来たほうで終わる。
struct Plan {
    bool quick = false;
    int rounds = 7;
    std::size_t churns = 4000;
    std::size_t echoes = 20'000; // 接続の数の 4 倍のほうが多ければ、そちら
    Clock::duration limit = 2s;
    std::vector<std::size_t> held = {1, 100, 1000, 9000};
    std::string csv = "build/bench.csv";
    std::string pictures = "build";
    std::vector<Candidate> candidates;
    unsigned cpus = std::thread::hardware_concurrency();
};

constexpr std::size_t at_a_time = 8;  // 同時につなぎかける数
constexpr std::size_t rush_hour = 32; // 混んだときに、同時につなぎかける数
constexpr std::size_t warm_up = 40;   // churn の前のならし
constexpr std::size_t too_many = 100; // これだけ失敗したら、その測定をやめる
constexpr std::size_t spare_descriptors = 100;
constexpr std::chrono::seconds ramp_limit = 30s; // N 本をつなぐのに、これ以上はかけない
constexpr std::chrono::seconds full = 2s; // つないでいる間にこれだけ進まなければ、もう持てない
constexpr std::chrono::seconds dead = 5s; // 往復の間にこれだけ進まなければ、失敗

volatile std::sig_atomic_t interrupted = 0;

double cpu_clock(clockid_t clock) {
    timespec time{};
    clock_gettime(clock, &time);
    return 1e6 * static_cast<double>(time.tv_sec) + 1e-3 * static_cast<double>(time.tv_nsec);
}

// ---- 負荷をかけるクライアント ----

enum class Work {
    churn, // つなぎ、一往復し、送る向きを閉じ、サーバーが閉じるのを見る
    connect, // つなぎ、一往復し、そのまま持つ
    echo,    // 持っている接続のすべてで往復する
};

// 一つのスレッドで、たくさんの接続を epoll で進める。返ってきたバイトはすべて確かめる。
class LoadClient {
public:
    explicit LoadClient(const Endpoint& server) : server_(server), epoll_(epoll_create1(0)) {}

    std::vector<double> latencies; // 最後の run の、一回ごとの時間 (マイクロ秒)
    double seconds = 0;            // 最後の run の長さ
    std::size_t failures = 0;      // これまでのすべての失敗
    std::string problem;           // その最初のもの
    std::size_t held = 0;          // 持っている接続の数

    // total 回を parallel 本ずつ進める。limit を過ぎたら、新しい回は始めない。
    // churn は波で進める: parallel 本がいっせいに来て、みな去ってから次が来る。去ったそばから次が
    // 来るのでは、サーバーに一度にいるのは parallel 本よりずっと少ない。
    // look は、出来事を一つ扱うたびに呼ぶ。
    void run(Work work, std::size_t total, std::size_t parallel, Clock::duration limit,
             const std::function<void()>& look = {}) {
        work_ = work;
        left_ = total;
        latencies.clear();
        const auto begin = progress_ = Clock::now();
        stop_ = begin + limit;
        for (std::size_t i = 0; i < parallel; ++i) {
            start(work == Work::echo ? connections_[i] : connections_.emplace_back());
        }
        const std::chrono::seconds patience = work == Work::connect ? full : dead;
        while (active_ > 0) {
            std::array<epoll_event, 256> events{};
            const int n = epoll_wait(epoll_.fd(), events.data(), events.size(), 100);
            if (interrupted != 0) {
                throw std::runtime_error("interrupted");
            }
            for (int i = 0; i < n; ++i) {
                handle(*static_cast<Connection*>(events[static_cast<std::size_t>(i)].data.ptr));
                if (look) {
                    look();
                }
            }
            if (Clock::now() - progress_ > patience) {
                left_ = 0;
                for (Connection& connection : connections_) {
                    if (connection.state != Connection::idle) {
                        fail(connection,
                             std::to_string(patience.count()) + " 秒待っても返事がない");
                    }
                }
            }
            if (work == Work::churn && active_ == 0) {
                for (Connection& connection : connections_) {
                    start(connection);
                }
            }
        }
        seconds = std::chrono::duration<double>(Clock::now() - begin).count();
        if (work == Work::churn) {
            connections_.clear();
        } else if (work == Work::connect) {
            held += latencies.size();
            problem = left_ > 0 && problem.empty() ? "時間切れ" : problem;
        }
    }

private:
    struct Connection {
        Socket socket;
        enum { idle, connecting, echoing, closing } state = idle;
        Message message{};
        std::size_t received = 0;
        Clock::time_point started;
    };

    void start(Connection& connection) {
        if (left_ == 0 || Clock::now() > stop_) {
            return;
        }
        --left_;
        ++active_;
        connection.started = Clock::now();
        if (work_ == Work::echo) {
            send_message(connection);
            return;
        }
        // create_tcp_client_socket では、待ち行列のあふれたサーバーで一つが待つと、すべてが待つ。
        connection.socket =
            Socket{socket(server_.storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK, 0)};
        connection.state = Connection::connecting;
        if (connection.socket.fd() == -1 ||
            (connect(connection.socket.fd(), server_.address(), server_.length) == -1 &&
             errno != EINPROGRESS)) {
            fail(connection, std::strerror(errno));
            return;
        }
        watch(connection, EPOLL_CTL_ADD, EPOLLOUT);
    }

    void watch(Connection& connection, int operation, std::uint32_t events) {
        epoll_event event{events, {.ptr = &connection}};
        epoll_ctl(epoll_.fd(), operation, connection.socket.fd(), &event);
    }

    void send_message(Connection& connection) {
        for (std::uint64_t& word : connection.message) {
            word = pattern_ = pattern_ * 6364136223846793005U + 1442695040888963407U;
        }
        connection.received = 0;
        connection.state = Connection::echoing;
        if (send(connection.socket.fd(), connection.message.data(), sizeof(Message),
                 MSG_NOSIGNAL) != sizeof(Message)) {
            fail(connection, std::strerror(errno));
        }
    }

    void handle(Connection& connection) {
        if (connection.state == Connection::connecting) {
            watch(connection, EPOLL_CTL_MOD, EPOLLIN);
            send_message(connection); // つながらなかったときは、そのわけで失敗する
            return;
        }
        std::array<char, 2 * sizeof(Message)> buffer{}; // 余計なバイトも見つかる大きさ
        const ssize_t n = recv(connection.socket.fd(), buffer.data(), buffer.size(), 0);
        const auto size = static_cast<std::size_t>(std::max<ssize_t>(n, 0));
        const char* const expected =
            reinterpret_cast<const char*>(connection.message.data()) + connection.received;
        if (n == -1) {
            fail(connection, std::strerror(errno));
        } else if (n == 0 && connection.state == Connection::closing) {
            connection.socket.close();
            finish(connection);
        } else if (n == 0) {
            fail(connection, "サーバーが閉じた");
        } else if (size > sizeof(Message) - connection.received ||
                   std::memcmp(buffer.data(), expected, size) != 0) {
            fail(connection, "違うバイトが返った");
        } else if ((connection.received += size) == sizeof(Message)) {
            if (work_ == Work::churn) {
                connection.state = Connection::closing;
                shutdown(connection.socket.fd(), SHUT_WR);
            } else {
                finish(connection);
            }
        }
    }

    void finish(Connection& connection) {
        progress_ = Clock::now();
        latencies.push_back(
            std::chrono::duration<double, std::micro>(progress_ - connection.started).count());
        connection.state = Connection::idle;
        --active_;
        if (work_ == Work::echo) {
            start(connection);
        } else if (work_ == Work::connect && left_ > 0) {
            start(connections_.emplace_back());
        }
    }

    void fail(Connection& connection, const std::string& why) {
        connection.socket.close();
        if (std::exchange(connection.state, Connection::idle) != Connection::idle) {
            --active_; // 持っているだけの接続が閉じられたときは、始めた回がない
        }
        problem = problem.empty() ? why : problem;
        if (++failures >= too_many || work_ == Work::connect) {
            left_ = 0;
        }
    }

    Endpoint server_;
    Socket epoll_;
    std::deque<Connection> connections_; // 増えても、前からある要素は動かない
    Work work_ = Work::churn;
    std::size_t left_ = 0;   // まだ始めていない回
    std::size_t active_ = 0; // 始めて、終わっていない回
    std::uint64_t pattern_ = 1;
    Clock::time_point stop_;
    Clock::time_point progress_; // 最後に一回が終わったとき
};

// ---- サーバーを外から見る ----

// 自分の子孫のすべて。サーバーは一度に一つしか動かさないので、それがサーバーのすべてになる。
// 親に先立たれたプロセスも、自分が引き取る (main の PR_SET_CHILD_SUBREAPER)。
struct Family {
    std::vector<pid_t> pids; // ゾンビは入れない
    double threads = 0;
    double cpu = 0; // 今いるプロセスがこれまでに使った CPU 時間
};

void add_children(pid_t parent, Family& family) {
    std::error_code gone; // 見ている間にいなくなったものは、飛ばす
    for (const auto& task :
         std::filesystem::directory_iterator("/proc/" + std::to_string(parent) + "/task", gone)) {
        std::ifstream children(task.path() / "children");
        for (pid_t pid = 0; children >> pid;) {
            clockid_t clock{};
            if (state_of(pid) != 'Z' && clock_getcpuclockid(pid, &clock) == 0) {
                family.pids.push_back(pid);
                family.threads += usage_of(pid).threads;
                family.cpu += cpu_clock(clock);
            }
            add_children(pid, family);
        }
    }
}

Family family() {
    Family result;
    add_children(getpid(), result);
    return result;
}

double proc_kib(const std::string& path, const std::string& key) {
    std::ifstream file(path);
    for (std::string line; std::getline(file, line);) {
        if (line.starts_with(key)) {
            return std::stod(line.substr(key.size()));
        }
    }
    return missing;
}

double pss_kib(const Family& group) {
    double total = 0;
    for (const pid_t pid : group.pids) {
        total += proc_kib("/proc/" + std::to_string(pid) + "/smaps_rollup", "Pss:");
    }
    return total;
}

// 自分が回収したプロセスと、それらが生きているうちに回収したプロセスの CPU 時間。
double reaped_cpu() {
    rusage usage{};
    getrusage(RUSAGE_CHILDREN, &usage);
    return 1e6 * static_cast<double>(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           static_cast<double>(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

// 動いているサーバー。消えるときに、子孫のすべてを終わらせて回収する。
struct Running {
    std::unique_ptr<Server> process;

    explicit Running(const Candidate& candidate)
        : process(candidate.foreign ? new Server(Server::foreign(candidate.command))
                                    : new Server({candidate.command})) {
        if (candidate.foreign) {
            std::this_thread::sleep_for(100ms); // つながるかを試した一本が片づくまで
        }
    }
    ~Running() {
        process.reset();
        for (auto rest = children_of(getpid()); !rest.empty(); rest = children_of(getpid())) {
            for (const pid_t pid : rest) {
                kill(pid, SIGKILL);
                waitpid(pid, nullptr, 0);
            }
        }
    }
};

// ---- 測る ----

void add_latencies(Figures& figures, LoadClient& client) {
    std::vector<double>& times = client.latencies;
    figures[errors] = static_cast<double>(client.failures);
    if (!times.empty()) {
        std::sort(times.begin(), times.end());
        figures[rate] = static_cast<double>(times.size()) / client.seconds;
        figures[p50] = times[(times.size() - 1) / 2];
        figures[p99] = times[(times.size() - 1) * 99 / 100];
        figures[longest] = times.back();
    }
}

// CPU 時間は、サーバーの一生の分から起動の分を引く。一生の分は、すべてを終わらせて回収すれば
// RUSAGE_CHILDREN に入る。生きているうちに /proc/PID/stat で子プロセスの分 (cutime) を読む手も
// あるが、あれは 10 ミリ秒単位の切り捨てになる。
void measure_churn(const Plan& plan, Row& row) {
    Figures figures = nothing;
    const double before = reaped_cpu();
    double startup = 0;
    double survivors = 0;
    double operations = 0;
    std::set<pid_t> seen;
    {
        const Running server(row.candidate);
        LoadClient client(server.process->endpoint);
        startup = family().cpu;
        client.run(Work::churn, warm_up, row.connections, plan.limit, [&] {
            const Family now = family();
            seen.insert(now.pids.begin(), now.pids.end());
            figures[processes] =
                std::fmax(figures[processes], static_cast<double>(now.pids.size()));
            figures[threads] = std::fmax(figures[threads], now.threads);
        });
        operations = static_cast<double>(client.latencies.size());
        client.run(Work::churn, plan.churns, row.connections, plan.limit);
        operations += static_cast<double>(client.latencies.size());
        add_latencies(figures, client);
        row.note = client.problem.empty() ? row.note : client.problem;
        const Family rest = family();
        survivors = rest.cpu;
        for (const pid_t pid : rest.pids) {
            seen.erase(pid);
        }
    }
    // いなくなったプロセスがあるのに、その CPU 時間がどこにもない (一回に 10 マイクロ秒もない):
    // 親が SIGCHLD を無視していると、カーネルは子プロセスの分をだれの勘定にも入れない。
    const double lifetime = reaped_cpu() - before;
    if (operations > 0 && (seen.empty() || lifetime - survivors > 10 * operations)) {
        figures[cpu] = (lifetime - startup) / operations;
    }
    row.rounds.push_back(figures);
}

// 持てなければ row.note にわけを残し、何も足さない。ただし一本も持てないのは、限界でなく故障。
void measure_hold(const Plan& plan, Row& row) {
    Figures figures = nothing;
    const std::size_t wanted = row.connections;
    const double whole = proc_kib("/proc/meminfo", "MemTotal:");
    const Running server(row.candidate);
    const double idle = pss_kib(family());
    LoadClient client(server.process->endpoint);
    const auto begin = Clock::now();
    while (client.held < wanted) {
        const std::size_t some = std::min<std::size_t>(wanted - client.held, 250);
        client.run(Work::connect, some, std::min(some, at_a_time),
                   begin + ramp_limit - Clock::now());
        if (proc_kib("/proc/meminfo", "MemAvailable:") < whole / 8) {
            client.problem = "空きメモリが全体の 1/8 を切った";
        }
        if (!client.problem.empty()) {
            row.note = std::to_string(client.held) + " 本まで: " + client.problem;
            if (wanted == 1) {
                figures[errors] = 1;
                row.rounds.push_back(figures);
            }
            return;
        }
    }
    // つないでいる間に終わるプロセスはないので、それぞれの CPU 時計を足せばよい。
    const double before = family().cpu;
    client.run(Work::echo, std::max(plan.echoes, 4 * wanted), wanted, plan.limit);
    const Family crowd = family();
    if (client.failures == 0) { // 途中で終わったプロセスがあると、差は意味を持たない
        figures[cpu] = (crowd.cpu - before) / static_cast<double>(client.latencies.size());
        figures[memory] = (pss_kib(crowd) - idle) / static_cast<double>(wanted);
    }
    figures[processes] = static_cast<double>(crowd.pids.size());
    figures[threads] = crowd.threads;
    add_latencies(figures, client);
    row.note = client.problem.empty() ? row.note : client.problem;
    row.rounds.push_back(figures);
}

// 床: いつでも準備のできたソケットで recv と send をするだけの CPU 時間。待つことも、受け付ける
// ことも、ログもない。クライアントの側の send と recv は入れない。
void measure_floor(const Plan& plan, Row& row) {
    const Socket listener = create_tcp_server_socket(*parse_endpoint("0", "127.0.0.1"));
    std::vector<std::pair<Socket, Socket>> pairs;
    while (pairs.size() < row.connections) {
        Socket client = create_tcp_client_socket(endpoint_from_text(local_address(listener).text));
        pairs.emplace_back(std::move(client), accept(listener.fd(), nullptr, nullptr));
    }
    double used = 0;
    double operations = 0;
    for (Message message{}; operations < static_cast<double>(plan.echoes);) {
        for (const auto& [client, server] : pairs) {
            send(client.fd(), message.data(), sizeof message, 0);
        }
        const double begin = cpu_clock(CLOCK_THREAD_CPUTIME_ID);
        for (const auto& [client, server] : pairs) {
            recv(server.fd(), message.data(), sizeof message, 0);
            send(server.fd(), message.data(), sizeof message, 0);
        }
        used += cpu_clock(CLOCK_THREAD_CPUTIME_ID) - begin;
        operations += static_cast<double>(pairs.size());
        for (const auto& [client, server] : pairs) {
            recv(client.fd(), message.data(), sizeof message, 0);
        }
    }
    row.rounds.push_back(nothing);
    row.rounds.back()[cpu] = used / operations;
}

// ---- 報告する ----

// ラウンドを通じた中央値、最小、最大。
std::array<Figures, 3> summarize(const Row& row) {
    std::array<Figures, 3> result = {nothing, nothing, nothing};
    for (std::size_t metric = 0; metric < metrics; ++metric) {
        std::vector<double> values;
        for (const Figures& figures : row.rounds) {
            if (!std::isnan(figures[metric])) {
                values.push_back(figures[metric]);
            }
        }
        if (!values.empty()) {
            std::sort(values.begin(), values.end());
            const std::size_t last = values.size() - 1;
            result[0][metric] = (values[last / 2] + values[(last + 1) / 2]) / 2;
            result[1][metric] = values.front();
            result[2][metric] = values.back();
        }
    }
    return result;
}

std::string number(double value, const char* otherwise) {
    std::array<char, 32> text{};
    std::snprintf(text.data(), text.size(), value < 999.5 ? "%.3g" : "%.0f", value);
    return std::isnan(value) ? otherwise : text.data();
}

constexpr const char* legend = R"(
load      churn: N 本がいっせいに来て、それぞれつなぎ、64 バイトを一往復し、閉じる。
                 みな去ったら、次の N 本。一回は、接続一本
          hold:  N 本をつないだまま、そのすべてで 64 バイトの往復をくり返す。一回は、一往復
          floor: いつでも準備のできたソケットで recv と send をするだけ。これより安い往復はない
op/s      一秒あたりの回数 [最小-最大]
p50, p99  半分の回、99% の回は、この時間のうちに終わった (マイクロ秒)。max は一番長かった回
CPU us    サーバーとその子孫が一回に使った CPU 時間 (マイクロ秒、user + system) [最小-最大]。
          混んだ機械で信じるなら、これ。n/a は、子プロセスの分がどこにも報告されないもの
KiB/conn  接続一本あたりのメモリ: (N 本のときの PSS - 接続のないときの PSS) / N。
          カーネルの中の分 (ソケット、プロセスの管理、ページテーブル) は含まない
proc, thr 一番多いときのプロセスとスレッドの数
err       失敗した回数 (全ラウンドの合計)
サーバーは接続ごとにログを書く。その費用は、どの数にも含まれている。
)";

void print_table(const std::vector<Row>& rows, const Plan& plan) {
    utsname system{};
    uname(&system);
    std::printf("接続一本と往復一回の費用: %d ラウンドの中央値%s\n%s %s %s, %u CPU\n\n",
                plan.rounds, plan.quick ? " (QUICK: 回数の少ない、目安の値)" : "", system.sysname,
                system.release, system.machine, plan.cpus);
    constexpr std::array<int, metrics> widths = {22, 7, 7, 7, 18, 8, 5, 5, 4};
    constexpr std::array<const char*, metrics> heads = {
        "op/s [min-max]", "p50",  "p99", "max", "CPU us [min-max]",
        "KiB/conn",       "proc", "thr", "err"};
    std::printf("%-17s %5s %5s", "server", "load", "N");
    for (std::size_t metric = 0; metric < metrics; ++metric) {
        std::printf(" %*s", widths[metric], heads[metric]);
    }
    std::string previous;
    for (const Row& row : rows) {
        std::printf("%s%-17s %5s %5zu", previous == row.candidate.label ? "\n" : "\n\n",
                    row.candidate.label.c_str(), row.load.c_str(), row.connections);
        previous = row.candidate.label;
        auto [median, least, most] = summarize(row);
        median[errors] = 0; // 一度でも失敗すれば見えるように、合計を出す
        for (const Figures& figures : row.rounds) {
            median[errors] += std::isnan(figures[errors]) ? 0 : figures[errors];
        }
        for (std::size_t metric = 0; metric < metrics && !row.rounds.empty(); ++metric) {
            const bool unknown = metric == cpu && !std::isnan(median[rate]);
            std::string text = number(median[metric], unknown ? "n/a" : "-");
            if ((metric == rate || metric == cpu) && !std::isnan(median[metric])) {
                text += " [" + number(least[metric], "") + "-" + number(most[metric], "") + "]";
            }
            std::printf(" %*s", widths[metric], text.c_str());
        }
        std::printf(" %s%s", row.rounds.empty() ? "— " : "", row.note.c_str());
    }
    std::printf("\n%s", legend);
}

// 一行に一つの測定。round が数字ならそのラウンド、median, min, max ならラウンドを通じたもの。
void write_csv(const std::string& path, const std::vector<Row>& rows) {
    std::ofstream file(path);
    file << "server,load,connections,round,ops_per_s,p50_us,p99_us,max_us,cpu_us_per_op,"
            "kib_per_connection,processes,threads,errors,note\n";
    for (const Row& row : rows) {
        const auto line = [&](const std::string& round, const Figures& figures) {
            file << row.candidate.label << ',' << row.load << ',' << row.connections << ','
                 << round;
            for (const double value : figures) {
                file << ',' << number(value, "");
            }
            file << ',' << row.note << '\n';
        };
        for (std::size_t i = 0; i < row.rounds.size(); ++i) {
            line(std::to_string(i + 1), row.rounds[i]);
        }
        const auto [median, least, most] = summarize(row);
        line("median", median);
        line("min", least);
        line("max", most);
    }
    if (!file.flush()) {
        throw std::runtime_error("cannot write " + path);
    }
    std::printf("数: %s\n", path.c_str());
}

void draw(const Plan& plan) {
    Process gnuplot({"/bin/sh", "-c", "exec gnuplot -c tests/bench.gnuplot \"$@\"", "gnuplot",
                     plan.csv, plan.pictures});
    const int status = gnuplot.wait();
    if (status == 0) {
        std::printf("図: %s/bench-*.svg\n", plan.pictures.c_str());
    } else if (status == 127) {
        std::printf("図は描かない: gnuplot がない (apt-get install gnuplot-nox)\n");
    } else {
        std::printf("図は描けなかった: %s\n", gnuplot.errors().c_str());
    }
}

// ---- 何を測るか ----

// 表での名前は、コマンドの最初の語からフォルダーを除いたもの。同じ名前があれば、フォルダーもつける。
void add_candidate(Plan& plan, const std::string& command, bool foreign) {
    const std::filesystem::path program = command.substr(0, command.find(' '));
    std::string label = program.filename();
    const std::string folder = program.parent_path().filename();
    while (std::ranges::count(plan.candidates, label, &Candidate::label) > 0) {
        label.insert(0, folder + "/");
    }
    plan.candidates.push_back({label, command, foreign});
}

// 引数が誤っていれば、candidates を空にして返す。
Plan parse(const std::vector<std::string>& arguments) {
    Plan plan;
    const char* const environment = std::getenv("QUICK");
    plan.quick = environment != nullptr && *environment != '\0' && *environment != '0';
    std::string extra;
    for (std::size_t i = 0; i < arguments.size(); ++i) {
        const bool has_value = i + 1 < arguments.size();
        if (arguments[i] == "--csv" && has_value) {
            plan.csv = arguments[++i];
        } else if (arguments[i] == "--pictures" && has_value) {
            plan.pictures = arguments[++i];
        } else if (arguments[i] == "--extra" && has_value) {
            extra = arguments[++i];
        } else if (arguments[i].starts_with('-')) {
            return {};
        } else {
            add_candidate(plan, arguments[i], false);
        }
    }
    std::istringstream commands(extra);
    for (std::string command; std::getline(commands >> std::ws, command, ';');) {
        if (command.find("{port}") == std::string::npos) {
            return {};
        }
        add_candidate(plan, command, true);
    }
    if (plan.quick) {
        plan.rounds = 5;
        plan.churns = 800;
        plan.echoes = 4000;
        plan.limit = 500ms;
        plan.held.pop_back();
    }
    return plan;
}

std::vector<Row> empty_table(const Plan& plan) {
    std::vector<Row> rows = {{{"(floor)", "", false}, "floor", 64, {}, ""}};
    for (const Candidate& candidate : plan.candidates) {
        rows.push_back({candidate, "churn", at_a_time, {}, ""});
        rows.push_back({candidate, "churn", rush_hour, {}, ""});
        for (const std::size_t connections : plan.held) {
            rows.push_back({candidate, "hold", connections, {}, ""});
        }
    }
    return rows;
}

// ディスクリプタの上限を wanted まで上げ、上げた結果を返す。サーバーにも受け継がれる。
std::size_t raise_descriptor_limit(std::size_t wanted) {
    rlimit limit{};
    getrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_cur < wanted) {
        const rlimit higher = {wanted, std::max<rlim_t>(wanted, limit.rlim_max)};
        if (setrlimit(RLIMIT_NOFILE, &higher) == -1) { // ハードリミットを上げられるのは root だけ
            limit.rlim_cur = limit.rlim_max;
            setrlimit(RLIMIT_NOFILE, &limit);
        }
    }
    getrlimit(RLIMIT_NOFILE, &limit);
    return limit.rlim_cur;
}

} // namespace

int main(int argc, char* argv[]) try {
    const Plan plan = parse({argv + 1, argv + argc});
    if (plan.candidates.empty()) {
        std::fprintf(stderr,
                     "usage: %s [--csv FILE] [--pictures DIR] "
                     "[--extra 'COMMAND {port}; ...'] SERVER...\n",
                     argv[0]);
        return 2;
    }
    for (const int number : {SIGINT, SIGTERM}) {
        std::signal(number, [](int caught) {
            interrupted = 1;
            std::signal(caught, SIG_DFL); // 二度目は、片づけを待たずに終わる
        });
    }
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    if (!std::ofstream(plan.csv, std::ios::app)) { // 何分も測ったあとで気づくのでは遅い
        throw std::runtime_error("cannot write " + plan.csv);
    }
    const std::size_t descriptors = raise_descriptor_limit(plan.held.back() + spare_descriptors);

    std::vector<Row> rows = empty_table(plan);
    const bool terminal = isatty(STDERR_FILENO) == 1;
    for (int round = 1; round <= plan.rounds; ++round) { // A B C A B C: 機械のむらを分け合う
        for (auto row = rows.begin(); row != rows.end(); ++row) {
            if (row->rounds.empty() && !row->note.empty()) {
                continue; // 持てないと、もうわかっている
            }
            if (terminal) {
                std::fprintf(stderr, "\r\033[K[%d/%d] %s %s %zu ", round, plan.rounds,
                             row->candidate.label.c_str(), row->load.c_str(), row->connections);
            }
            if (row->load == "floor") {
                measure_floor(plan, *row);
            } else if (row->load == "churn") {
                measure_churn(plan, *row);
            } else if (row->connections + spare_descriptors <= descriptors) {
                measure_hold(plan, *row);
            } else {
                row->note = "ディスクリプタの上限 (ulimit -Hn) が " + std::to_string(descriptors);
            }
            if (row->rounds.empty()) { // 持てなかった本数より多くは、試さない
                for (auto more = row + 1; more != rows.end() && more->load == "hold"; ++more) {
                    more->note = row->note;
                }
            }
        }
    }
    std::fprintf(stderr, "%s", terminal ? "\r\033[K" : "");
    print_table(rows, plan);
    write_csv(plan.csv, rows);
    draw(plan);
} catch (const std::exception& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return 1;
}
