-- いくつものノートを、一冊 (PDF と EPUB) にする。ノートは pandoc に、読む順に渡す。
-- 見出しの名前はノートごとに重なるので、ノートの名前を前につけ、ノートの間のリンクもそれに合わせる。

local here = ''    -- 今読んでいるノート: "more/02-fork"
local notes = {}   -- 渡されたノートの名前を、順に
local pages = {}   -- その名前があるか

for _, file in ipairs(PANDOC_STATE.input_files) do
    local note = file:gsub('%.md$', ''):gsub('^docs/', '')
    table.insert(notes, note)
    pages[note] = true
end

local function name(note, anchor)
    return (note:gsub('/', '-')) .. (anchor ~= '' and '--' .. anchor or '')
end

-- > [!NOTE] の囲み。
local function alert(block)
    local first = block.content[1]
    local word = first and first.t == 'Para' and pandoc.utils.stringify(first):match('^%[!(%u+)%]')
    if not word then
        return block
    end
    local rest = first.content
    while #rest > 0 and not pandoc.utils.stringify(rest[1]):match('%]$') do
        table.remove(rest, 1)
    end
    table.remove(rest, 1)
    if #rest > 0 and (rest[1].t == 'SoftBreak' or rest[1].t == 'Space') then
        table.remove(rest, 1)
    end
    return pandoc.Div(block.content, pandoc.Attr('', { 'note' }))
end

local function link(element)
    local path, anchor = element.target:match('^([^#]*)#?(.*)$')
    if element.target:match('^%a+:') then
        return element
    end
    local from = here:match('^(.*/)') or ''
    local note = path == '' and here or (from .. path:gsub('%.md$', '')):gsub('^more/%.%./', '')
    if pages[note] and (path == '' or path:match('%.md$')) then
        element.target = '#' .. name(note, anchor)
        return element
    end
    return element.content -- ソースへのリンク。本の中に先がない
end

local function image(element)
    element.src = element.src:gsub('^%.%./', '')
    return element
end

-- 答えの囲みは、紙の上では開いておく。
local function raw(element)
    if element.text:match('^<!%-%-') then
        return {}
    end
    element.text = element.text:gsub('<details>', '<details open>')
    return element
end

function Pandoc(document)
    local at = 0
    local blocks = pandoc.List()
    for _, block in ipairs(document.blocks) do
        if block.t == 'Header' then
            if block.level == 1 then
                at = at + 1
                here = notes[at]
                block.identifier = name(here, '')
            else
                block.identifier = name(here, block.identifier:gsub('%-%d+$', function(number)
                    return pandoc.utils.stringify(block):match('%d$') and number or ''
                end))
            end
        end
        local walked = pandoc.walk_block(pandoc.Div({ block }), {
            Link = link, Image = image, RawBlock = raw, RawInline = raw, BlockQuote = alert
        })
        blocks:extend(walked.content)
    end
    document.blocks = blocks
    return document
end
