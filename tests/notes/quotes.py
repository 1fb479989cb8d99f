"""ノートの引用、リンク、名前を、本物と比べる。"""

import functools
import glob
import os
import re
import subprocess
from urllib.parse import unquote

from note import SETTINGS, Note, counts, fail


@functools.lru_cache(None)
def make(*arguments):
    """make の出力。失敗すれば None。"""
    # make から呼ばれたときも、作る場所を変える設定 (SANITIZE など) は受け継がせない。
    environment = {name: os.environ[name] for name in ('PATH', 'HOME', *SETTINGS) if name in os.environ}
    result = subprocess.run(['make', *arguments], env=environment, stdin=subprocess.DEVNULL,
                            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, encoding='utf-8')
    return result.stdout if result.returncode == 0 else None


@functools.lru_cache(None)
def source(title):
    """引用されるファイルか、make diffNN の出力の、すべての行。なければ None。"""
    if re.fullmatch(r'make diff\w+', title):
        text = make('-s', title[5:])
    elif os.path.isfile(title):
        with open(title, encoding='utf-8') as file:
            text = file.read()
    else:
        text = None
    return text and [line.rstrip() for line in text.rstrip('\n').split('\n')]


def find(part, whole):
    places = range(len(whole) - len(part) + 1)
    return next((at for at in places if part and whole[at:at + len(part)] == part), -1)


def check_quotes(note, update):
    chapter = re.match(r'docs/((\d\d)-[\w-]+)', note.path)
    if chapter:
        check_changed_functions(note, chapter[1], chapter[2])
    for block in note.blocks:
        if block.language == 'console' or not block.title:
            continue
        counts['引用'] += 1
        whole = source(block.title)
        if whole is None:
            fail(block.place(), f'引用する {block.title} がありません')
        elif find(block.lines, whole) == -1 and not (update and cut_again(block, whole)):
            report_difference(block, whole)


def check_changed_functions(note, folder, number):
    """前の章から変わった関数や型の名前が、どれもノートにあること (引用の中でもよい)。"""
    path = f'chapters/{folder}/server.cpp'
    text, names, changed, at = '\n'.join(note.lines), {}, set(), 0
    name = None
    for line_number, line in enumerate(source(path) or [], 1):
        if re.match(r'[A-Za-z\[]', line) and name is None:  # 関数、型、定数の始まり
            name = re.search(r'(\w+)(?:\(| =|;| \{$|\{)', line.replace('[[noreturn]] ', ''))[1]
        names[line_number] = name
        if line.startswith('}') or line[:1] not in (' ', '') and line.partition('//')[0].rstrip().endswith(';'):
            name = None
    for line in (source(f'make diff{number}') or [])[2:]:
        hunk = re.match(r'@@ -\S+ \+(\d+)', line)
        if hunk:
            at = int(hunk[1]) - 1
            continue
        at += not line.startswith('-')
        if line[:1] in '+-' and line[1:].strip() and not re.match(r'.(#include|using |//)', line):
            changed.add(names.get(at))
    for name in sorted(filter(None, changed)):
        counts['変わった関数'] += 1
        if not re.search(rf'\b{name}\b', text):
            fail(f'{note.path}:1', f'{path} の {name} が変わったのに、引用も説明もありません')


def cut_again(block, whole):
    """引用の最初と最後の行が今も見つかれば、その間を引用しなおす。"""
    if not block.lines or whole.count(block.lines[0]) != 1:
        return False
    rest, last = whole[whole.index(block.lines[0]):], block.lines[-1]
    if last not in rest or rest.count(last) > 1 and last not in ('}', '};'):
        return False
    block.note.edits.append((block, rest[:rest.index(last) + 1]))
    return True


def report_difference(block, whole):
    """本物にひと続きであるところまで読み、その次の行を報告する。"""
    first = max((n for n in range(len(block.lines)) if find(block.lines[:n], whole) != -1), default=0)
    at = find(block.lines[:first], whole) + first
    real = whole[at] if 0 < at < len(whole) and first else None
    fail(block.place(1 + first), f'{block.title} と違います', *block.lines[first:first + 1] or [None], real)


