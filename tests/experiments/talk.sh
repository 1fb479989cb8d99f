# 接続を一本開き、hello を $1 回往復させて閉じる (docs/06-epoll.md)。bash で動かす。
until ss -Hltn "sport = :7777" | grep -q .; do sleep 0.1; done # サーバーが待ち受けるのを待つ
exec 3<>/dev/tcp/127.0.0.1/7777
for _ in $(seq "$1"); do
    echo hello >&3
    read -r _ <&3
done
