# 50 MB を送り、Enter を打つまで返事を一バイトも読まないクライアント (docs/05-poll.md)。
# 打つと残りをすべて読み、返ってきたバイト数を表示する。
head -c "${1:-50000000}" /dev/zero | nc -N 127.0.0.1 7777 | (read -r line </dev/tty; wc -c)
