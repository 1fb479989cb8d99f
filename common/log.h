// 出力。一行を一度の write(2) で書く。
#pragma once

#include <system_error>

// 一行を標準出力に書く。format は printf(3) と同じで、改行は要らない。
// stdio のバッファーを使わないので、fork(2) でコピーされない。一行は 256 バイト以下なので、
// パイプでもほかのプロセスやスレッドの行と混ざらない (man 7 pipe の PIPE_BUF)。書けないとき
// (読み手が去った、など) は黙ってあきらめる。
[[gnu::format(printf, 1, 2)]] void print_line(const char* format, ...) noexcept;

// 同じことを、"[pid 4021 tid 4021] " を前につけて行う。だれが書いた行かが見える。
[[gnu::format(printf, 1, 2)]] void log_line(const char* format, ...) noexcept;

// 始められなかった理由を標準エラー出力に一行で書き、1 で終わる。
// 起動のときだけに使う。クライアントの失敗でサーバーを終わらせてはならない。
[[noreturn]] void die_with_error(const std::system_error& error) noexcept;
