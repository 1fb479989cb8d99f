"""反復サーバー (第1章): python3 tests/readers/iterative.py port"""

import socket
import sys


def handle(client):
    try:
        while data := client.recv(65536):
            client.sendall(data)
    except OSError:
        pass  # 打ち切られた。失うのは、この接続だけ
    finally:
        client.close()


server = socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=128)
while True:
    client, _ = server.accept()
    handle(client)
