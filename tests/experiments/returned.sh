# サーバーがドレインを始めるまでに recv で読んだバイト数と、B に返ったバイト数を比べる (docs/08-shutdown.md)。
# サーバーは strace -e trace=recvfrom,epoll_ctl -o /tmp/trace.txt で起動し、B が読んだ数は /tmp/got.txt に書いておく。
# 第8章のサーバーは、ドレインを始めると epoll_ctl(EPOLL_CTL_DEL) を呼ぶ。そのあとの recv は読み捨てなので数えない。
until [ -s /tmp/got.txt ]; do sleep 0.1; done # B が読み終えるのを待つ
read=$(awk '/EPOLL_CTL_DEL/ { exit } /^recvfrom.*= [0-9]+$/ { sum += $NF } END { print sum }' /tmp/trace.txt)
got=$(cat /tmp/got.txt)
printf 'read by the server: %8d bytes\nreturned to B:      %8d bytes\n' "$read" "$got"
[ "$read" -eq "$got" ] && echo 'all' || echo 'not all'
