#!/usr/bin/env python3
"""ノート (README.md と docs/*.md) が、書いてあるとおりかどうかを確かめる。

引用、リンク、名前は読むだけで確かめ、端末の例は本物の端末で動かして、出力を比べる。
ノートの書き方は docs/writing-notes.md にある。Python 3.9 以降のほかには何も要らない。
"""

import argparse
import ctypes
import glob
import os
import shutil
import signal
import subprocess
import sys

sys.dont_write_bytecode = True  # となりのファイルを読んでも、__pycache__ を残さない
from note import DOTS, SIGN, Note, counts, fail, failures
from predict import check_questions, quiz
from quotes import check_links, check_names, check_places, check_quotes
from record import check_tables
from recordings import Recorder, scenes
from terminal import Replay, replay


def isolate():
    """できれば、自分だけのネットワークとプロセスの番号の中で動きなおす。よそのサーバーや、前の回の
    TIME-WAIT と出会わず、ノートの pkill がよそのプロセスに届くこともない。"""
    prepare = 'ip link set lo up && echo 4000 > /proc/sys/kernel/ns_last_pid && exec "$@"'  # ノートと同じ桁に
    command = ['unshare', '--net', '--pid', '--fork', '--kill-child', '--mount-proc', 'sh', '-c', prepare, 'sh']
    tools = all(shutil.which(tool) for tool in ('unshare', 'ip'))
    if tools and subprocess.run([*command, 'true'], stderr=subprocess.DEVNULL).returncode == 0:
        os.environ['CHECK_NOTES_ISOLATED'] = 'yes'
        os.execvp(command[0], [*command, sys.executable, *sys.argv])


def main():
    parser = argparse.ArgumentParser(description='ノートが、書いてあるとおりかどうかを確かめる')
    parser.add_argument('files', nargs='*', help='確かめるノート (省くと README.md と docs/*.md)')
    parser.add_argument('--quick', action='store_true', help='端末の例を動かさない')
    parser.add_argument('--update', action='store_true', help='違っていた引用と出力と測定の表を、本物に書き換える')
    parser.add_argument('--recordings', metavar='DIRECTORY', help='サイトで再生する記録も残す')
    parser.add_argument('--predict', action='store_true', help='ノートの予想の問いを出し、本物を動かして答え合わせをする')
    options = parser.parse_args()
    root = os.path.abspath(os.path.join(os.path.dirname(__file__), '../..'))
    files = [os.path.relpath(path, root) for path in options.files]
    os.chdir(root)

    if not options.quick and 'CHECK_NOTES_ISOLATED' not in os.environ:
        isolate()
    if not options.quick:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # 止められても、始めたプロセスを残さない
        # PR_SET_CHILD_SUBREAPER: 親を失ったプロセスを引き取る。init がすぐに回収するとはかぎらない。
        ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
    notes = [Note(path) for path in files or glob.glob('README.md') + sorted(glob.glob('docs/*.md') + glob.glob('docs/more/*.md'))]
    for note in notes:
        check_questions(note)
    if options.predict:
        return 1 if failures else quiz(max(notes, key=lambda note: len(note.questions)))  # 付録でなく章のノート
    for note in notes:
        for block in note.blocks:
            if block.language == 'console' and block.title:
                fail(block.place(), '端末の例に名前はつけません')
            for offset, line in enumerate(block.lines, 1):
                if block.language == 'console' and block.transcript() and not (SIGN.fullmatch(line) or line in DOTS):
                    fail(block.place(offset), 'A$ か A> か A: で始まりません', line)
        check_quotes(note, options.update)
        check_links(note)
        check_names(note)
        check_tables(note, options.update)
    if not files:
        check_places()

    for note in notes:
        for title, blocks in note.sections:
            blocks = [block for block in blocks if block.replay()]
            if blocks and not options.quick:
                scene, before = options.recordings and scenes(note).get(title), len(failures)
                session = Replay(recorder=Recorder() if scene else None)
                replay(title, blocks, session, options.update)
                if scene and len(failures) == before and len(session.recorded) == len(blocks):  # 省いたところもない
                    session.recorder.save(f'{options.recordings}/{scene}.json')
        if note.edits or note.changed:
            note.save()
    if failures:
        print(f'{len(failures)} 件が、ノートと違います')
        return 1
    print('、'.join(f'{name} {count} 件' for name, count in counts.items()) + 'を確かめました')
    return 0


if __name__ == '__main__':
    sys.exit(main())
