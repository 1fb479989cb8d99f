// 引数の番号のディスクリプタを select(2) の fd_set に入れる (docs/more/designs.md)。
#include <cstdlib>
#include <sys/select.h>

int main(int, char* argv[]) {
    const int fd = std::atoi(argv[1]);
    fd_set set;
    FD_ZERO(&set);
    FD_SET(fd, &set);
    return FD_ISSET(fd, &set) ? 0 : 1;
}
