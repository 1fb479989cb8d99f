// リポジトリのソースを、色のついたページにする。ノートからのリンクの先になる。
import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'

const languages = { cpp: 'cpp', h: 'cpp', patch: 'diff', py: 'python', sh: 'sh', go: 'go', java: 'java', mk: 'make', gnuplot: 'gnuplot', md: 'md' }

const docs = new URL('..', import.meta.url)
const notes = readdirSync(docs, { recursive: true })
  .filter((file) => /^(more\/)?[^/]*\.md$/.test(file))
  .map((file) => readFileSync(new URL(file, docs), 'utf8'))
  .join('')

export default {
  paths() {
    const listed = execFileSync('git', ['ls-files', 'chapters', 'common', 'tests', 'Makefile', 'LICENSE', 'LICENSE-docs', 'docs/CONTRIBUTING.md', 'docs/writing-notes.md', 'docs/*.csv'], {
      cwd: new URL('..', docs),
      encoding: 'utf8'
    })
    return listed.trim().split('\n')
      .filter((path) => /^(chapters|common)\//.test(path) || notes.includes(path) || path.startsWith('docs/'))
      .map((path) => {
        const language = languages[path.split('.').pop()] ?? (path === 'Makefile' ? 'make' : 'txt')
        const text = readFileSync(new URL('../' + path, docs), 'utf8')
        return { params: { path: path.replace(/\.md$/, '') }, content: `# ${path}\n\n\`\`\`\`\`${language}\n${text}\n\`\`\`\`\`\n` }
      })
  }
}
