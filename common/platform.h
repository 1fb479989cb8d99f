// OS によって書き方の違うものは、すべてこのファイルに置く。Linux のほかでは、次善のもので済ませる。
#pragma once

#include <cstddef>

#ifdef __linux__

#include <pthread.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

// カーネルがスレッドにつけた番号。ps -L や strace が見せるものと同じ (man 2 gettid)。
inline long thread_id() noexcept {
    return gettid();
}

// これから作るスレッドのスタックを bytes バイトにする (man 3 pthread_setattr_default_np)。
// std::thread には大きさを渡せないので、既定の大きさのほうを変える。
// 検査つきで作ったもの (SANITIZE=) は、検査のためにもスタックを使うので、変えない。
inline void set_thread_stack_size([[maybe_unused]] std::size_t bytes) noexcept {
#ifndef SANITIZE
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, bytes);
    pthread_setattr_default_np(&attributes);
    pthread_attr_destroy(&attributes);
#endif
}

// accept(2) と同じ。得た接続済みソケットは、はじめからノンブロッキングになっている。
inline int accept_nonblocking(int server, sockaddr* peer, socklen_t* length) noexcept {
    return accept4(server, peer, length, SOCK_NONBLOCK);
}

// このプロセスが使ってよいコアの数 (sched_getaffinity(2))。コンピューターにある数より少ないことも
// ある (man 1 taskset、コンテナーの cpuset)。
inline int usable_cores() noexcept {
    cpu_set_t cores;
    return sched_getaffinity(0, sizeof cores, &cores) == 0 ? CPU_COUNT(&cores) : 1;
}

#else

#include <algorithm>
#include <fcntl.h>
#include <functional>
#include <sys/socket.h>
#include <thread>

// POSIX にはスレッドの番号がない。区別がつくだけの値で代える。
inline long thread_id() noexcept {
    return static_cast<long>(std::hash<std::thread::id>{}(std::this_thread::get_id()) % 1'000'000);
}

inline void set_thread_stack_size(std::size_t /*bytes*/) noexcept {} // OS の既定のまま

inline int usable_cores() noexcept {
    return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

inline int accept_nonblocking(int server, sockaddr* peer, socklen_t* length) noexcept {
    const int fd = accept(server, peer, length);
    if (fd != -1) {
        fcntl(fd, F_SETFL, O_NONBLOCK);
    }
    return fd;
}

#endif
