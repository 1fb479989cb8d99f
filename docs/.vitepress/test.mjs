// できあがったサイトを、本物のブラウザーで確かめる (make test-book)。
import assert from 'node:assert/strict'
import { readFileSync, readdirSync } from 'node:fs'
import { createServer } from 'node:http'
import { after, before, test } from 'node:test'
import { chromium } from 'playwright-core'

const book = new URL('../../build/book/', import.meta.url)
const base = process.env.BASE || '/' // make book と同じ
const axe = readFileSync(new URL('../node_modules/axe-core/axe.min.js', import.meta.url), 'utf8')
const types = { html: 'text/html', js: 'text/javascript', css: 'text/css', svg: 'image/svg+xml' }
const pages = readdirSync(book, { recursive: true }).filter((file) => file.endsWith('.html') && file !== '404.html')
const notes = pages.filter((file) => !/^(source|diff)\//.test(file)).sort()

let server, site, browser

before(async () => {
  server = createServer((request, response) => {
    const path = decodeURI(new URL(request.url, 'http://site').pathname).replace(/\/$/, '/index.html')
    try {
      assert.ok(path.startsWith(base))
      const body = readFileSync(new URL(path.slice(base.length), book))
      response.writeHead(200, { 'Content-Type': types[path.split('.').pop()] ?? 'application/octet-stream' })
      response.end(body)
    } catch {
      response.writeHead(404).end()
    }
  })
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
  site = `http://127.0.0.1:${server.address().port}${base}`
  browser = await chromium.launch({ executablePath: process.env.CHROMIUM || '/usr/bin/chromium', args: ['--no-sandbox'] })
})

after(async () => {
  await browser?.close()
  server?.close()
})

// 新しいブラウザーでページを開き、見てもらう。誤りや、外への要求や、失敗した要求があれば失敗する。
async function visit(path, look, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 }, ...options })
  const page = await context.newPage()
  const problems = []
  page.on('console', (message) => message.type() === 'error' && problems.push(message.text()))
  page.on('pageerror', (error) => problems.push(String(error)))
  page.on('requestfailed', (request) => problems.push(`${request.url()} ${request.failure().errorText}`))
  page.on('response', (response) => response.status() >= 400 && problems.push(`${response.url()} ${response.status()}`))
  page.on('request', (request) => {
    if (!request.url().startsWith(site) && !/^(data|blob):/.test(request.url())) problems.push(`外への要求: ${request.url()}`)
  })
  await page.goto(site + path, { waitUntil: 'networkidle' })
  try {
    await look(page)
  } finally {
    await context.close()
  }
  if (options.javaScriptEnabled !== false) assert.deepEqual(problems, [], path)
}

test('どのページも、どの幅でも、明るくても暗くても、はみ出さず、絵が欠けない', async () => {
  for (const path of [...notes, 'source/common/tcp.cpp.html', 'diff/01-10.html']) {
    await visit(path, async (page) => {
      for (const colorScheme of ['light', 'dark']) {
        await page.emulateMedia({ colorScheme })
        for (const width of [375, 768, 1440]) {
          await page.setViewportSize({ width, height: 900 })
          const wide = await page.evaluate(() => document.documentElement.scrollWidth)
          assert.ok(wide <= width, `${path}: 横にはみ出す: ${wide} > ${width}`)
          if (width > 375) continue
          const hidden = await page.evaluate(() => [...document.querySelectorAll('.typed-buttons')].filter((buttons) => {
            const code = buttons.parentElement.querySelector('code')
            return code.checkVisibility() && buttons.getBoundingClientRect().bottom > code.getBoundingClientRect().top
          }).length)
          assert.equal(hidden, 0, `${path}: ボタンに隠れた例がある`)
        }
      }
      const missing = await page.evaluate(async () => {
        const images = [...document.images]
        images.forEach((image) => (image.loading = 'eager'))
        await Promise.all(images.map((image) => image.decode().catch(() => {})))
        return images.filter((image) => image.naturalWidth === 0).map((image) => image.src)
      })
      assert.deepEqual(missing, [], path)
    })
  }
})

