// 標準入力と標準出力の、バイト列の読み書き。ノンブロッキング (O_NONBLOCK) になっていても使える:
// この印は、端末を共有するほかのプロセスがつけることがある。
#pragma once

#include <cstddef>
#include <sys/types.h>

// 標準入力から届いている分だけを読む (read(2))。何もなければ待つ。size バイトまで。
// 読んだバイト数を返す。EOF なら 0、失敗すれば -1 で、理由は errno に残る。
ssize_t read_input(char* buffer, std::size_t size) noexcept;

// 標準出力に size バイトのすべてを書く (write(2))。パイプや端末がいっぱいなら空くまで待つ。
// 失敗すれば false を返し、理由は errno に残る。
bool write_output(const char* data, std::size_t size) noexcept;

// 標準出力が空くのを、ディスクリプタ stop が読めるようになるまでしか待たないことにする (poll(2))。
// そのあと、すぐに書けなければ write_output は false になる。
// 出力の読み手が止まっていても、止めるときには待たされない。
void wait_for_output_until(int stop) noexcept;

// これからは、標準出力が空くのを待たない。stop を読んで、もう読めるものがないときに呼ぶ。
void never_wait_for_output() noexcept;
