// 接続一本と往復一回のコストを、いくつものサーバーで測って並べる (Linux): bench CSV サーバー...
// 環境変数の QUICK=1 で短くなり、SERVERS='コマンド {port}; ...' がサーバーに加わる。
// 列の意味は、docs/more/measuring.md にある。

#include "common/tcp.h"
#include "tests/outside/client.h"
#include "tests/outside/process.h"

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <deque>
#include <fstream>
#include <iterator>
#include <map>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <sstream>
#include <stdexcept>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>

namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;
using Values = std::vector<double>; // ラウンドごとの値

// 表の一行。
struct Row {
    std::string command; // {port} がなければ、ポートを引数に足して起こす
    std::string load;    // floor, churn, hold, 1%, fan のどれか
    int connections = 0;
    Row* next = nullptr;                        // hold のあと、同じ接続で測る 1%
    std::string linkage = "";                   // " (static)" か " (dynamic)"
    std::map<std::string, Values> results = {}; // 表の列の名前でさがす
    std::string note = "";                      // 測れなかったわけ
    bool limited = false; // N 本は持てない。方式の限りなので、失敗とはしない

    void add(const std::string& name, double value) { results[name].push_back(value); }
};

constexpr auto warm_up = 100ms; // どの測定の前にもあり、どの数にも入れない
constexpr auto probe_interval = 1ms;
constexpr std::size_t sample = 1000; // だれが受け持ったかを数える接続の数

int rounds = 3;
std::chrono::milliseconds window = 1000ms; // 一つの測定の長さ
std::vector<int> held = {1, 100, 1000, 9000};
double floor_us = 0; // このラウンドの下限
int server_cpu = -1;
int generator_cpu = -1;

// 返したバイトが誤っていれば、数の限りと見分けられるように、logic_error にする。
template <typename Error = std::runtime_error> void expect(bool good, const char* otherwise) {
    if (!good) {
        throw Error(otherwise);
    }
}

// ---- サーバーを外から見る ----

double clock_us(clockid_t clock) {
    timespec time{};
    clock_gettime(clock, &time);
    return 1e6 * static_cast<double>(time.tv_sec) + 1e-3 * static_cast<double>(time.tv_nsec);
}

std::string proc(pid_t pid, const char* file) {
    return read_text("/proc/" + std::to_string(pid) + "/" + file);
}

// 去った接続の後始末が済み、すべてが眠るのを待って、サーバーとその子孫を並べる。
// 眠らないサーバーは、1 秒だけ待つ。
std::vector<pid_t> resting_family(const Server& server) {
    eventually([&] { return server.asleep(); }, 1s);
    return server.family();
}

// 使った CPU 時間 (マイクロ秒)。回収した子プロセスの分も足す。
double cpu_us(const Server& server) {
    double total = 0;
    for (const pid_t pid : resting_family(server)) {
        clockid_t clock{};
        total += clock_getcpuclockid(pid, &clock) == 0 ? clock_us(clock) : 0;
        total += 1e6 * stat_of(std::to_string(pid)).reaped_seconds;
    }
    return total;
}

// SIGCHLD を無視する親プロセスの、終わった子プロセスの CPU 時間は、だれの勘定にも入らない。
bool ignores_children(const Server& server) {
    const std::string status = proc(server.listener, "status");
    const auto mask = std::stoull(status.substr(status.find("SigIgn:") + 7), nullptr, 16);
    return (mask >> (SIGCHLD - 1) & 1U) != 0;
}

double kib(const std::string& text, const std::string& key) {
    const auto at = text.find(key);
    return at == text.npos ? 0 : std::stod(text.substr(at + key.size()));
}

double memory_kib(const Server& server) {
    double total = 0;
    for (const pid_t pid : resting_family(server)) {
        total += kib(proc(pid, "smaps_rollup"), "Pss:") + kib(proc(pid, "status"), "VmPTE:");
    }
    return total;
}

// 動的にリンクしたプログラムには、共有ライブラリを読みこむ ld.so がいる。
std::string linkage_of(pid_t pid) {
    return proc(pid, "maps").find("/ld-") == std::string::npos ? " (static)" : " (dynamic)";
}

