// 出力。一行を一度の write(2) で書く。
#pragma once

#include <concepts>
#include <cstddef>
#include <string_view>
#include <system_error>

// 組み立てている途中の一行。改行を含めて 256 バイトまでで、あふれる分は捨てる。
class Line {
public:
    void add(std::string_view text) noexcept;
    void add(std::integral auto number) noexcept { add_number(static_cast<long long>(number)); }

    // 改行をつけ、一度の write(2) で標準出力に書く (write_output)。短いので、パイプでも、ほかの
    // プロセスやスレッドの行と混ざらない (man 7 pipe の PIPE_BUF)。
    void write() noexcept;

private:
    void add_number(long long number) noexcept;

    char text_[256];
    std::size_t size_ = 0;
};

// "[pid 4021 tid 4021] " だけの行を作る。どのプロセスのどのスレッドが書いた行かが分かる。
Line line_with_ids() noexcept;

// 文字列と整数を並べた一行を、標準出力に書く。
// stdio のバッファーを使わないので、fork(2) でコピーされない。書けないとき (パイプが閉じられた、
// ディスクに空きがない、など) は黙ってあきらめる。パイプや端末がいっぱいなら空くまで待つ:
// 行を捨てるより遅れるほうを選ぶ (止めるときは wait_for_output_until)。
template <typename... Parts> void print_line(const Parts&... parts) noexcept {
    Line line;
    (line.add(parts), ...);
    line.write();
}

// 同じことを、"[pid 4021 tid 4021] " を前につけて行う。
template <typename... Parts> void log_line(const Parts&... parts) noexcept {
    Line line = line_with_ids();
    (line.add(parts), ...);
    line.write();
}

// 始められなかった理由を標準エラー出力に一行で書き、終了ステータス 1 で終了する。
// 起動のときだけに使う。クライアントの失敗でサーバーを終わらせてはならない。
[[noreturn]] void die_with_error(const std::system_error& error) noexcept;
