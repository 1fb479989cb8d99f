// 「**予想** 問い」と、その答えの出る囲みを、ページの中の問いにする。
// 書き方は docs/writing-notes.md にあり、答えが本物と同じことは make check-notes が確かめている。

const ANSWER = /^\s*<!-- 答え: (はい |いいえ |数 )?\/(.+)\/ -->\s*$/

// 囲みの出力から分かる答え (tests/notes/note.py の Question.answer と同じ)。
function answerOf(kind, pattern, content) {
  const multi = /^[A-Z][$>:]/m.test(content)
  const output = content.split('\n')
    .filter((line) => (multi ? /^[A-Z]:/.test(line) : line !== '' && !/^\$ /.test(line)))
    .map((line) => (multi ? line.slice(3) : line))
  const found = output.map((line) => line.match(new RegExp(pattern, 'u'))).filter(Boolean)
  if (kind === '数') return String(found.length)
  if (kind) return found.length ? 'はい' : 'いいえ'
  return found[0]?.[1]
}

export function predictions(md) {
  md.core.ruler.push('predictions', (state) => {
    const { tokens } = state
    let number = 0
    for (let at = tokens.length - 1; at >= 0; --at) {
      const [, kind = '', pattern] = (tokens[at].type === 'html_block' && ANSWER.exec(tokens[at].content)) || []
      if (!pattern) continue
      const question = tokens.slice(0, at).findLastIndex((token) => token.type === 'inline')
      const fence = tokens.findIndex((token, index) => index > at && token.type === 'fence')
      const answer = answerOf(kind.trim(), pattern, tokens[fence].content)
      if (!tokens[question].content.startsWith('**予想**') || answer === undefined) {
        throw new Error(`${state.env.relativePath}: 予想の問いの答えが分かりません: ${tokens[at].content}`)
      }
      const open = new state.Token('html_block', '', 0)
      open.content = `<Prediction number="${number++}" kind="${/^(はい|いいえ)/.test(kind) ? 'yes' : 'text'}" answer="${md.utils.escapeHtml(answer)}">\n`
      const close = new state.Token('html_block', '', 0)
      close.content = '</Prediction>\n'
      // すぐあとの段落は、答えを説明している。その前に (値は環境による) などがあることもある。
      const paragraph = (from) => tokens[from]?.type === 'paragraph_open' && !tokens[from + 1].content.startsWith('**')
      let end = fence + 1
      if (paragraph(end) && /^\(.*\)$/.test(tokens[end + 1].content)) end += 3
      if (paragraph(end)) end += 3
      tokens.splice(fence, end - fence, open, ...tokens.slice(fence, end), close)
      tokens.splice(at, 1)
    }
  })
}
