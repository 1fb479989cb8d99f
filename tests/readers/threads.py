"""クライアントごとにスレッド (第3章): python3 tests/readers/threads.py port"""

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


server = socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=4096)
while True:
    client, _ = server.accept()
    threading.Thread(target=handle, args=(client,), daemon=True).start()
