"""ノートの予想の問いを出し、本物を動かして答え合わせをする。"""

import contextlib
import re
import sys

from note import counts, fail, failures, steps_of
from terminal import Replay, replay


def check_questions(note):
    asked = {block.question: block for block in note.blocks if block.replay()}
    for question in note.questions:
        counts['予想の問い'] += 1
        if question not in asked:
            fail(question.place, '予想の問いのすぐあとに、動かす端末の例がありません')
        elif question.answer(asked[question].output()) is None:
            fail(question.place, '予想の問いの答えが、ノートの出力から分かりません')


class Quiz(Replay):
    """一つの節を終わりまで動かし、問いの答えを覚えておく。問いはそのあとに出すので、いくら考えても、接続の
    記録 (TIME-WAIT) やサーバーの締め切りの時間は過ぎない。"""

    def __init__(self):
        super().__init__()
        self.answers = {}

    def interrupt_all(self):
        """最後の問いで終わるので、動いているものが残っていてもよい。"""

    def run_block(self, block):
        real = super().run_block(block) if block.replay() else block.lines  # 動かさないのは、壊し方のパッチ
        if block.question:
            self.answers[block] = block.question.answer(self.output_lines)
        return real


def ask(question):
    """読み手の答え。飛ばすなら空。"""
    said = False
    while True:
        text = input('(はい か いいえ) > ' if question.yes else '> ').strip()
        if not text or question.understands(text):
            return text
        if not said:
            print('はい か いいえ (y か n) で答えてください。Enter だけなら飛ばします')
        said = True


def show(block, real, answers):
    """問いがあれば、答えにかかわるところまでを見せて問い、本物と答えを見せる。"""
    question = block.question
    print()
    if question:
        steps = steps_of(block)
        answered = next((at for at, step in enumerate(steps) if step.shown), len(steps))
        lines = [line for step in steps[:answered + 1] if step.text is not None
                 for line in step.typed(step.text)]
        print(*('    ' + line for line in lines), f'\n予想: {question.text}', sep='\n')
        text = ask(question)
    # ss は、端末の幅いっぱいに列を広げる。字下げは、そのまま見せる。
    print(*('    ' + re.sub(r'(?<=[\w*]) {8,}', '  ', line) for line in real), sep='\n', flush=True)
    if question:
        mark = '－' if not text else '○' if question.accepts(text, answers[block]) else '×'
        counts[mark] += 1
        print(f'{mark} 答えは {answers[block]}')


def quiz(note):
    """ノートの予想の問いを出す。終了ステータスを返す。"""
    sys.stdin.reconfigure(errors='replace')  # 打ちまちがえたバイトで終わらない
    with contextlib.suppress(EOFError, KeyboardInterrupt):
        for title, blocks in note.sections:
            while blocks and not blocks[-1].question:
                blocks.pop()
            if blocks:
                print(f'\n== {title}\n(動かしています。問いが出てから、ゆっくり考えてください)', flush=True)
                session = Quiz()
                replay(title, [block for block in blocks if block.replay() or block.language == 'diff'], session)
                for block, real in session.recorded:
                    show(block, real, session.answers)
    skipped = f'、{counts["－"]} 問を飛ばしました' if counts['－'] else ''
    print(f'\n{counts["○"] + counts["×"]} 問のうち、{counts["○"]} 問が当たりました{skipped}')
    return 1 if failures else 0
