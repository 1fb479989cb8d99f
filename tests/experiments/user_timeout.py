#!/usr/bin/env python3
"""返事を読まない相手に送り続け、いつ、なぜ失敗するかを表示する (docs/more/07-timeouts.md)。

使い方: python3 tests/experiments/user_timeout.py <port> <TCP_USER_TIMEOUT のミリ秒。0 なら既定のまま>
"""
import socket
import sys
import time

port, milliseconds = map(int, sys.argv[1:])
with socket.create_server(('127.0.0.1', port)) as server:
    # 待ち受けソケットに指定すれば、接続済みソケットに受け継がれる (tcp(7))
    server.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
    client, _ = server.accept()
with client:
    begin = time.monotonic()
    try:
        while True:
            client.send(bytes(65536))  # 送信バッファーがいっぱいになれば、ここで待つ
    except OSError as error:
        print(f'{time.monotonic() - begin:.1f} 秒: {error.strerror}')