// "[pid P tid T] finished ..." は、接続を受け持ったものが終わりに書く行。番号は使い回されるので、
// 初めの sample 本だけを数える。
void count_workers(Row& row, const std::string& log) {
    std::vector<std::string> lines = lines_with(log, "] finished ", "[pid ");
    lines.resize(std::min(lines.size(), sample));
    std::map<std::string, double> served;
    for (const std::string& line : lines) {
        ++served[line.substr(0, line.find(']'))];
    }
    if (!served.empty()) {
        const auto [least, most] =
            std::ranges::minmax_element(served, {}, &std::pair<const std::string, double>::second);
        row.add("workers", static_cast<double>(served.size()));
        row.add("min", least->second);
        row.add("max", most->second);
    }
}

// ---- 負荷をかける ----

// 64 バイトの往復をくり返す接続。
struct Connection {
    static constexpr std::size_t size = 64;
    Client client;
    int sent = 0;
    int received = 0;

    // どの接続の、何番目のものかで違う 64 バイト。
    std::string message(int number) const {
        std::string text = std::to_string(client.fd()) + ' ' + std::to_string(number) + ' ';
        text.resize(size, '.');
        return text;
    }
    void send() { client.send(message(sent++)); }
    void receive() {
        const std::string bytes = client.receive(size);
        expect(bytes.size() == size, "サーバーが接続を閉じた");
        expect<std::logic_error>(bytes == message(received++), "違うバイトが返った");
    }
};
using Crowd = std::deque<Connection>;

// churn: 同時に count 本ずつ。済んだ接続の数を返す。
// 一本ずつ順に返事を受けて閉じるので、一度に一本しか相手にしないサーバーでも進む。
int churn(const Endpoint& server, int count, Clock::time_point stop) {
    int finished = 0;
    for (; Clock::now() < stop; finished += count) {
        Crowd wave;
        for (int i = 0; i < count; ++i) {
            wave.push_back({Client(server)});
            wave.back().send();
        }
        for (Connection& connection : wave) {
            connection.receive();
            connection.client.finish_writing();
        }
        for (const Connection& connection : wave) {
            expect<std::logic_error>(connection.client.receive(1).empty(), "余計なバイトが返った");
        }
    }
    return finished;
}

// hold (step が 1) と 1% (step が 100): step 本ごとに一本が、返事がそろうとすぐに次を送る。
// 済んだ往復の数を返す。
int echo_everywhere(Crowd& crowd, std::size_t step, Clock::time_point stop) {
    const Socket epoll{epoll_create1(0)};
    std::size_t active = 0;
    for (std::size_t i = 0; i < crowd.size(); i += step, ++active) {
        epoll_event event{EPOLLIN, {.ptr = &crowd[i]}};
        epoll_ctl(epoll.fd(), EPOLL_CTL_ADD, crowd[i].client.fd(), &event);
        crowd[i].send();
    }
    int finished = 0;
    while (active > 0) {
        std::array<epoll_event, 256> events{};
        const int n = epoll_wait(epoll.fd(), events.data(), static_cast<int>(events.size()),
                                 static_cast<int>(std::chrono::milliseconds(deadline).count()));
        expect(n > 0, "待っても返事がない");
        for (std::size_t i = 0; i < static_cast<std::size_t>(n); ++i, ++finished) {
            auto& connection = *static_cast<Connection*>(events[i].data.ptr);
            connection.receive();
            if (Clock::now() < stop) {
                connection.send();
            } else {
                --active;
            }
        }
    }
    return finished;
}

