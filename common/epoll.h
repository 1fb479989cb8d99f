// epoll に登録したものを変更する (Linux だけ)。
#pragma once

#include "common/socket.h"

#include <cstdint>
#include <sys/epoll.h>

// fd で待つイベントを epoll に登録する (EPOLL_CTL_ADD)、変更する (EPOLL_CTL_MOD)、削除する
// (EPOLL_CTL_DEL)。epoll_wait(2) は、この fd を返す。失敗すれば false で、理由は errno に残る
// (epoll_ctl(2))。
inline bool watch(const Socket& epoll, int operation, int fd, std::uint32_t events) noexcept {
    epoll_event event{};
    event.events = events;
    event.data.fd = fd;
    return epoll_ctl(epoll.fd(), operation, fd, &event) == 0;
}
