"""自分で回すイベントループ (第5章、第6章): python3 tests/readers/selector.py port"""

import selectors
import socket
import sys

selector = selectors.DefaultSelector()
server = socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=4096)
server.setblocking(False)
selector.register(server, selectors.EVENT_READ)
unsent = {}  # 送れなかった残り


def serve(client):
    if not unsent[client]:
        unsent[client] = client.recv(65536)
        if not unsent[client]:
            raise EOFError
    unsent[client] = unsent[client][client.send(unsent[client]):]
    selector.modify(client, selectors.EVENT_WRITE if unsent[client] else selectors.EVENT_READ)


while True:
    for key, _ in selector.select():
        try:
            if key.fileobj is server:
                client, _ = server.accept()
                client.setblocking(False)
                unsent[client] = b""
                selector.register(client, selectors.EVENT_READ)
            else:
                serve(key.fileobj)
        except BlockingIOError:
            pass
        except (EOFError, OSError):
            del unsent[key.fileobj]
            selector.unregister(key.fileobj)
            key.fileobj.close()