test('どのリンクにも、先のページと見出しがある', async () => {
  await visit('index.html', async (page) => {
    const broken = await page.evaluate(async ([paths, base]) => {
      const documents = {}
      for (const path of paths) {
        documents[path] = new DOMParser().parseFromString(await (await fetch(path)).text(), 'text/html')
      }
      return Object.entries(documents).flatMap(([path, document]) =>
        [...document.querySelectorAll('a[href]')]
          .map((link) => new URL(link.getAttribute('href'), new URL(path, location.href)))
          .filter((url) => url.origin === location.origin)
          .filter((url) => {
            const target = url.pathname.startsWith(base) && documents[decodeURI(url.pathname).slice(base.length) || 'index.html']
            const id = decodeURIComponent(url.hash.slice(1))
            return !target || (id !== '' && !target.getElementById(id))
          })
          .map((url) => `${path} → ${decodeURI(url.href)}`))
    }, [pages, base])
    assert.deepEqual(broken, [])
  })
})

test('「次へ」だけで、初めから終わりまで歩ける', async () => {
  await visit('index.html', async (page) => {
    const walked = ['index.html']
    for (;;) {
      const next = await page.$('.pager-link.next')
      if (!next) break
      const back = page.url()
      await next.click()
      await page.waitForURL((url) => url.href !== back)
      await page.waitForSelector(`.pager-link.prev[href="${new URL(back).pathname}"], .pager-link.prev[href="${new URL(back).pathname.replace(/index\.html$/, '')}"]`)
      walked.push(decodeURI(new URL(page.url()).pathname).slice(base.length))
    }
    assert.deepEqual([...new Set(walked)].sort(), notes)
  })
})

