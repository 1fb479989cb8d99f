// どの二つの章のサーバーも見比べられるページ。端末での make diff10 FROM=01 にあたる。
import { spawnSync } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { html } from 'diff2html'

const root = new URL('../..', import.meta.url)
const chapters = readdirSync(new URL('chapters', root)).filter((name) => !name.startsWith('00')).sort()
const server = (chapter) => `chapters/${chapter}/server.cpp`
const number = (chapter) => chapter.slice(0, 2)

function page(from, to) {
  const command = ['diff', '--no-index', '--no-color', '--ignore-cr-at-eol', server(from), server(to)]
  const { stdout } = spawnSync('git', command, { cwd: root, encoding: 'utf8' })
  const show = (outputFormat) =>
    html(stdout, { outputFormat, drawFileList: false, matching: 'words' })
      .replace(/<span class="d2h-code-line-ctn">(.*)<\/span>$/gm, '<pre class="d2h-code-line-ctn">$1</pre>') // Vue は、pre の外の空白を一つにする
      .replace(/\n\s*\n/g, '\n') // 空の行は、Markdown では HTML の終わり
      .replace(/<div class="d2h-file-(side-)?diff"/g, '$& tabindex="0"') // 横に動かせるところには、キーボードでも入れる
  return `# 第${Number(number(from))}章と第${Number(number(to))}章のサーバー

<DiffChooser from="${number(from)}" to="${number(to)}" :chapters='${JSON.stringify(chapters.map(number))}' />

<div v-pre class="diff side-by-side">
${show('side-by-side')}
</div>

<div v-pre class="diff line-by-line">
${show('line-by-line')}
</div>
`
}

export default {
  paths: () => chapters.flatMap((from, at) => chapters.slice(at + 1).map((to) => ({
    params: { pair: `${number(from)}-${number(to)}` },
    content: page(from, to)
  })))
}
