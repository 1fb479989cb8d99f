"""続けて二文字を送り、どちらの返事もそろうまでの時間が、往復何回分かを測る (docs/more/01-iterative.md)。"""
import socket
import statistics
import time

s = socket.create_connection(("10.0.0.1", 7777))
s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def seconds(keys):
    start = time.monotonic()
    for key in keys:
        s.sendall(key)
        time.sleep(0.01)  # 次の文字は、前の文字の返事を待たずに打つ
    left = len(keys)
    while left > 0:
        left -= len(s.recv(left))
    return time.monotonic() - start


one, two = (statistics.median(seconds(keys) for _ in range(5)) for keys in ([b"l"], [b"l", b"s"]))
print(f"往復 {two / one:.0f} 回分")
