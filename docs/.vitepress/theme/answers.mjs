// 読者の答えを、ブラウザーに残す。
const KEY = 'predictions'

function all() {
  try {
    return JSON.parse(localStorage.getItem(KEY)) ?? {}
  } catch {
    return {} // 保存を許さないブラウザー
  }
}

export const answers = {
  get: (question) => all()[question],
  set(question, text) {
    try {
      localStorage.setItem(KEY, JSON.stringify({ ...all(), [question]: text }))
    } catch {
      // 保存できなくても、このページでは答えられる
    }
    dispatchEvent(new Event('answered'))
  },
  // そのページの問いに、いくつ答えたか。飛ばしたものも数える。
  count: (page) => Object.keys(all()).filter((question) => question.startsWith(page + '#')).length
}

// 打った text が、答えに当たるかどうか。全角と半角、大文字と小文字、空白は問わない。「3 本」でもよい。
export function accepts(text, answer) {
  const plain = (each) => each.normalize('NFKC').toLowerCase().replace(/\s/g, '')
  const number = /^\d+$/.test(plain(answer)) ? plain(text).replace(/^\D*(\d+)\D*$/, '$1') : plain(text)
  return number !== '' && number === plain(answer)
}
