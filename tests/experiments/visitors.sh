# 0.1 秒おきに $1 人のクライアントが 7777 番に来る (docs/more/replacing.md)。一人はつないでから $2 秒後に hello と送る。
# 返ってきたものと起こったエラーを数え、全員に hello が返っていれば all answered と表示する。
until ss -Hltn "sport = :7777" | grep -q .; do sleep 0.1; done # サーバーが待ち受けるのを待つ
for i in $(seq "$1"); do
    { sleep "$2"; echo hello; } | build/client 7777 2>&1 | sed 's/^error: .*: //' &
    sleep 0.1
done >/tmp/visitors.txt
wait
sort /tmp/visitors.txt | uniq -c
[ "$(grep -c '^hello$' /tmp/visitors.txt)" -eq "$1" ] && echo 'all answered' || echo 'not all answered'
