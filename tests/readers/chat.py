"""行を送りあうチャット (第11章、asyncio): chat.py port idle-ms clients grace-ms"""

import asyncio
import signal
import sys

port, idle, limit, grace = (int(argument) for argument in sys.argv[1:])
longest, behind = 1024, 64 * 1024
room = {}  # 名前と、送る相手
stopping = False


def tell_others(name, text):
    for other, writer in list(room.items()):
        if other != name and not stopping and not writer.transport.is_closing():
            writer.write(name.encode() + text)
            if writer.transport.get_write_buffer_size() > behind:
                writer.transport.abort()  # 読むのが遅れた人


async def read_lines(name, reader, writer):
    half = b""
    while len(half) < longest and not writer.transport.is_closing():
        data = await asyncio.wait_for(reader.read(longest - len(half)), idle / 1000)
        if not data:
            if half:
                tell_others(name, b": " + half + b"\n")
            return
        if not stopping:
            *lines, half = (half + data).split(b"\n")
            for line in lines:
                tell_others(name, b": " + line + b"\n")
    writer.write(b"line too long\n")
    writer.write_eof()
    while await asyncio.wait_for(reader.read(longest), idle / 1000):
        pass  # 読まずに閉じると、断りが届かないことがある


async def handle(reader, writer):
    async with seats:
        name = "%s:%d" % writer.get_extra_info("peername")
        room[name] = writer
        tell_others(name, b" joined\n")
        try:
            await read_lines(name, reader, writer)
        except (OSError, TimeoutError, asyncio.TimeoutError):
            writer.transport.abort()
        tell_others(name, b" left\n")
        del room[name]
        writer.close()
        if stopping and not room:
            ended.set()


def stop():
    global stopping
    stopping = True
    server.close()
    for writer in room.values():
        writer.write_eof()  # 送るものを送ってから、送る向きを閉じる
    asyncio.get_running_loop().call_later(grace / 1000 if room else 0, ended.set)


async def main():
    global server, ended, seats
    ended, seats = asyncio.Event(), asyncio.Semaphore(limit)
    loop = asyncio.get_running_loop()
    server = await asyncio.start_server(handle, "127.0.0.1", port, backlog=1000, limit=longest)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    await ended.wait()


asyncio.run(main())
