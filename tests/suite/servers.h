// テストするサーバーの表。
#pragma once

#include "tests/outside/client.h"
#include "tests/outside/process.h"

#include <doctest/doctest.h>

#include <functional>
#include <initializer_list>
#include <optional>

struct Model {
    std::string name = ""; // "chapter02"
    std::string program = ""; // 起こすもの "build/chapter02"。ours でなければ "./my-server {port}"
    bool concurrent = true; // 二人目のクライアントを待たせない
    bool forks = false;     // クライアントごとにプロセスを作る
    bool threads = false;   // クライアントごとにスレッドを作る
    int crew = 0; // 0 でなければ、作っておいた、この数のスレッドが相手をする
    bool preforks = false;   // それはスレッドでなく、子プロセス
    bool hands_over = false; // main が受け付けて、それに渡す
    bool events = false;     // 一つのスレッドが、全員の相手をする
    bool epoll = false;      // epoll を使う
    int loops = 0; // 0 でなければ、この数のスレッドが、それぞれイベントループを回す
    bool uneven = false; // 待ち行列がループごとにあり、手のあいたループには回らない
    int watched = 1;      // クライアントより先に、epoll に預けるものの数
    bool edge = false;    // それもエッジトリガーで、EAGAIN になるまで受け取る
    bool selects = false; // select を使う
    bool completes = false; // recv(2) も send(2) も、io_uring に頼む
    bool idles = false;     // 黙っている人を、一つ目の数のミリ秒で閉じる
    bool limits = false;    // 二つ目の数までの人の相手をする
    bool drains = false; // 止めても、みなが去るのを、三つ目の数のミリ秒まで待つ
    bool chats = false; // エコーでなく、届いた行をほかの人に送る (第11章)
    Process::Numbers numbers = {}; // 名前で渡せる数と、省いたときの値
    bool ours = true; // この本のサーバー。引数やログの約束も確かめる

    // 相手をするスレッドや子プロセスを、number 個だけにする。
    Process::Numbers crew_of(const std::string& number) const {
        return crew == 0 && loops == 0 ? Process::Numbers{}
                                       : Process::Numbers{{numbers.back().first, number}};
    }
    int children() const { return preforks ? crew : 0; } // だれもいないときの子プロセスの数
    bool pools() const { return crew > 0 && !preforks; } // 作っておいたスレッドが相手をする
    bool counts() const { return threads || pools(); } // ログが人数を言う
};

const std::vector<Model>& every_model();
std::vector<Model> models(); // そのうち、エコーサーバー
// エコーサーバーかチャットかどちらものうち、&Model::forks のように言われたもの。
std::vector<Model> models_with(const std::function<bool(const Model&)>& wanted);
std::vector<Model> chats_with(const std::function<bool(const Model&)>& wanted);
std::vector<Model> every_model_with(const std::function<bool(const Model&)>& wanted);

// サーバーを起こす。ours でなければ、空いているポートを選んで渡し、待ち受けるまで待つ。
Server start(const Model& model, const Process::Options& options = {});

std::string address_of(const Client& client); // クライアントの側から見た、自分のアドレス
// サーバーが text を書くのを待つ。
bool logged(const Server& server, const std::string& text);
size_t lines(const Server& server, const std::string& part); // part を含む、ログの行の数
// program を、sh の言葉で書いた引数で起こす。その前に、before をする。
Process run(const std::string& program, const std::string& arguments,
            const std::string& before = "true", const Process::Options& options = {});
Socket listen_anywhere(); // 空いているポートで待ち受けるソケット
// いなくなった人のための子プロセスが回収され、作っておいたものだけがいるようになる。
bool all_reaped(const Model& model, const Server& server);

// ログをパイプに書くサーバー。読み手は、言われたときにだけ読む。
struct UnreadServer : Process {
    explicit UnreadServer(const std::vector<std::string>& command);
    bool reads(const std::string& expected); // expected が来るまで読む
    void fill_pipe();                        // いっぱいにする

