// プログラムの始まり。
#pragma once

#include "common/socket.h"

#include <initializer_list>

// 起動したプログラムから受け継いだ状態を、決まった状態に直す。どのプログラムも最初に呼ぶ。
// - 標準入力、出力、エラー出力のうち閉じているものを、/dev/null で埋める (open(2))。
//   埋められなければ、終了ステータス 1 で終了する。
// - ブロックされているシグナルのブロックを解除する (sigprocmask(2))。
// - ファイルサイズの上限 (ulimit -f) に達しても、write(2) が失敗するだけにする (SIGXFSZ)。
void start_clean() noexcept;

// これから開けるディスクリプタの数。少なくとも 1。上限 (getrlimit(2) の RLIMIT_NOFILE) から、
// もう開いているものと、サーバーがあとで自分のために開くものの分を引く。
int descriptors_left() noexcept;

// signals を、ハンドラーで受けるかわりに、返したソケットから read(2) で読めるようにする
// (signalfd(2)。Linux だけ)。これから作るスレッドでも同じになる。
// 読めるようになれば、標準出力が空くのを待たない (wait_for_output_until)。
// 失敗すれば std::system_error を投げる。
Socket create_signalfd(std::initializer_list<int> signals);

// signals (create_signalfd) から、止めるシグナル (SIGINT か SIGTERM) を一つ読む。来るまで待つ。
// 呼ぶのは一度だけ。そのあとは
// - 標準出力が空くのを待たない。ログの読み手が止まっていても、サーバーは止まれる。
// - 同じ知らせがもう一度来ても、何も変えない。timeout(1) や npm のように、プロセスとその
//   グループの両方に送るものがある。SIGTERM は何度でも、SIGINT は 1 秒の間、無視する。
// - そのあとの SIGINT (もう一度の Ctrl-C) では、すぐに終了ステータス 1 で終了する。
void read_stop_signal(const Socket& signals) noexcept;
