# 50 MB を送り、Enter を打つまで返事を一バイトも読まないクライアント (docs/05-poll.md)。
# 打つと残りをすべて読み、返ってきたバイト数を表示する。
# nc では、返事を渡す先のパイプがいっぱいになると、送るほうまで止まることがある。
until ss -Hltn "sport = :7777" | grep -q .; do sleep 0.1; done # サーバーが待ち受けるのを待つ
exec python3 tests/experiments/hoard.py "${1:-50000000}"
