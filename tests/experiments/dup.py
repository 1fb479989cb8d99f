# 登録したディスクリプタを閉じても、コピーが開いていれば epoll の登録は残る (docs/more/06-epoll.md)。
import os
import select

reader, writer = os.pipe()
epoll = select.epoll()
epoll.register(reader)
copy = os.dup(reader)
os.write(writer, b"a")

os.close(reader)
print("closed:", epoll.poll(0))
try:
    epoll.unregister(reader)  # EPOLL_CTL_DEL
except OSError as error:
    print("unregister:", error)
os.close(copy)
print("copy closed:", epoll.poll(0))
