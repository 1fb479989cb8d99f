// ノートの Markdown を、サイトのページにするときの決まり。
import { existsSync, readFileSync, statSync } from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('../..', import.meta.url))
const isPage = (path) => /^docs\/(?!CONTRIBUTING|writing-notes).*\.md$/.test(path)
const isSource = (path) => !isPage(path) && existsSync(join(root, path)) && statSync(join(root, path)).isFile()

// 初めのページは、リポジトリの README.md。その中の「ディレクトリ」の表を、docs/README.md のノートの一覧に替える。
export function frontPage(md) {
  md.core.ruler.before('normalize', 'front-page', (state) => {
    if (!/^(README|index)\.md$/.test(state.env.relativePath)) return
    const front = readFileSync(join(root, 'README.md'), 'utf8')
      .replace(/\]\((?!\w+:|#)/g, '](../')
      .replaceAll('](../docs/', '](')
      .replaceAll('](README.md)', '](#ノート)')
    state.src = front.replace(/^## ディレクトリ\n\n(\|.*\n)+/m, () => state.src.replace(/^# /m, '## '))
  })
}

// > [!NOTE] の囲みの題。
export function alerts(md) {
  const titles = { note: '補足', tip: '助言', important: '重要', warning: '注意', caution: '警告' }
  md.core.ruler.push('alert-titles', ({ tokens }) => {
    for (const { type, meta } of tokens) if (type === 'github_alert_open') meta.title = titles[meta.type]
  })
}

// サイトの中での、ソースのページ。
export const sourcePage = (path) => `/source/${path.replace(/\.md$/, '')}.html`

// ページにならないファイルへのリンクを、ソースのページへのリンクに替える。ページのないフォルダーなら、文字だけを残す。
export function sourceLinks(md) {
  md.core.ruler.push('source-links', ({ tokens, env }) => {
    const from = dirname(join(root, 'docs', env.relativePath ?? ''))
    for (const inline of tokens.filter(({ type }) => type === 'inline')) {
      let dropped = false
      inline.children = inline.children.filter((token) => {
        const href = token.type === 'link_open' ? token.attrGet('href') : null
        if (href && !/^(\w+:|#|\/)/.test(href)) {
          const path = relative(root, resolve(from, decodeURI(href)))
          dropped = !path.startsWith('docs') && !isSource(path)
          if (isSource(path)) token.attrSet('href', sourcePage(path))
        }
        const kept = !(dropped && /^link_/.test(token.type))
        if (token.type === 'link_close') dropped = false
        return kept
      })
    }
  })
}

// 囲みの前の **chapters/01-iterative/server.cpp** を、そのソースへのリンクにする。
export function titles(md) {
  md.core.ruler.push('titles', (state) => {
    state.tokens.forEach((token, at) => {
      const path = /^\*\*([\w./-]+)\*\*$/.exec(token.content)?.[1]
      if (token.type !== 'inline' || state.tokens[at + 2]?.type !== 'fence' || !path || !isSource(path)) return
      token.children = md.parseInline(`[${path}](${sourcePage(path)})`, state.env)[0].children
      state.tokens[at - 1].attrJoin('class', 'file')
    })
  })
}

// `make diff10 FROM=01` と **make diff02** を、その二つの章を見比べるページへのリンクにする。
export function diffLinks(md) {
  const two = (number) => String(number).padStart(2, '0')
  md.core.ruler.push('diff-links', ({ tokens, Token }) => {
    for (const inline of tokens.filter(({ type }) => type === 'inline')) {
      inline.children = inline.children.flatMap((token) => {
        const [, to, from = two(to - 1)] = /^make diff(\d\d)(?: FROM=(\d\d))?$/.exec(token.content) ?? []
        if (!/^(code_inline|text)$/.test(token.type) || !to || from === '00') return [token]
        const open = new Token('link_open', 'a', 1)
        open.attrSet('href', `/diff/${[from, to].sort().join('-')}.html`)
        return [open, token, new Token('link_close', 'a', -1)]
      })
    }
  })
}

// 端末ごとに、そこで打つものだけをコピーするボタンをつける。
export function transcripts(md) {
  const fence = md.renderer.rules.fence
  md.renderer.rules.fence = (tokens, at, ...rest) => {
    const html = fence(tokens, at, ...rest)
    if (tokens[at].info.trim() !== 'console') return html
    const typed = new Map()
    for (const line of tokens[at].content.split('\n')) {
      const [, terminal, sign, text] = /^([A-Z]?)([$>]) (.*)$/.exec(line) ?? []
      if (sign && (terminal || sign === '$') && !/^\^[CD]$/.test(text)) {
        typed.set(terminal, [...(typed.get(terminal) ?? []), text])
      }
    }
    const buttons = [...typed].map(([terminal, lines]) => {
      const label = terminal ? `端末 ${terminal} で打つものをコピー` : '打つものをコピー'
      const text = md.utils.escapeHtml(lines.join('\n') + '\n').replaceAll('\n', '&#10;')
      return `<button class="typed" data-typed="${text}" title="${label}" aria-label="${label}">${terminal || '$'}</button>`
    })
    const copy = '<button title="Copy Code" class="copy"></button>'
    return html.replace(copy, () => `<span v-pre class="typed-buttons">${buttons.join('')}</span>`)
  }
}

// <!-- 記録: 名前 --> に、その節を動かした記録 (make recordings) を置く。
export function recordings(md) {
  md.core.ruler.push('recordings', ({ tokens }) => {
    for (const token of tokens) {
      const name = token.type === 'html_block' && /^<!-- 記録: ([\w-]+) -->\s*$/.exec(token.content)?.[1]
      if (!name) continue
      const recording = JSON.parse(readFileSync(join(root, `docs/recordings/${name}.json`), 'utf8'))
      // 検索の索引を作るものは、タグを初めの > までとみなす。
      const text = JSON.stringify(recording).replace(/[<>&']/g, (letter) => '\\u00' + letter.charCodeAt(0).toString(16))
      token.content = `<Recording :of='${text}' />\n`
    }
  })
}
