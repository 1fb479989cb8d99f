#!/bin/sh
# 診断の表を作る: その章で、どの壊し方がどのテストに落ちるか。rules.mk が、三つを順に呼ぶ。
#   table.sh fits build 章 [章...]      章に当てはまる壊し方の、結果のファイルの名前
#   table.sh run build 結果 "コンパイルのコマンド"   壊したサーバーを作って make check のテストを走らせ、結果を書く
#   table.sh rows 結果...               表: 壊し方の名前、読むところ、落ちるテストの名前を、一行に一つ
set -eu

case $1 in
fits)
    # その章を壊すパッチと、部品を壊すパッチのうち、その章の使う部品のもの。部品はどの章でも同じなので、
    # 三つ目からの引数があれば、部品を壊すパッチは、その章だけで試す。
    build=$2
    chapter=$3
    shift 3
    awk -v chapter="$chapter" -v parts="${*:-$chapter}" '
        FILENAME == ARGV[1] { server = server $0; next }
        FNR == 1 { split(FILENAME, path, "[/.]"); name = path[3]; names[name] }
        /^Chapter: / && index($2, chapter) == 1 { own[name] }
        /^Part: / && !index(server, substr($0, 7)) || /^\+\+\+ b\/chapters/ { elsewhere[name] }
        /^Flags:/ { unfit[name] } # サニタイザーをつけて作るもの
        END {
            for (name in names) {
                part = !(name in elsewhere) && index(parts, chapter)
                if ((name in own || part) && !(name in unfit)) print name
            }
        }' chapters/"$chapter"-*/server.cpp tests/mutants/*.patch | sort | sed "s|.*|$build/diagnosis/$chapter/&.out|"
    ;;
run)
    server=${3%.out}
    folder=${server%/*}
    chapter=${folder##*/}
    mkdir -p "$folder"
    sh tests/check/patched.sh "$server" "tests/mutants/${server##*/}.patch" "$4" "$2/obj" "$chapter"
    case $chapter in # 第7章からのサーバーに渡す数。make check のように、テストが置きかえる
    0[1-6]) numbers= ;;
    07) numbers='--idle-ms {idle-ms} --clients {clients}' ;;
    *) numbers='--idle-ms {idle-ms} --clients {clients} --grace-ms {grace-ms}' ;;
    esac
    CONNECTIONS=1000 SILENT=200 "$2/tests" --server="$server {port} $numbers" --chapter="$chapter" --deadline=10 \
        >"$3" 2>&1 || [ $? -eq 1 ]
    ;;
rows)
    shift
    for result; do
        name=$(basename "$result" .out)
        sed -n "s|^  × |$name	$(sed -n 's/^Read: //p' "tests/mutants/$name.patch")	|p" "$result"
    done
    ;;
esac
