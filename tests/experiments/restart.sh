# サーバーが終わるたびに、0.2 秒おいて起動し直す (docs/more/replacing.md)。引数は起動するコマンド。
# 受け継いだ 3 番の待ち受けソケットがあれば、開いたまま持ち続けて、どのサーバーにも渡す。
trap exit INT # Ctrl-C では、サーバーだけでなくこのシェルも終わる
while sleep 0.2; do
    # LISTEN_FDS は受け継いだまま。LISTEN_PID は内側の sh の PID で、exec しても変わらない。
    sh -c 'LISTEN_PID=$$ exec "$@"' sh "$@"
done
