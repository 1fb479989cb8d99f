// GitHub が見出しにつける名前。リポジトリの上でも、サイトでも、同じ # でたどれる。
export function slug(heading) {
  return heading
    .trim()
    .toLowerCase()
    .replace(/[^\p{L}\p{N}\p{M}_\- ]/gu, '')
    .replace(/ /g, '-')
}

// 検索の語に分ける。ブラウザーには文字列として渡るので、要るものはすべて関数の中に置く。
// 漢字、ひらがな、カタカナの並びは二文字ずつに分ける。助詞とほかの文字の組は、索引の三割を占めるのに手がかりに
// ならないので省く。同じ語は一度だけ数える。
export function tokenize(text) {
  const tokens = new Set()
  const runs = /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}ー々]+|[a-z0-9_]+(?:-[a-z0-9_]+)*/gu
  const hiragana = /\p{Script=Hiragana}/u
  const idle = /^(\p{Script=Hiragana}|[のをにはがともでへや]\P{Script=Hiragana}|\P{Script=Hiragana}[のをにはがともでへや])$/u
  for (const [run] of text.normalize('NFKC').toLowerCase().matchAll(runs)) {
    if (/^[a-z0-9_]/.test(run)) {
      tokens.add(run) // TIME-WAIT は一語としても、WAIT からも探せる
      for (const { index } of run.matchAll(/(?<=[_-])[a-z0-9]/g)) tokens.add(run.slice(index))
      continue
    }
    const letters = [...run]
    letters.forEach((letter, at) => {
      const pair = letter + (letters[at + 1] ?? '')
      if (!idle.test(pair)) tokens.add(pair)
      else if (!hiragana.test(letter)) tokens.add(letter)
    })
  }
  return [...tokens]
}