// 一本だけが、決まった時刻ごとに送る。前の返事が遅れていても送り、時間は送るはずだった時刻から
// 数える。返事を待って送ると、サーバーが止まっていた間の遅れが、一回分にしか現れない。
Values probe(Connection& connection, std::chrono::milliseconds length) {
    const int on = 1; // 前の返事を待たずに送る (Nagle のアルゴリズムを切る)
    setsockopt(connection.client.fd(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    const auto begin = Clock::now();
    Values latencies;
    for (auto next = begin, oldest = begin; oldest < begin + length;) {
        const auto now = Clock::now();
        if (now >= next && next < begin + length) {
            connection.send();
            next += probe_interval;
        } else if (connection.client.has_something_to_read()) {
            connection.receive();
            const std::chrono::duration<double, std::micro> latency = Clock::now() - oldest;
            latencies.push_back(latency.count());
            oldest += probe_interval;
        } else {
            expect(now < oldest + deadline, "待っても返事がない");
            sched_yield(); // 起こされるまでの遅れを入れないよう、眠らずに待つ
        }
    }
    std::ranges::sort(latencies);
    return latencies;
}

// ---- 測る ----

// load を window の間かけ、一回のコストを row に足す。
void measure_cost(Row& row, const Server& server,
                  const std::function<int(Clock::time_point)>& load) {
    load(Clock::now() + warm_up);
    const double before = cpu_us(server);
    const double own = clock_us(CLOCK_PROCESS_CPUTIME_ID);
    const auto begin = Clock::now();
    const double operations = load(begin + window);
    const std::chrono::duration<double, std::milli> length = Clock::now() - begin;
    row.add("kop/s", operations / length.count());
    row.add("gen us", (clock_us(CLOCK_PROCESS_CPUTIME_ID) - own) / operations);
    const double used = (cpu_us(server) - before) / operations;
    row.add("CPU us", used);
    row.add("xfloor", used / floor_us);
}

void measure_churn(Row& row, const Server& server) {
    measure_cost(row, server, [&](Clock::time_point stop) {
        return churn(server.endpoint, row.connections, stop);
    });
    if (ignores_children(server)) {
        row.results.erase("CPU us");
        row.results.erase("xfloor");
    }
    count_workers(row, server.output());
}

void measure_hold(Row& row, const Server& server) {
    const double idle = memory_kib(server);
    Crowd crowd;
    int holding = 0;
    try {
        for (; holding < row.connections; ++holding) {
            const std::string memory = holding % 100 == 0 ? read_text("/proc/meminfo") : "";
            expect(kib(memory, "MemAvailable:") >= kib(memory, "MemTotal:") / 8,
                   "空きメモリが全体の 1/8 を切った");
            crowd.push_back({Client(server.endpoint)});
            crowd.back().send();
            crowd.back().receive(); // 返事があれば、受け持つものがいる
        }
    } catch (const std::runtime_error& error) {
        row.limited = holding > 0;
        throw std::runtime_error(std::to_string(holding) + " 本まで: " + error.what());
    }
    probe(crowd.front(), warm_up);
    const double before = cpu_us(server);
    const Usage usage = server.usage();
    row.add("proc", usage.processes);
    row.add("thr", usage.threads);
    row.add("KiB", (memory_kib(server) - idle) / row.connections);
    const Values latencies = probe(crowd.front(), window);
    const auto count = latencies.size();
    row.add("one us", (cpu_us(server) - before) / static_cast<double>(count));
    row.add("p50 us", latencies[count / 2]);
    row.add("p99 us", latencies[count * 99 / 100]);

    const auto echo = [&](std::size_t step) {
        return [&, step](Clock::time_point stop) { return echo_everywhere(crowd, step, stop); };
    };
    measure_cost(row, server, echo(1));
    if (row.next != nullptr) {
        measure_cost(*row.next, server, echo(100));
    }
}

// fan: 一人が 64 バイトの行を話し、ほかの N 人が受け取る。一回は、一行が一人に届くこと。全員が
// 受け取るのを待って次の 16 行を話すので、遅れて切断される人はいない。
void measure_fan(Row& row, const Server& server) {
    std::string lines;
    for (int i = 0; i < 16; ++i) {
        lines += std::string(63, '.') + "\n";
    }
    std::deque<Client> readers; // はじめの一人が話す
    for (int i = 0; i <= row.connections; ++i) {
        const Client& coming = readers.emplace_back(server.endpoint);
        const std::string joined =
            std::string(local_address(Socket{dup(coming.fd())}).text) + " joined\n";
        for (const Client& reader : readers) {
            expect(&reader == &coming || reader.receive(joined.size()) == joined,
                   "来たことが届かない");
        }
    }
    const Client speaker = std::move(readers.front());
    readers.pop_front();
    const std::string name = local_address(Socket{dup(speaker.fd())}).text;
    measure_cost(row, server, [&](Clock::time_point stop) {
        int delivered = 0;
        while (Clock::now() < stop) {
            speaker.send(lines);
            for (const Client& reader : readers) {
                const std::size_t size = 16 * (name.size() + 2 + 64);
                expect(reader.receive(size).size() == size, "行が届かない");
                delivered += 16;
            }
        }
        return delivered;
    });
    row.results.erase("xfloor"); // 下限は一往復
}

// 下限: いつでも準備のできたソケットで recv と send をするだけの CPU 時間。クライアントの側の
// send と recv は入れない。
void measure_floor(Row& row) {
    const Socket listener = create_tcp_server_socket(*parse_endpoint("0", "127.0.0.1"));
    const Endpoint endpoint = endpoint_from_text(local_address(listener).text);
    Crowd crowd;
    std::vector<Socket> sockets;
    while (crowd.size() < static_cast<std::size_t>(row.connections)) {
        crowd.push_back({Client(endpoint)});
        sockets.emplace_back(accept(listener.fd(), nullptr, nullptr));
    }
    double used = 0;
    double operations = 0;
    std::array<char, Connection::size> buffer{};
    for (const auto begin = Clock::now() + warm_up; Clock::now() < begin + window;) {
        std::ranges::for_each(crowd, &Connection::send);
        const double before = clock_us(CLOCK_PROCESS_CPUTIME_ID);
        for (const Socket& socket : sockets) {
            recv(socket.fd(), buffer.data(), buffer.size(), 0);
            send(socket.fd(), buffer.data(), buffer.size(), 0);
        }
        if (Clock::now() > begin) {
            used += clock_us(CLOCK_PROCESS_CPUTIME_ID) - before;
            operations += row.connections;
        }
        std::ranges::for_each(crowd, &Connection::receive);
    }
    floor_us = used / operations;
    row.add("CPU us", floor_us);
}

void pin_to(int number) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(static_cast<std::size_t>(number), &set);
    sched_setaffinity(0, sizeof set, &set); // 使えると分かっている CPU なので、失敗しない
}

void measure(Row& row) {
    pin_to(server_cpu); // ここで起こしたプロセスは、その子孫も、ずっとここで動く
    if (row.load == "floor") {
        measure_floor(row);
        return;
    }
    const Server server = row.command.find("{port}") == std::string::npos
                              ? Server({row.command})
                              : Server::foreign(row.command);
    pin_to(generator_cpu);
    row.linkage = linkage_of(server.listener);
    (row.load == "churn" ? measure_churn
     : row.load == "fan" ? measure_fan
                         : measure_hold)(row, server);
}

// ---- 報告する ----

double median(Values values) {
    std::ranges::sort(values);
    return values[values.size() / 2];
}

std::string number(double value) {
    std::array<char, 32> text{};
    std::snprintf(text.data(), text.size(), value < 999.5 ? "%.3g" : "%.0f", value);
    return text.data();
}

// 表での名前: コマンドから build/ とポートを除いたもの。図でも一語になるように、空白は : にする。
std::string label(const Row& row) {
    std::string name = row.command.substr(row.command.starts_with("build/") ? 6 : 0);
    if (const auto port = name.find(" {port}"); port != name.npos) {
        name.erase(port, sizeof " {port}" - 1);
    }
    std::ranges::replace(name, ' ', ':');
    return name;
}

// 列の頭が幅も決める。[min-max] とあれば、最小と最大も出す。
std::string cell(const Row& row, const std::string& head) {
    const auto begin = head.find_first_not_of(' ');
    const auto range = head.find(" [");
    const auto found = row.results.find(head.substr(begin, range - begin));
    std::string text = found == row.results.end() ? "-" : number(median(found->second));
    if (text != "-" && range != head.npos && rounds > 1) {
        const auto [least, most] = std::ranges::minmax(found->second);
        text += " [" + number(least) + "-" + number(most) + "]";
    }
    return std::string(head.size() - std::min(head.size(), text.size()), ' ') + text;
}

void print_table(const std::deque<Row>& rows, const std::vector<std::string>& heads) {
    std::printf("\n load      N");
    for (const std::string& head : heads) {
        std::printf(" %s", head.c_str());
    }
    std::string server;
    for (const Row& row : rows) {
        if (std::exchange(server, label(row)) != label(row)) {
            std::printf("\n%s%s", server.c_str(), row.linkage.c_str());
        }
        if (row.results.empty() && row.note.empty()) {
            continue; // hold が測れなかった 1%
        }
        std::printf("\n %-5s %5d", row.load.c_str(), row.connections);
        for (const std::string& head : row.results.empty() ? std::vector<std::string>() : heads) {
            std::printf(" %s", cell(row, head).c_str());
        }
        std::printf("%s", row.note.c_str());
    }
    std::printf("\n");
}

void write_csv(const std::string& path, const std::deque<Row>& rows) {
    std::ofstream file(path);
    file << "server,load,connections,result,median,min,max\n";
    for (const Row& row : rows) {
        for (const auto& [name, values] : row.results) {
            const auto [least, most] = std::ranges::minmax(values);
            file << label(row) << ',' << row.load << ',' << row.connections << ',' << name << ','
                 << median(values) << ',' << least << ',' << most << '\n';
        }
    }
}

// 使える CPU の最初と最後。番号の近い CPU は、一つのコアを分けあっていることが多い。
void choose_cpus() {
    cpu_set_t set;
    sched_getaffinity(0, sizeof set, &set);
    for (int number = 0; number < CPU_SETSIZE; ++number) {
        if (CPU_ISSET(static_cast<std::size_t>(number), &set)) {
            server_cpu = server_cpu == -1 ? number : server_cpu;
            generator_cpu = number;
        }
    }
}

// hold の一行では二度測る。用意には、一本に 0.2 ミリ秒ほどかかる。
void announce(const std::deque<Row>& rows) {
    std::chrono::duration<double, std::ratio<60>> minutes{};
    for (const Row& row : rows) {
        minutes += window + warm_up;
        minutes += row.load == "hold" ? window + warm_up + row.connections * 200us : 0us;
    }
    std::printf("およそ %.1f 分かかります%s。\n"
                "サーバーは CPU %d に、負荷をかける側は CPU %d に固定します%s。\n"
                "%d ラウンドの中央値 [最小-最大] です。一つの測定は %.1f 秒です。\n",
                rounds * minutes.count(), rounds > 1 ? " (QUICK=1 で短くなります)" : "", server_cpu,
                generator_cpu,
                server_cpu == generator_cpu ? " (一つしかなく、取りあうので、目安の値です)" : "",
                rounds, std::chrono::duration<double>(window).count());
    std::fflush(stdout);
}

std::string environment(const char* name) {
    const char* const value = std::getenv(name);
    return value == nullptr ? "" : value;
}

} // namespace

