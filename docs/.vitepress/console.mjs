// 端末の例の書き方。シェルの文法で色をつけると、出力まで命令のように見えてしまう。
export default {
  name: 'console',
  scopeName: 'text.console',
  patterns: [
    {
      match: '^([A-Z])(\\$) (.*)$',
      captures: {
        1: { name: 'entity.name.tag' },
        2: { name: 'keyword.operator' },
        3: { name: 'string' }
      }
    },
    {
      match: '^([A-Z])(>)(?: (.*))?$',
      captures: {
        1: { name: 'entity.name.tag' },
        2: { name: 'keyword.operator' },
        3: { name: 'string' }
      }
    },
    { match: '^([A-Z])(:)(?: .*)?$', captures: { 1: { name: 'entity.name.tag' }, 2: { name: 'comment' } } },
    { match: '^(\\$) (.*)$', captures: { 1: { name: 'keyword.operator' }, 2: { name: 'string' } } }
  ],
  repository: {}
}
