// Linux にしかないものは、すべてこのファイルに置く。ほかの OS では次善のもので済ませる。
#pragma once

#include <cerrno>

#ifdef __linux__

#include <unistd.h>

// カーネルがスレッドにつけた番号。ps -L や strace が見せるものと同じ (man 2 gettid)。
inline long thread_id() noexcept {
    return gettid();
}

// accept(2) が新しい接続に代わって返すネットワークのエラーのうち、POSIX にないもの。
inline constexpr int error_no_network = ENONET;

#else

#include <functional>
#include <thread>

// POSIX にはスレッドの番号がない。区別がつくだけの値で代える。
inline long thread_id() noexcept {
    return static_cast<long>(std::hash<std::thread::id>{}(std::this_thread::get_id()) % 1'000'000);
}

inline constexpr int error_no_network = ENETDOWN;

#endif