test('誰にも読める (axe の重い誤りがない)', async () => {
  for (const colorScheme of ['light', 'dark']) {
    for (const path of ['index.html', '02-fork.html', '05-poll.html', 'diff/01-10.html']) {
      await visit(path, async (page) => {
        await page.addScriptTag({ content: axe })
        const { violations } = await page.evaluate(() => axe.run())
        const serious = violations.filter(({ impact }) => ['serious', 'critical'].includes(impact))
        assert.deepEqual(serious.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.target).slice(0, 3)}`), [], `${path} ${colorScheme}`)
      }, { colorScheme })
    }
  }
})

test('予想の問いに、キーボードだけで十回答えられる', async () => {
  await visit('02-fork.html', async (page) => {
    let answered = 0
    for (const path of ['02-fork.html', '03-threads.html', '04-thread-pool.html']) {
      if (answered === 10) break
      await page.goto(site + path, { waitUntil: 'networkidle' })
      for (const question of await page.$$('.prediction')) {
        if (answered === 10) break
        assert.equal(await question.$eval('.cover', (cover) => cover.checkVisibility()), false)
        const field = await question.$('input, button')
        await field.focus()
        if ((await field.evaluate((element) => element.tagName)) === 'INPUT') await page.keyboard.type('1')
        await page.keyboard.press('Enter')
        await question.waitForSelector('.told')
        assert.equal(await question.$eval('.cover', (cover) => cover.checkVisibility()), true)
        ++answered
      }
    }
    assert.equal(answered, 10)
    await page.reload({ waitUntil: 'networkidle' }) // 答えは残っている
    assert.ok(await page.$('.prediction.open'))
  })
})

test('すべて答えた章には、目次で印がつく', async () => {
  await visit('02-fork.html', async (page) => {
    for (const question of await page.$$('.prediction .skip')) await question.click()
    assert.equal(await page.$eval('.VPSidebar a.link.done', (link) => new URL(link.href).pathname), base + '02-fork.html')
  })
})

test('スクリプトが動かなければ、答えの囲みは初めから見え、記録は絵になる', async () => {
  await visit('02-fork.html', async (page) => {
    assert.equal(await page.locator('.prediction .cover').first().isVisible(), true)
    assert.equal(await page.locator('.prediction .ask').first().isVisible(), false)
    assert.equal(await page.locator('.recording .controls').isVisible(), false)
    assert.equal(await page.locator('.recording table').isVisible(), true)
  }, { javaScriptEnabled: false })
})

test('実行の記録は、キーボードで終わりの場面まで進められ、動きを好まない人には再生を勧めない', async () => {
  await visit('02-fork.html', async (page) => {
    const recording = page.locator('.recording')
    assert.match(await recording.locator('figcaption').innerText(), /^\d{4}-\d\d-\d\d に Linux \d.* で実行した記録/)
    assert.match(await recording.locator('table').innerText(), /で待っている/) // 初めから絵になっている
    await recording.locator('input').focus()
    await page.keyboard.press('Home')
    const next = recording.getByText('次の場面')
    await next.focus()
    let steps = 1
    for (; await next.isEnabled(); ++steps) await page.keyboard.press('Enter')
    assert.equal(await recording.locator('.controls span').innerText(), `${steps} / ${steps}`)
    assert.ok(steps > 10)
    assert.match(await recording.locator('table').innerText(), /動いていない/)
    for (const label of ['再生', '止める']) await recording.getByRole('button', { name: label }).click()
    assert.match(await recording.locator('.controls span').innerText(), /^1 /)
    await page.emulateMedia({ reducedMotion: 'reduce' })
    assert.equal(await recording.locator('.play').isVisible(), false)
  })
})

test('端末ごとのボタンは、そこで打つものだけをコピーする', async () => {
  await visit('02-fork.html', async (page) => {
    await page.locator('button.typed', { hasText: 'A' }).first().click()
    const text = await page.evaluate(() => navigator.clipboard.readText())
    assert.match(text, /^make /)
    assert.doesNotMatch(text, /listening|^A/m)
  }, { permissions: ['clipboard-read', 'clipboard-write'] })
})

test('差分は、字下げも空白もそのままのコードを見せる', async () => {
  const code = readFileSync(new URL('../../chapters/10-coroutines/server.cpp', import.meta.url), 'utf8').split('\n')
  await visit('diff/01-10.html', async (page) => {
    const added = await page.$$eval('.line-by-line .d2h-ins .d2h-code-line-ctn', (lines) => lines.map((line) => line.textContent))
    assert.ok(added.length > 100)
    assert.deepEqual(added.filter((line) => !code.includes(line)), [])
  })
})

test('検索は、その語のある節をすべて、ほとんどはそれだけを返す', async () => {
  const queries = readFileSync(new URL('queries.txt', import.meta.url), 'utf8').trim().split('\n')
  assert.equal(queries.length, 40)
  await visit('index.html', async (page) => {
    const sections = await page.evaluate(async ([paths, base]) => {
      const found = []
      for (const path of paths) {
        const parsed = new DOMParser().parseFromString(await (await fetch(path)).text(), 'text/html')
        parsed.querySelectorAll('.vp-doc button, .vp-doc .ask').forEach((element) => element.remove())
        const headings = new Set(parsed.querySelectorAll('.vp-doc :is(h1, h2, h3, h4, h5, h6)'))
        let section
        const walker = parsed.createTreeWalker(parsed.querySelector('.vp-doc'), NodeFilter.SHOW_ALL)
        while (walker.nextNode()) {
          const node = walker.currentNode
          if (headings.has(node)) found.push((section = { place: `${base}${path}#${node.id}`.replace('index.html', ''), text: '' }))
          else if (section && node.nodeType === Node.TEXT_NODE) section.text += node.data
        }
      }
      return found
    }, [notes, base])
    await page.keyboard.press('Control+k')
    let exact = 0
    for (const query of queries) {
      const plain = query.normalize('NFKC').toLowerCase()
      const expected = sections.filter(({ text }) => text.normalize('NFKC').toLowerCase().includes(plain)).map(({ place }) => place)
      assert.ok(expected.length >= 1 && expected.length <= 16, `${query}: ${expected.length} 節にある`)
      // 検索の箱は、打ち終えてしばらくしてから探す。前の語の結果が消えてから、この語の結果を待つ。
      await page.fill('.search-input', 'どこにもない語')
      await page.locator('.no-results').waitFor()
      await page.fill('.search-input', query)
      await page.locator('.result').first().waitFor()
      const actual = await page.$$eval('.result', (links) => links.map((link) => decodeURIComponent(new URL(link.href).pathname + new URL(link.href).hash)))
      assert.deepEqual(expected.filter((place) => !actual.includes(place)), [], query)
      exact += actual.length === expected.length
    }
    assert.ok(exact >= 36, `ちょうど同じなのは ${exact} 語`)
  })
})
