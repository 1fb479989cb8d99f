"""hoard.sh の中身。サーバーのポート 7777 に接続して引数のバイト数を送り、返事は Enter を打つまで
一バイトも読まない。打つと EOF まで読み、返ってきたバイト数を表示する。二つ目の引数があれば、64 KiB を読むごとに、
そのミリ秒だけ休む (遅い回線の代わり)。"""
import signal
import socket
import sys
import threading
import time

signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C では何も表示せずに終了する
size = int(sys.argv[1])
pause = int(sys.argv[2]) / 1000 if len(sys.argv) > 2 else 0
client = socket.create_connection(("127.0.0.1", 7777))


def send():
    try:
        client.sendall(bytes(size))
        client.shutdown(socket.SHUT_WR)
    except OSError:
        pass  # サーバーが接続を打ち切った


threading.Thread(target=send, daemon=True).start()
with open("/dev/tty") as terminal:
    terminal.readline()
total = 0
try:
    while data := client.recv(65536):
        total += len(data)
        time.sleep(pause)
except OSError:
    pass
print(total)
