"""20,000 バイトを送り、すべて返ってくるのを待つことを、50 回繰り返す (docs/more/01-iterative.md)。"""
import socket
import sys
import time

s = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
start = time.monotonic()
for i in range(50):
    s.sendall(bytes(20000))
    left = 20000
    while left > 0:
        left -= len(s.recv(left))
print(f"{time.monotonic() - start:.1f} 秒")
