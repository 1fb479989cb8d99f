"""三人のチャット (docs/11-chat.md): 一人が送り、一人は読み続け、一人は読まない。

python3 tests/experiments/fan.py ポート 行の数
"""

import socket
import sys

port, total = int(sys.argv[1]), int(sys.argv[2])
block = 20  # 読み続ける受け手が受け取るのを待って、次のこれだけを送る


def connect():
    client = socket.create_connection(("127.0.0.1", port))
    return client, client.makefile("rb"), b"%s:%d" % (b"127.0.0.1", client.getsockname()[1])


sleeper, sleeping, sleeper_name = connect()
_, reading, _ = connect()
speaker, _, name = connect()
while reading.readline() != name + b" joined\n":
    pass
arrived, cut = 0, False
for first in range(0, total, block):
    said = [b"%0199d\n" % number for number in range(first, first + block)]
    speaker.sendall(b"".join(said))
    line = b""
    while line != name + b": " + said[-1]:
        line = reading.readline()
        arrived += b": " in line
        cut = cut or line == sleeper_name + b" left\n"
print(f"読み続けた受け手: {total} 行のうち {arrived} 行")
if not cut:
    sleeper.shutdown(socket.SHUT_WR)  # 送り終えた。あとは、閉じられるまで読む
late = sum(line.startswith(name + b": ") and len(line) > 200 for line in sleeping)
print(f"読まない受け手: {total} 行のうち {late} 行、切断{'された' if cut else 'されていない'}")