def check_places():
    """わざと壊したサーバーと make check の言う「読むところ」が、どれもノートの見出しであること。"""
    tests = [f'tests/suite/{name}_test.cpp' for name in ('protocol', 'limit', 'chat')]
    for path in sorted(glob.glob('tests/mutants/*.patch')) + tests:
        for number, line in enumerate(source(path), 1):
            for name, titles in re.findall(r'((?:more/)?\d\d-[a-z-]+\.md)((?:「[^」]*」)+)', line):
                for title in titles[1:-1].split('」「'):
                    counts['読むところ'] += 1
                    if not {f'## {title}', f'### {title}'} & set(source(f'docs/{name}') or []):
                        fail(f'{path}:{number}', f'docs/{name} に、見出しがありません: {title}')


INLINE_CODE = re.compile(r'(`+)(.+?)\1(?!`)')


@functools.lru_cache(None)
def anchors_of(path):
    return Note(path).anchors


def check_links(note):
    for number, line in note.prose:
        line = INLINE_CODE.sub('', line)
        targets = re.findall(r'\]\(<?([^)\s>]+)|(?:src|href|srcset)="([^"]+)"|^\[[^\]]+\]: +(\S+)', line)
        for target in map(''.join, targets):
            if re.match(r'[a-zA-Z][\w+.-]*:', target):
                continue
            counts['リンク'] += 1
            path, _, anchor = unquote(target).partition('#')
            path = os.path.normpath(os.path.join(os.path.dirname(note.path), path)) if path else note.path
            if not os.path.exists(path):
                fail(f'{note.path}:{number}', f'リンク先がありません: {target}')
            elif anchor and path.endswith('.md') and anchor not in anchors_of(path):
                fail(f'{note.path}:{number}', f'リンク先に、その見出しがありません: {target}')


def check_make(place, command):
    """コマンドの中の make の、目標と NAME= を確かめる。引用符の中の引数は見ない。"""
    command = re.sub(r"'[^']*'", '', command)
    for words in re.findall(r'(?:^|[;&|] *|time )make((?: +[^\s;&|]+)+)', command):
        kind = next((kind for kind in ('variant', 'answer', 'check') if kind in words.split()), 'mutant')
        for word in words.split():
            name = re.fullmatch(r'(?:NAME|EXERCISE)=([a-z0-9-]+)', word)
            if name:
                check_name(place, f'tests/{kind.replace("check", "answer")}s/{name[1]}.patch')
            elif re.fullmatch(r'\w[\w./-]*', word):
                check_name(place, f'make {word}')


def check_name(place, name):
    """make の目標か、ファイルか、作るプログラムの名前が、本当にあること。NN は章の番号の代わり。"""
    counts['名前'] += 1
    built = re.fullmatch(r'build/(?:([a-z]+)/)?[\w-]+', re.sub('^make chapter', 'build/chapter', name))
    patched = re.fullmatch(r'build/(mutant|variant|answer)/([\w-]+)', name)
    if 'NN' in name:
        known = name in ('make chapterNN', 'make diffNN', 'build/chapterNN') or glob.glob(name.replace('NN', '*'))
    elif patched:
        known = os.path.isfile(f'tests/{patched[1]}s/{patched[2]}.patch')
    elif built and name != 'build/obj':  # chapter% の規則はない章にも当てはまるので、リンクするかどうかを見る
        known = f'-o {built[0]}' in (make('-nB', built[0], f'SANITIZE={built[1] or ""}') or '')
    elif name.startswith('make diff'):
        known = source(name)
    elif name.startswith('make '):
        known = make('-n', name[5:]) is not None
    else:
        known = name.startswith('build/') or glob.glob(name)
    if not known:
        fail(place, f'ありません: {name}')


def check_names(note):
    for number, line in note.prose:
        for _, code in INLINE_CODE.findall(line):
            check_make(f'{note.path}:{number}', code.strip())
            for name in re.findall(r'(?<![\w./-])(?:chapters|common|tests|docs|build)/[\w./*?-]*[\w*?/]', code):
                check_name(f'{note.path}:{number}', name)
    for block in note.blocks:
        for offset, line in enumerate(block.lines, 1):
            command = re.match(r'[A-Z]?\$ (.*)', line)
            if block.language == 'sh' or not block.replay() and command:
                check_make(block.place(offset), (command[1] if command else line).partition('#')[0])
