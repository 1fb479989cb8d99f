"""スレッドプール (第4章): python3 tests/readers/pool.py port threads"""

import socket
import sys
import threading


def handle(client):
    try:
        while data := client.recv(65536):
            client.sendall(data)
    except OSError:
        pass
    finally:
        client.close()


def work():
    while True:
        client, _ = server.accept()
        handle(client)


server = socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=4096)
for _ in range(int(sys.argv[2]) - 1):
    threading.Thread(target=work, daemon=True).start()
work()
