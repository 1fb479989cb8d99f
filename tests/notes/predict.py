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
    """一つの節を、予想の問いを出しながら動かす。"""

    def interrupt_all(self):
        """最後の問いで終わるので、動いているものが残っていてもよい。"""

    def run_block(self, block):
        question = block.question
        print()
        if question:  # 打つもののうち、答えにかかわるところまで
            steps = steps_of(block)
            answered = next((at for at, step in enumerate(steps) if step.shown), len(steps))
            lines = [line for step in steps[:answered + 1] if step.text is not None
                     for line in step.typed(step.text)]
            print(*('    ' + line for line in lines), f'\n予想: {question.text}', sep='\n')
            text = input('(はい か いいえ) > ' if question.yes else '> ')
        real = super().run_block(block) if block.replay() else block.lines  # 動かさないのは、壊し方のパッチ
        # ss は、端末の幅いっぱいに列を広げる。
        print(*('    ' + re.sub(r'(?<=\S) {8,}', '  ', line) for line in real), sep='\n', flush=True)
        if question:
            answer = question.answer(self.output_lines)
            mark = '○' if question.accepts(text, answer) else '×'
            counts[mark] += 1
            print(f'{mark} 答えは {answer}')
        return real


def quiz(note):
    """ノートの予想の問いを出す。終了ステータスを返す。"""
    sys.stdin.reconfigure(errors='replace')  # 打ちまちがえたバイトで終わらない
    with contextlib.suppress(EOFError, KeyboardInterrupt):
        for title, blocks in note.sections:
            while blocks and not blocks[-1].question:
                blocks.pop()
            if blocks:
                print(f'\n== {title}')
                replay(title, [block for block in blocks if block.replay() or block.language == 'diff'], Quiz())
    print(f'\n{counts["○"] + counts["×"]} 問のうち、{counts["○"]} 問が当たりました')
    return 1 if failures else 0
