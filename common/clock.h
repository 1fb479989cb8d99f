// 締め切り (deadline) のための時計。
#pragma once

#include <chrono>

// 時刻を合わせ直しても、戻ったり飛んだりしない単調時計 (monotonic clock)。
// clock_gettime(2) の CLOCK_MONOTONIC。
using Clock = std::chrono::steady_clock;

// time までのミリ秒数。epoll_wait(2) に渡す。過ぎていれば 0、time_point::max() なら -1 (いつまでも
// 待つ)。端数は切り上げる: 切り捨てると、締め切りの前の 1 ミリ秒は待たずに何度も戻ってしまう。
int milliseconds_until(Clock::time_point time) noexcept;
