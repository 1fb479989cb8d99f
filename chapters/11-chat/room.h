// 部屋: チャットにいる全員と、それぞれに送るもの。
#pragma once

#include "chapters/10-coroutines/loop.h"
#include "common/endpoint.h"
#include "common/epoll.h"

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <new>
#include <string>
#include <string_view>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unordered_map>
#include <utility>

constexpr std::size_t most_unsent = 64UL * 1024; // 送り残しがこれを超えれば、切断する

// 部屋にいるクライアント。
struct Member {
    EndpointText name; // 相手のアドレス。行の前につける
    std::string unsent = {}; // ほかのクライアントから届いて、まだ送れていないバイト列
    const char* lost = nullptr; // 切断した理由。もう何も送らない
};
using Room = std::unordered_map<int, Member>; // キーはディスクリプタ

// member を切断する。部屋から除くのは、ここではない: 部屋の全員に送っている途中かもしれない。
// 閉じたソケットは読めるようになるので、あとのことは、再開した handle_tcp_client がする。
inline void cut_off(int fd, Member& member, const char* why) noexcept {
    member.lost = member.lost == nullptr ? why : member.lost;
    member.unsent.clear();
    shutdown(fd, SHUT_RDWR);
}

// unsent を、ブロックせずに送れるだけ送る。残りがあれば、送れるようになるのも待たせる。
inline void flush(Loop& loop, int fd, Member& member) noexcept {
    std::string& unsent = member.unsent;
    const ssize_t sent = unsent.empty() ? 0 : send(fd, unsent.data(), unsent.size(), 0);
    if (sent == -1 && errno != EAGAIN && errno != EINTR) {
        cut_off(fd, member, std::strerror(errno));
    }
    unsent.erase(0, sent == -1 ? 0 : static_cast<std::size_t>(sent));
    if (unsent.size() > most_unsent) {
        cut_off(fd, member, "more than 64 KiB behind");
    }
    unsent.shrink_to_fit(); // 送り終えた分のメモリは、解放する
    if (unsent.empty() && loop.stopping) {
        shutdown(fd, SHUT_WR);
    }
    const std::uint32_t event = unsent.empty() ? EPOLLIN : EPOLLIN | EPOLLOUT;
    if (std::exchange(loop.clients.at(fd).event, event) != event) {
        watch(loop.epoll, EPOLL_CTL_MOD, fd, event);
    }
}

// lines のどの行にも speaker の名前と mark をつけ、ほかの全員に送る。
inline void tell_others(Loop& loop, Room& room, const Member& speaker, std::string_view mark,
                        std::string_view lines) noexcept {
    for (auto& [fd, member] : room) {
        if (&member == &speaker || member.lost != nullptr || loop.stopping) {
            continue;
        }
        try {
            for (auto rest = lines; !rest.empty(); rest.remove_prefix(rest.find('\n') + 1)) {
                const std::string_view line = rest.substr(0, rest.find('\n') + 1);
                member.unsent.append(speaker.name.text).append(mark).append(line);
            }
        } catch (const std::bad_alloc& error) {
            cut_off(fd, member, error.what()); // 送るものを保存できない
        }
        flush(loop, fd, member);
    }
}
