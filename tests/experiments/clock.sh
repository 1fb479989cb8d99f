# 実時間時計だけをずらして見せる (docs/07-timeouts.md)。libfaketime を使う (make setup で入る)。
#   sh tests/experiments/clock.sh コマンド   ずれのないところから、コマンドを実行する
#   sh tests/experiments/clock.sh +1d        実行中のコマンドの実時間時計を一日進める (-1d なら戻す)
# 時刻を尋ねる関数をすり替えるだけなので、コンピューターの時計も、ほかのプログラムも変わらない。
case $1 in
[+-]*) echo "$1" >/tmp/clock && exit ;; # ずれを書いておくファイル
esac
library=$(ls /usr/lib*/faketime/libfaketime.so.1 /usr/lib*/*/faketime/libfaketime.so.1 2>/dev/null | head -n 1)
echo +0 >/tmp/clock
export FAKETIME_TIMESTAMP_FILE=/tmp/clock
export FAKETIME_NO_CACHE=1     # 時刻を尋ねるたびにファイルを読む
export DONT_FAKE_MONOTONIC=1   # 単調時計はそのまま。時刻を合わせ直したときと同じになる
LD_PRELOAD=${library:?libfaketime がありません} exec "$@"
