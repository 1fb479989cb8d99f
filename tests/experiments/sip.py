"""少しずつ返事を読むクライアント (docs/08-shutdown.md)。50 MB を送り、Enter を打つまでは返事を読まない。
打つと 64 KiB ずつ、20 ミリ秒おきに読む。サーバーが接続を閉じるか打ち切ると、返ってきたバイト数を表示する。"""
import signal
import socket
import threading
import time

signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C では何も表示せずに終了する
client = socket.create_connection(("127.0.0.1", 7777))


def send():
    try:
        client.sendall(bytes(50_000_000))
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
        time.sleep(0.02)
except OSError:
    pass
print(total)
