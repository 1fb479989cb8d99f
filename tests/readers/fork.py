"""クライアントごとにプロセス (第2章): python3 tests/readers/fork.py port"""

import os
import signal
import socket
import sys


def reap(*_):
    try:
        while os.waitpid(-1, os.WNOHANG)[0] > 0:
            pass
    except ChildProcessError:
        pass  # もう、子プロセスはいない


def handle(client):
    try:
        while data := client.recv(65536):
            client.sendall(data)
    except OSError:
        pass


signal.signal(signal.SIGCHLD, reap)
server = socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=4096)
while True:
    client, _ = server.accept()
    if os.fork() == 0:
        server.close()
        handle(client)
        os._exit(0)
    client.close()
