// パイプに abc と d を書き、epoll が読めると知らせる間、一バイトずつ読む (docs/06-epoll.md)。
// 引数があれば、エッジトリガー (EPOLLET) で待つ。

#include <sys/epoll.h>
#include <unistd.h>

int main(int argc, char*[]) {
    int ends[2]; // 読む端と、書く端
    if (pipe(ends) == -1) {
        return 1;
    }
    const int epoll = epoll_create1(0);
    epoll_event event{};
    event.events = argc > 1 ? EPOLLIN | EPOLLET : EPOLLIN;
    event.data.fd = ends[0];
    epoll_ctl(epoll, EPOLL_CTL_ADD, ends[0], &event);

    char byte = 0;
    bool good = write(ends[1], "abc", 3) == 3;
    while (good && epoll_wait(epoll, &event, 1, 0) == 1) {
        good = read(ends[0], &byte, 1) == 1;
    }
    good = write(ends[1], "d", 1) == 1;
    while (good && epoll_wait(epoll, &event, 1, 0) == 1) {
        good = read(ends[0], &byte, 1) == 1;
    }
}