    Socket pipe; // 読み書きできる口
    std::string text;
    Endpoint endpoint;
};
// 止めるシグナルを送る。端末の Ctrl-C (SIGINT を家族のすべてに) か、kill コマンドのように。
// 読者のサーバーには、眠るのを待ってから送る。Python の accept は、眠る直前のシグナルに気づかない。
void ask_to_stop(Server& server, int number);
// サーバーが、起きたことに応じおえるのを待つ。読者のサーバーなら、いつまでも眠らなくても先へ進む。
void settle(const Server& server);
// ポートが client のクライアントとの接続を、サーバーの側から見たもの。もうなければ空。
std::optional<TcpSocket> connection(const Server& server, const std::string& client);
// 送ったバイトが、そのまま返ってくることを確かめる。
void check_echo(const Client& client, const std::string& sent);
Client greet(const Endpoint& server, const std::string& words = "hello"); // つないで、話しかける
Client greet(const Model& model, const Server& server); // チャットなら、部屋に入る
// 相手をしてもらっている。チャットなら、次の人が来て去ったことが、次に届く。
void check_served(const Model& model, const Server& server, const Client& client);
// number 人がつないでから、みなが違うことを言い、それぞれに、それが返る。
std::vector<Client> crowd(const Server& server, int number);
// 返事を受け取らずに送り、サーバーをその send(2) で待たせる。サーバーが遅いだけなら、眠っては
// いない。届いたものを読まずに眠っていれば、送れるようになるのを待っている。
size_t fill(const Server& server, const Client& client, std::uint64_t seed);

// 作ったものが入るフォルダー (make の BUILD)。
inline std::string build_directory = "build";
// make check の SERVER と CHAPTER。SERVER が空でなければ、それだけを確かめる。
inline std::string foreign_server;
inline std::string foreign_chapter = "01";
// 空でなければ、foreign_chapter の章のサーバーだけを、このプログラムに替えて確かめる (make why)。
inline std::string own_program;

// 読者のサーバーについて、このテストを確かめないわけ: "{grace-ms} がないので、ドレイン"。
inline std::string unchecked;
// 読むところ: foreign_chapter までの章のノートのうち、いちばんあとのもの。
std::string place(std::initializer_list<const char*> places);
#define READ(...) INFO("読むところ: docs/" << place({__VA_ARGS__}))

// make check に渡された引数が誤っているか、サーバーが始まらなければ、そのわけ。何もなければ空。
std::string find_obstacle();

// doctest の知らせを、要るものだけ受け取るためのもの。
struct Quiet : doctest::IReporter {
    void report_query(const doctest::QueryData& /*data*/) override {}
    void test_run_start() override {}
    void test_run_end(const doctest::TestRunStats& /*stats*/) override {}
    void test_case_start(const doctest::TestCaseData& /*data*/) override {}
    void test_case_reenter(const doctest::TestCaseData& /*data*/) override {}
    void test_case_skipped(const doctest::TestCaseData& /*data*/) override {}
    void subcase_start(const doctest::SubcaseSignature& /*signature*/) override {}
    void subcase_end() override {}
    void log_message(const doctest::MessageData& /*data*/) override {}
};

// 確かめるのに要る what がある。なければ、CI では失敗とし、手もとでは、そう言うだけ。
bool available(bool here, const std::string& what);
// カーネルやコンテナーが io_uring を許している。
bool ring_available();
// 検査つきで作ったものは、メモリの量や速さが本物と違う。
bool sanitized();
// ThreadSanitizer つきのものは、自分でもスレッドを作り、シグナルのハンドラーを accept(2) が
// 戻るまで遅らせる。そのため、失敗の数と、子プロセスをすぐに回収することは、確かめられない。
bool thread_sanitized();

// 環境変数 name の言う数。なければ otherwise。
int number_from_environment(const char* name, int otherwise);
int most_people(); // いちどに来る人の、いちばん大きな数
