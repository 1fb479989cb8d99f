"""第8章と同じはたらきのサーバーを、Python の asyncio で書いたもの (make check が通すことを確かめる):
draining.py port idle-ms clients grace-ms"""

import asyncio
import os
import signal
import sys

port, idle, limit, grace = (int(argument) for argument in sys.argv[1:])
served = set()
waiting = []  # 満員なので待っている人。まだ何も読まない
stopping = False


class Client(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport
        self.timer = None
        transport.pause_reading()
        waiting.append(self)
        admit()

    def rest(self):  # 黙っていてよい時間を、ここから数える
        if self.timer:
            self.timer.cancel()
        self.timer = asyncio.get_running_loop().call_later(idle / 1000, self.transport.abort)

    def data_received(self, data):
        self.rest()
        if not stopping:
            self.transport.write(data)

    def pause_writing(self):  # 相手が読まない。返しおえるまで、読まない
        self.transport.pause_reading()

    def resume_writing(self):
        self.rest()
        self.transport.resume_reading()

    def connection_lost(self, error):
        if self.timer:
            self.timer.cancel()
        served.discard(self)
        if self in waiting:
            waiting.remove(self)
        admit()


def admit():
    while waiting and len(served) < limit and not stopping:
        client = waiting.pop(0)
        served.add(client)
        client.rest()
        client.transport.resume_reading()
    if stopping and not served:
        ended.set()


def stop():
    global stopping
    if stopping:
        os._exit(1)
    stopping = True
    server.close()
    for client in list(waiting):
        client.transport.abort()
    for client in served:
        client.transport.write_eof()  # 返すものを返してから、送る向きを閉じる
    asyncio.get_running_loop().call_later(grace / 1000, ended.set)
    admit()


async def main():
    global server, ended
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Client, "127.0.0.1", port, backlog=1000)
    loop.add_signal_handler(signal.SIGTERM, stop)
    loop.add_signal_handler(signal.SIGINT, stop)
    await ended.wait()


asyncio.run(main())
