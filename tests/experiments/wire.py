"""wire.sh のケーブル: left と right の間で、パケットを、片道 argv[1] ミリ秒で、argv[2] 個に一つを失いながら運ぶ。"""
import collections
import contextlib
import select
import signal
import socket
import sys
import time

signal.signal(signal.SIGINT, signal.SIG_DFL)
delay, lost = int(sys.argv[1]) / 1000, int(sys.argv[2])
ends = [socket.socket(socket.AF_PACKET, socket.SOCK_RAW) for _ in range(2)]
for end, name in zip(ends, ("left", "right")):
    end.setsockopt(263, 15, 1)  # SOL_PACKET の PACKET_VNET_HDR: チェックサムの計算をカーネルに任せる
    end.setsockopt(263, 23, 1)  # PACKET_IGNORE_OUTGOING: 自分が流したものは受け取らない
    end.bind((name, 3))  # ETH_P_ALL
print("10.0.0.1 <-> 10.0.0.2", flush=True)

underway, count = collections.deque(), 0  # 運んでいる途中の (着く時刻, 出口, パケット)
while True:
    wait = max(0, underway[0][0] - time.monotonic()) if underway else None
    for end in select.select(ends, [], [], wait)[0]:
        with contextlib.suppress(OSError):  # ケーブルが抜けている
            packet = end.recv(100000)
            count += 1
            if lost == 0 or count % lost != 0:
                underway.append((time.monotonic() + delay, ends[end is ends[0]], packet))
    while underway and underway[0][0] <= time.monotonic():
        _, other, packet = underway.popleft()
        with contextlib.suppress(OSError):
            other.send(packet)
