// 待っているコルーチンを、ソケットが読み書きできるようになったら再開する。
#pragma once

#include "chapters/10-coroutines/task.h"
#include "common/clock.h"
#include "common/epoll.h"
#include "common/socket.h"

#include <cerrno>
#include <chrono>
#include <coroutine>
#include <cstdint>
#include <list>
#include <new>
#include <span>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unordered_map>
#include <utility>

// 一つのスレッドのイベントループが持つもの。
struct Loop {
    // 一つの接続を扱うコルーチン。
    struct Client {
        Task task; // その frame の持ち主。破棄すれば、接続も閉じる
        std::coroutine_handle<> waiting = {}; // 中断している frame。task か、それが待つ send_all
        std::uint32_t event = EPOLLIN; // 待っているイベント。epoll に登録してある
        Clock::time_point deadline = {}; // この時刻になれば、発生していなくても再開する
        std::list<int>::iterator place = {}; // 締め切りの並びの中の位置
        bool late = false;                   // 締め切りになったので再開した
    };

    std::chrono::milliseconds idle; // 待つ時間の上限。どの接続にも同じ
    const Socket epoll{epoll_create1(0)};
    std::unordered_map<int, Client> clients = {}; // キーはディスクリプタ
    std::list<int> order = {}; // 締め切りの早い順。待つ長さは同じなので、待ち始めた順でもある
    bool stopping = false; // ドレインの間。これから届くものには返事をしない

    // fd を扱う task の実行を始め、その持ち主になる (メモリがなければ std::bad_alloc)。
    void start(int fd, Task task) {
        if (task.empty()) {
            throw std::bad_alloc();
        }
        std::list<int> place{fd};
        clients.emplace(fd, Client{.task = std::move(task), .place = place.begin()});
        order.splice(order.end(), place);
        clients.at(fd).task.resume();
        erase_if_done(fd); // 一度も待たずに終わるコルーチンもある
    }

    // fd を待っているコルーチンを再開する。late なら、準備はできていない。
    void resume(int fd, bool late) noexcept {
        Client& client = clients.at(fd);
        client.late = late;
        client.waiting.resume();
        erase_if_done(fd);
    }

    // 最後まで実行し終えていれば、frame ごと破棄する。
    void erase_if_done(int fd) noexcept {
        const auto found = clients.find(fd);
        if (found->second.task.done()) {
            order.erase(found->second.place);
            clients.erase(found);
        }
    }
};

// co_await writable(...): socket の準備ができるまで、コルーチンを中断する。できれば true。
// loop.idle だけ待ってもできなければ false で、errno は ETIMEDOUT。
// 待てるのは、start に渡した fd だけ。ほかのものを待てば std::out_of_range を投げる。
struct Ready {
    Loop& loop;
    const Socket& socket;
    std::uint32_t event;

    bool await_ready() const noexcept { return false; } // いつも中断し、ほかの接続に番を譲る
    void await_suspend(std::coroutine_handle<> self) const {
        Loop::Client& client = loop.clients.at(socket.fd());
        client.waiting = self;
        client.deadline = Clock::now() + loop.idle;
        loop.order.splice(loop.order.end(), loop.order, client.place);
        if (std::exchange(client.event, event) != event) {
            watch(loop.epoll, EPOLL_CTL_MOD, socket.fd(), event);
        }
    }
    bool await_resume() const noexcept {
        errno = ETIMEDOUT; // true なら、誰も読まない
        return !loop.clients.at(socket.fd()).late;
    }
};

// co_await receive(...): 届くのを待って、recv(2) を呼ぶ。値も errno も recv(2) と同じ。
// loop.idle だけ待っても届かなければ、-1 と ETIMEDOUT。
struct Receive : Ready {
    std::span<char> buffer;

    ssize_t await_resume() const noexcept {
        return Ready::await_resume() ? recv(socket.fd(), buffer.data(), buffer.size(), 0) : -1;
    }
};

inline Ready writable(Loop& loop, const Socket& socket) noexcept {
    return {loop, socket, EPOLLOUT};
}

inline Receive receive(Loop& loop, const Socket& socket, std::span<char> buffer) noexcept {
    return {{loop, socket, EPOLLIN}, buffer};
}
