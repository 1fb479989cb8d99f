// ソケット (ファイルディスクリプタ) の持ち主。
#pragma once

#include <cerrno>
#include <system_error>
#include <unistd.h>
#include <utility>

// 一つのディスクリプタを一つの Socket だけが持つ。ムーブで持ち主が移り、
// 持ち主が破棄されるときに閉じられる (RAII)。空の Socket は fd() が -1。
class Socket {
public:
    Socket() = default;
    explicit Socket(int fd) noexcept : fd_(fd) {}
    Socket(Socket&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
    Socket& operator=(Socket other) noexcept {
        std::swap(fd_, other.fd_); // 前のものは other のデストラクターが閉じる
        return *this;
    }
    ~Socket() { close(); }

    // 借りるだけ。閉じるのは Socket の仕事なので、呼び出し側は close(2) しない。
    int fd() const noexcept { return fd_; }

    // 今ここで閉じる。二度呼んでもよい。
    // close(2) は EINTR でもやり直さない。Linux ではそのときディスクリプタはもう解放されていて、
    // やり直すと、別のスレッドが得たばかりの同じ番号を閉じかねない (man 2 close)。
    void close() noexcept {
        if (fd_ != -1) {
            ::close(std::exchange(fd_, -1));
        }
    }

private:
    int fd_ = -1;
};

// fd の持ち主を作る。fd が -1 なら、call が失敗したという std::system_error を投げる (errno)。
inline Socket checked_socket(int fd, const char* call) {
    if (fd == -1) {
        throw std::system_error(errno, std::generic_category(), call);
    }
    return Socket{fd};
}
