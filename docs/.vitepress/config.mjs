// ノートから作るサイト。docs/*.md がただ一つのもとで、リポジトリの上でもそのまま読める。
import { readdirSync, readFileSync } from 'node:fs'
import { defineConfig } from 'vitepress'
import { predictions } from './predictions.mjs'
import { alerts, diffLinks, frontPage, recordings, sourceLinks, titles, transcripts } from './markdown.mjs'
import consoleGrammar from './console.mjs'
import { slug, tokenize } from './text.mjs'

const docs = new URL('..', import.meta.url)

function page(path) {
  const heading = /^# (.*)$/m.exec(readFileSync(new URL(path, docs), 'utf8'))
  return { text: heading[1].replaceAll('`', ''), link: '/' + path.replace(/\.md$/, '') }
}

const isChapter = (file) => /^\d\d-.*\.md$/.test(file)
const more = readdirSync(new URL('more', docs)).filter((file) => file.endsWith('.md'))

// first から last までの章のページ。寄り道があれば、その章の下に置く。
function chapters(text, first, last) {
  const notes = readdirSync(docs).filter((file) => isChapter(file) && first <= parseInt(file) && parseInt(file) <= last)
  const items = notes.map((file) => {
    const side = more.filter((each) => isChapter(each) && parseInt(each) === parseInt(file))
    return { ...page(file), items: side.map((each) => ({ ...page('more/' + each), text: '寄り道' })) }
  })
  return { text, items }
}

// どのページに、予想の問いがいくつあるか。
function questions() {
  const pages = readdirSync(docs, { recursive: true }).filter((file) => /^(more\/)?[^/]*\.md$/.test(file))
  const count = (file) => readFileSync(new URL(file, docs), 'utf8').match(/^ *<!-- 答え: /gm)?.length
  return Object.fromEntries(pages.map((file) => [file, count(file)]).filter(([, asked]) => asked))
}

export default defineConfig({
  lang: 'ja',
  title: 'TCPエコーサーバーで学ぶ並行サーバー入門',
  description: '同じ TCP エコーサーバーを章ごとに違う方式で書き、動かし、わざと壊して、測る',
  base: process.env.BASE || '/',
  cleanUrls: false,
  srcExclude: ['writing-notes.md', 'CONTRIBUTING.md'],
  rewrites: { 'README.md': 'index.md' },

  head: [
    ['link', { rel: 'icon', href: 'data:,' }],
    ['script', {}, "document.documentElement.classList.add('js')"]
  ],
  markdown: {
    theme: { light: 'github-light-high-contrast', dark: 'github-dark-high-contrast' },
    anchor: { slugify: slug },
    languages: [consoleGrammar],
    config(md) {
      md.use(frontPage).use(alerts).use(sourceLinks).use(titles).use(diffLinks).use(transcripts).use(predictions).use(recordings)
    }
  },
  themeConfig: {
    siteTitle: '並行サーバー入門',
    outline: { level: [2, 3], label: 'このページ' },
    questions: questions(),
    docFooter: { prev: '前へ', next: '次へ' },
    darkModeSwitchLabel: '配色',
    lightModeSwitchTitle: '明るい配色にする',
    darkModeSwitchTitle: '暗い配色にする',
    sidebarMenuLabel: '目次',
    returnToTopLabel: '先頭へ',
    skipToContentLabel: '本文へ',
    sidebar: [
      { ...page('README.md'), text: 'この本について', link: '/' },
      chapters('準備', 0, 0),
      chapters('待つ人を増やす', 1, 4),
      chapters('一つで待つ', 5, 6),
      chapters('人に使ってもらう', 7, 9),
      chapters('読みやすさに戻る', 10, Infinity),
      { text: '付録', items: more.filter((file) => !isChapter(file)).map((file) => page('more/' + file)) }
    ],
    search: {
      provider: 'local',
      options: {
        // 索引に、色と記号は要らない。
        _render(text, env, md) {
          const { highlight } = md.options
          md.options.highlight = (code) => `<pre>${code.replace(/[<>&"']/g, ' ')}</pre>`
          const html = md.render(text, env)
          md.options.highlight = highlight
          return html
        },
        miniSearch: {
          // 章の題 (titles) でも探すと、その章のすべての節が当たる。
          options: { fields: ['title', 'text'], tokenize, processTerm: (term) => term },
          searchOptions: {
            tokenize,
            combineWith: 'AND',
            fuzzy: false,
            prefix: true,
            boost: { title: 4 }
          }
        },
        translations: {
          button: { buttonText: '検索', buttonAriaLabel: '検索 K' },
          modal: {
            displayDetails: '本文も表示する',
            resetButtonTitle: '消す',
            backButtonTitle: '閉じる',
            noResultsText: '見つかりません:',
            footer: { selectText: '開く', navigateText: '移動', closeText: '閉じる' }
          }
        }
      }
    }
  }
})
