"""何も送らない接続の中で、一本だけが 500 往復する (docs/05-poll.md の「測る」)。
watched.py ポート サーバーのPID 接続の数... の順に渡す。サーバーが一往復に使った CPU 時間を表示する。
コアには固定しない。たいていは同じコアで交互に動くので、別のコアに固定する make bench の値より小さい。"""
import socket
import sys

port, server, *crowds = map(int, sys.argv[1:])
times = 500


def cpu_ns():
    with open(f"/proc/{server}/schedstat") as file:  # 初めの数が、CPU で動いた時間 (ナノ秒)
        return int(file.read().split()[0])


silent = []
talker = socket.create_connection(("127.0.0.1", port))
for crowd in crowds:
    while len(silent) < crowd - 1:
        silent.append(socket.create_connection(("127.0.0.1", port)))
    talker.sendall(b"x")  # すべてが受け付けられるのを待つ
    talker.recv(1)
    before = cpu_ns()
    for i in range(times):
        talker.sendall(b"x")
        talker.recv(1)
    print(f"{crowd} 本: {(cpu_ns() - before) / times / 1000:.1f} マイクロ秒")
