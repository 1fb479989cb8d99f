// OS によって書き方の違うものは、すべてこのファイルに置く。Linux のほかでは、次善のもので済ませる。
#pragma once

#ifdef __linux__

#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

// カーネルのつけたスレッド ID。ps -L や strace の表示と同じ (man 2 gettid)。
inline long thread_id() noexcept {
    return gettid();
}

// accept(2) と同じ。ただし接続済みソケットは初めからノンブロッキングになっている。
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

// POSIX にはスレッド ID を数で得る方法がない。区別がつくだけの値で代える。
inline long thread_id() noexcept {
    return static_cast<long>(std::hash<std::thread::id>{}(std::this_thread::get_id()) % 1'000'000);
}

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
