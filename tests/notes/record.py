"""ノートの「測る」の表を、測定の記録 (make record) と比べる。"""

import csv
import functools
import re

from note import counts, fail

RECORD = 'docs/record.csv'


@functools.lru_cache(None)
def read_record():
    """測った環境と、{(サーバー, 'churn 32 CPU us'): 中央値}。QUICK=1 の記録なら、表の数とは比べない。"""
    with open(RECORD, encoding='utf-8') as file:
        lines = file.read().splitlines()
    machine = dict(line[2:].split(': ', 1) for line in lines if line.startswith('# '))
    if 'QUICK=1' in machine['コマンド']:
        print(f'{RECORD} は QUICK=1 の記録なので、表の数とは比べません')
        return machine, None
    rows = csv.DictReader(line for line in lines if not line.startswith('#'))
    return machine, {(row['server'].split('/')[-1], f"{row['load']} {row['connections']} {row['result']}"):
                     float(row['median']) for row in rows}


def rounded(value):
    """上から二桁にする。"""
    value = float(f'{value:.2g}')
    return f'{value:,.0f}' if abs(value) >= 10 else f'{value:#.2g}'


def recorded(cell, name, measures):
    """セルの数を、記録の数に替えたもの。記録になければ None。"""
    chapter = re.match(r'第(\d+)章', name)
    server = f'chapter{int(chapter[1]):02}' if chapter else name.strip('`')
    parts = cell.split(' / ')
    for at, choices in enumerate(measures.split(' / ')[:len(parts)]):
        if re.match(r'-?\d', parts[at]):
            value = next(filter(None, (read_record()[1].get((server, each)) for each in choices.split(' か '))), None)
            if value is None:
                return None
            parts[at] = re.sub(r'^-?[\d.,]+', rounded(value), parts[at])
    return ' / '.join(parts)


def check_tables(note, update):
    """「<!-- 測定: 一列目 | 二列目 -->」の次の表を比べる。行ごとに違うことを測ったのなら「行 一行目 | 二行目」と書く。"""
    for number, line in note.prose:
        form = re.fullmatch(r' *<!-- 測定: (行 )?(.+) -->', line)
        if line.startswith('| 方式 | 接続一本の') and not note.lines[number - 2].startswith('<!-- 測定: '):
            fail(f'{note.path}:{number}', '測定の表の前の行に、何を測ったかを書きます', line)
        if not form or form[2] != '環境' and read_record()[1] is None:
            continue
        measures, heads = form[2].split(' | '), note.lines[number][2:-2].split(' | ')
        for at in range(number + 2, len(note.lines)):
            if not note.lines[at].startswith('| '):
                break
            name, *cells = note.lines[at][2:-2].split(' | ')
            counts['測った行'] += 1
            if form[2] == '環境':
                real = [read_record()[0].get(name)]
            else:
                chosen = measures[at - number - 2:][:1] * len(cells) if form[1] else measures
                real = [recorded(cell, head if form[1] else name, measure)
                        for cell, head, measure in zip(cells, heads[1:], chosen)] + cells[len(chosen):]
            if None in real:
                fail(f'{note.path}:{at + 1}', f'{RECORD} にありません', note.lines[at])
            elif real != cells and update:
                note.lines[at], note.changed = f'| {" | ".join([name, *real])} |', True
                print(f'{note.path}:{at + 1}: 書き換えました')
            elif real != cells:
                fail(f'{note.path}:{at + 1}', f'{RECORD} と違います', ' | '.join(cells), ' | '.join(real))
