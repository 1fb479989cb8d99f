"""第8章と同じはたらき (asyncio): draining.py port idle-ms clients grace-ms"""

import asyncio
import signal
import sys

port, idle, limit, grace = (int(argument) for argument in sys.argv[1:])
served, waiting = set(), []  # waiting は、満員なので待っている人。まだ何も読まない
stopping = False


class Client(asyncio.Protocol):
    timer = None

    def connection_made(self, transport):
        self.transport = transport
        transport.pause_reading()
        waiting.append(self)
        admit()

    def progress(self):  # 黙っていてよい時間を、ここから数える
        if self.timer:
            self.timer.cancel()
        self.timer = asyncio.get_running_loop().call_later(idle / 1000, self.transport.abort)

    def data_received(self, data):
        self.progress()
        if not stopping:
            self.transport.write(data)

    def pause_writing(self):  # 相手が読まない。返しおえるまで、読まない
        self.transport.pause_reading()

    def resume_writing(self):
        self.progress()
        self.transport.resume_reading()

    def connection_lost(self, error):
        if self.timer:
            self.timer.cancel()
        served.discard(self)
        waiting[:] = [client for client in waiting if client is not self]
        admit()


def admit():
    while waiting and len(served) < limit and not stopping:
        client = waiting.pop(0)
        served.add(client)
        client.resume_writing()
    if stopping and not served:
        ended.set()


def stop():
    global stopping
    stopping = True
    server.close()
    for client in waiting:
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
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    await ended.wait()


asyncio.run(main())