int main(int argc, char* argv[]) try {
    std::vector<std::string> commands(argv + 1, argv + argc);
    const std::string csv = commands.at(0);
    commands.erase(commands.begin());
    std::istringstream servers(environment("SERVERS"));
    for (std::string command; std::getline(servers >> std::ws, command, ';');) {
        commands.push_back(command);
    }
    if (environment("QUICK") == "1") {
        rounds = 1;
        window = 200ms;
        held.pop_back();
    }
    choose_cpus();
    std::deque<Row> rows = {{"下限", "floor", 64}}; // 足しても、行のアドレスは変わらない
    for (const std::string& command : commands) {
        if (command.ends_with("chapter11")) { // エコーサーバーではない
            for (const int connections : {1, 10, 100}) {
                rows.push_back({command, "fan", connections});
            }
            continue;
        }
        rows.push_back({command, "churn", 8});
        rows.push_back({command, "churn", 32});
        for (const int connections : held) {
            Row& hold = rows.emplace_back(Row{command, "hold", connections});
            hold.next =
                connections < 100 ? nullptr : &rows.emplace_back(Row{command, "1%", connections});
        }
    }
    announce(rows);

    prctl(PR_SET_CHILD_SUBREAPER, 1); // サーバーに先立たれた子プロセスを引き取る
    rlimit descriptors{}; // 上限まで上げる。サーバーにも受け継がれる
    getrlimit(RLIMIT_NOFILE, &descriptors);
    descriptors.rlim_cur = descriptors.rlim_max;
    setrlimit(RLIMIT_NOFILE, &descriptors);
    deadline = 3s;
    bool failed = false;
    for (int round = 0; round < rounds; ++round) { // A B C A B C: 時によるむらを分けあう
        for (Row& row : rows) {
            if (row.limited || row.load == "1%") {
                continue; // 持てないと、もうわかっている。1% は、hold といっしょに測る
            }
            try {
                measure(row);
            } catch (const std::exception& error) {
                const std::string why = error.what();
                // io_uring を許さないカーネルやコンテナーは、失敗とはしない。
                row.limited = row.limited || why.find("error: io_uring ") != std::string::npos;
                failed = failed || !row.limited;
                row.note = (row.limited ? " " : " 失敗: ") + why;
            }
            eventually([] { // サーバーに先立たれたプロセスも、終わるのを待って回収する
                while (waitpid(-1, nullptr, WNOHANG) > 0) {
                }
                return children_of(getpid()).empty();
            });
        }
    }

    write_csv(csv, rows);
    print_table(rows, {" CPU us [min-max]", "xfloor", "gen us", " kop/s [min-max]", "workers",
                       " min", " max"});
    std::erase_if(rows, [](const Row& row) { return !row.results.contains("p50 us"); });
    print_table(rows, {"p50 us [min-max]", " p99 us [min-max]", "one us", "  KiB [min-max]", "proc",
                       " thr"});
    std::printf("\n列の意味は docs/more/measuring.md にあります。\n");
    return failed ? 1 : 0;
} catch (const std::exception& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return 1;
}
