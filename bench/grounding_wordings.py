"""How statements about a log are worded, for `bench_grounding`: English and Japanese, several wordings a kind.

Every list alternates: wordings at even places were looked at while the checker was developed, those at odd places were
written at the same time and kept aside until the end. `q`, `a`, `b` stand for quoted stretches, `e` for an entity,
`n` for a
number, `t`, `u` for clock times, `level` for a level's name.
"""

WORDINGS: dict[str, dict[str, list[str]]] = {
    "line": {
        "en": [
            'Line {n} reads "{q}".',
            '"{q}" appears on line {n}.',
            "The log shows `{q}` (line {n}).",
            'At L{n} the server wrote "{q}".',
            "As seen in line {n}: `{q}`.",
            "`{q}` is logged at line {n}.",
            'On line {n} we find "{q}".',
            'The message "{q}" can be found at L{n}.',
        ],
        "ja": [
            "{n}行目に「{q}」とあります。",
            "「{q}」は{n}行目に出ています。",
            "{n}行目: 「{q}」",
            "「{q}」（{n}行目）が記録されています。",
            "L{n} には `{q}` と書かれています。",
            "{n} 行目のログは「{q}」です。",
        ],
    },
    "first": {
        "en": [
            '"{q}" first appears on line {n}.',
            'The first "{q}" is on line {n}.',
            "`{q}` is first seen at line {n}.",
            "The first occurrence of `{q}` is on line {n}.",
        ],
        "ja": [
            "「{q}」が最初に現れるのは{n}行目です。",
            "「{q}」は{n}行目に初めて出ます。",
            "「{q}」の最初の出現は{n}行目です。",
            "最初の「{q}」は{n}行目にあります。",
        ],
    },
    "last": {
        "en": [
            '"{q}" last appears on line {n}.',
            'The last "{q}" is on line {n}.',
            "`{q}` is last seen at line {n}.",
            "The last occurrence of `{q}` is on line {n}.",
        ],
        "ja": [
            "「{q}」が最後に現れるのは{n}行目です。",
            "最後の「{q}」は{n}行目にあります。",
            "「{q}」の最後の出現は{n}行目です。",
            "「{q}」は{n}行目を最後に出なくなります。",
        ],
    },
    "quote": {
        "en": [
            'The log contains the message "{q}".',
            'The log says: "{q}".',
            "The error `{q}` is reported in the log.",
            'It logs "{q}".',
            'There is an entry that reads "{q}".',
            "The output includes `{q}`.",
        ],
        "ja": [
            "ログには「{q}」とあります。",
            "「{q}」というメッセージが出ています。",
            "「{q}」と記録されています。",
            "ログに「{q}」が含まれています。",
        ],
    },
    "entity": {
        "en": [
            "The client {e} connected to the service.",
            "Requests came from {e}.",
            "The log mentions {e}.",
            "{e} is among the addresses involved.",
            "The host {e} shows up in the log.",
            "Traffic from {e} was recorded.",
        ],
        "ja": [
            "{e} からのアクセスが記録されています。",
            "クライアントは {e} です。",
            "{e} がログに現れます。",
            "アドレス {e} が確認できます。",
            "{e}から接続がありました。",
            "接続元は{e}でした。",
        ],
    },
    "count quote": {
        "en": [
            '"{q}" appears {n} times.',
            "The message `{q}` occurs on {n} lines.",
            'There are {n} lines containing "{q}".',
            '"{q}" was logged {n} times in total.',
            "We see `{q}` {n} times.",
            "{n} lines contain `{q}`.",
            '"{q}" ({n} times) stands out.',
            'The log has {n} occurrences of "{q}".',
        ],
        "ja": [
            "「{q}」は{n}回出現します。",
            "「{q}」が{n}件あります。",
            "「{q}」を含む行は{n}行です。",
            "「{q}」は全部で{n}回記録されています。",
            "ログには「{q}」が{n}件記録されています。",
            "「{q}」という行が{n}行あります。",
        ],
    },
    "count entity": {
        "en": [
            "{e} appears on {n} lines.",
            "{n} lines mention {e}.",
            "There are {n} lines with {e}.",
            "The address {e} occurs {n} times.",
            "{e} accounts for {n} lines.",
            "{e} was seen {n} times.",
        ],
        "ja": [
            "{e} は{n}回出現します。",
            "{e} を含む行は{n}行です。",
            "{e} からの行が{n}件あります。",
            "{e}は{n}件の行に現れます。",
        ],
    },
    "count level": {
        "en": [
            "There are {n} {level} lines.",
            "The log contains {n} {level} messages.",
            "{n} lines are at level {level}.",
            "In total, {n} {level} entries were logged.",
            "The number of {level} lines is {n}.",
            "We count {n} {level}-level lines.",
        ],
        "ja": [
            "{level} レベルの行は{n}件あります。",
            "{level} は{n}件です。",
            "{level} の行が{n}行あります。",
            "ログには{level}が{n}件含まれています。",
        ],
    },
    "total": {
        "en": [
            "The log has {n} lines.",
            "The log consists of {n} lines.",
            "There are {n} lines in the log.",
            "The file contains {n} lines in total.",
        ],
        "ja": ["ログは{n}行あります。", "このログは全{n}行です。", "ログの行数は{n}です。", "ログ全体は{n}行です。"],
    },
    "time": {
        "en": [
            'At {t} the log shows "{q}".',
            '"{q}" was logged at {t}.',
            "{t}: `{q}`.",
            'The message "{q}" was written at {t}.',
            "At {t}, `{q}` appears.",
            'We see "{q}" at {t}.',
        ],
        "ja": [
            "{t} に「{q}」が記録されました。",
            "「{q}」は{t}に発生しました。",
            "{t}に「{q}」が出力されています。",
            "「{q}」の時刻は{t}です。",
        ],
    },
    "range": {
        "en": [
            '"{q}" appears between {t} and {u}.',
            "`{q}` occurs from {t} to {u}.",
            "`{q}` is logged between {t} and {u}.",
            'From {t} to {u} the log shows "{q}".',
        ],
        "ja": [
            "「{q}」は{t}から{u}の間に出ています。",
            "{t}から{u}にかけて「{q}」が出ています。",
            "「{q}」は{t}〜{u}に記録されています。",
            "{t}から{u}まで「{q}」が続きます。",
        ],
    },
    "extent": {
        "en": [
            "All lines with `{q}` fall between {t} and {u}.",
            '"{q}" occurs only between {t} and {u}.',
            "Every `{q}` is logged between {t} and {u}.",
            'All occurrences of "{q}" lie between {t} and {u}.',
        ],
        "ja": [
            "「{q}」はすべて{t}から{u}の間に出ています。",
            "「{q}」が出るのは{t}から{u}までだけです。",
            "「{q}」は{t}〜{u}にのみ記録されています。",
            "全ての「{q}」は{t}から{u}の間です。",
        ],
    },
    "span": {
        "en": [
            "The log spans {t} to {u}.",
            "The log covers the time from {t} to {u}.",
            "The log runs from {t} until {u}.",
            "The file covers {t} – {u}.",
        ],
        "ja": [
            "ログは{t}から{u}までです。",
            "ログの期間は{t}から{u}です。",
            "このログは{t}〜{u}の記録です。",
            "ログは{t}に始まり{u}に終わります。",
        ],
    },
    "order": {
        "en": [
            '"{a}" appears before "{b}".',
            '"{b}" comes after "{a}".',
            "`{a}` is followed by `{b}`.",
            'First "{a}", then "{b}".',
            "`{a}` happens earlier than `{b}`.",
            '"{a}" precedes "{b}".',
        ],
        "ja": [
            "「{a}」は「{b}」より前に出ます。",
            "「{a}」の後に「{b}」が記録されています。",
            "「{b}」は「{a}」の後です。",
            "「{a}」が先で、「{b}」が後です。",
            "最初に「{a}」、次に「{b}」が出ます。",
            "「{a}」は「{b}」の前に現れます。",
        ],
    },
    "more": {
        "en": [
            '"{q}" increased in the second half.',
            '"{q}" is more frequent in the second half than in the first.',
            "In the second half `{q}` becomes more frequent.",
            "`{q}` appears more often in the second half.",
            'There are fewer "{q}" in the first half than in the second.',
            "The second half has more `{q}` than the first half.",
        ],
        "ja": [
            "「{q}」は前半より後半に多く出ています。",
            "「{q}」は後半に増加しています。",
            "後半は前半より「{q}」が多い。",
            "「{q}」は後半で増えています。",
        ],
    },
    "less": {
        "en": [
            '"{q}" decreased in the second half.',
            '"{q}" is less frequent in the second half than in the first.',
            "In the second half `{q}` becomes rarer.",
            "`{q}` appears less often in the second half.",
            'There are more "{q}" in the first half than in the second.',
            "The first half has more `{q}` than the second half.",
        ],
        "ja": [
            "「{q}」は後半より前半に多く出ています。",
            "「{q}」は後半に減少しています。",
            "後半は前半より「{q}」が少ない。",
            "「{q}」は後半で減っています。",
        ],
    },
    "half": {
        "en": [
            '"{q}" appears {n} times in the {half} half.',
            "In the {half} half, `{q}` occurs {n} times.",
            'The {half} half has {n} lines with "{q}".',
            "`{q}` is logged {n} times in the {half} half of the log.",
        ],
        "ja": [
            "「{q}」は{half}に{n}回出ています。",
            "{half}には「{q}」が{n}件あります。",
            "{half}では「{q}」が{n}回記録されています。",
            "「{q}」は{half}で{n}件です。",
        ],
    },
    "bound": {
        "en": [
            '"{q}" appears at least {n} times.',
            "At least {n} lines contain `{q}`.",
            '"{q}" was written {n} times or more.',
            "`{q}` is logged on no fewer than {n} lines.",
            "There are at least {n} occurrences of `{q}`.",
            "We find `{q}` at least {n} times.",
        ],
        "ja": [
            "「{q}」は少なくとも{n}回出現します。",
            "「{q}」は{n}回以上記録されています。",
            "「{q}」を含む行は{n}行以上あります。",
            "ログには「{q}」が{n}件以上あります。",
        ],
    },
    "two counts": {
        "en": [
            '"{a}" appears {n} times and "{b}" {m} times.',
            "`{a}` occurs {n} times, `{b}` {m} times.",
            '{n} lines contain "{a}", {m} lines contain "{b}".',
            "There are {n} lines with `{a}` and {m} lines with `{b}`.",
            "`{a}` ({n} times) and `{b}` ({m} times) are the most frequent.",
            "The log has `{a}` on {n} lines and `{b}` on {m} lines.",
        ],
        "ja": [
            "「{a}」は{n}回、「{b}」は{m}回出現します。",
            "「{a}」が{n}件、「{b}」が{m}件あります。",
            "「{a}」を含む行は{n}行、「{b}」を含む行は{m}行です。",
            "「{a}」（{n}回）と「{b}」（{m}回）が目立ちます。",
        ],
    },
}
# Statements that are true whatever they seem to count: held-out ones at odd places, as above.
TRUTHS: dict[str, dict[str, list[str]]] = {
    "one of a kind": {
        "en": [
            "{n} messages of this kind, such as `{q}`, were logged.",
            'There are {n} messages of the same kind, for example "{q}".',
            "{n} similar lines (e.g. `{q}`) stand in the log.",
            "`{q}` is one of {n} lines that begin alike.",
            "{n} lines look like `{q}`, with other values at the end.",
            "Messages such as `{q}` appear {n} times.",
            'Besides "{q}" its kind has others: {n} lines in all.',
            "A family of {n} lines includes `{q}`.",
            "{n} messages, `{q}` among them, share their first words.",
            "The group that `{q}` belongs to has {n} members, that is {n} lines.",
        ],
        "ja": [
            "「{q}」のようなメッセージが{n}件あります。",
            "「{q}」など、同じ種類のメッセージが{n}件あります。",
            "同種の行は{n}行で、例えば「{q}」があります。",
            "「{q}」といった行が{n}行記録されています。",
            "「{q}」を含む同じ形のメッセージは{n}件です。",
            "{n}件のうちの一つが「{q}」です。",
        ],
    },
    "place": {
        "en": [
            "`{q}` is preceded by {n} lines.",
            'There are {n} lines before the first "{q}".',
            "The {n} lines before `{q}` are about other things.",
            "After {n} lines `{q}` appears for the first time.",
            "{n} lines lead up to `{q}`.",
            'Only after {n} lines of other messages does "{q}" show up.',
        ],
        "ja": [
            "最初の「{q}」の前に{n}行あります。",
            "「{q}」が出るまでに{n}行あります。",
            "{n}行のあとに「{q}」が初めて出ます。",
            "「{q}」より前の行は{n}行です。",
        ],
    },
    "distinct": {
        "en": [
            "{n} different addresses are in the log, {e} among them.",
            "The log names {n} addresses, {e} being one.",
            "{n} distinct hosts appear, including {e}.",
            "{e} is one of {n} addresses.",
            "Lines come from {n} addresses such as {e}.",
            "Of the {n} addresses, {e} is worth a look.",
        ],
        "ja": [
            "{e} を含め{n}個のアドレスが現れます。",
            "アドレスは{n}種類で、{e} もその一つです。",
            "{e} など{n}件の異なるアドレスがあります。",
            "{n}個のアドレスのうち{e}に注目します。",
        ],
    },
    "advice": {
        "en": [
            'If "{q}" appears more than {n} times, restart the service.',
            "Alert when `{q}` is logged {n} times within a minute.",
            "Block {e} at the firewall for {n} minutes.",
            "Consider raising the limit to {n} connections for {e}.",
            "Run `grep '{q}'` and look at the first {n} lines.",
            "You may want to add a rule for `{q}` with a threshold of {n} events.",
        ],
        "ja": [
            "「{q}」が{n}回以上出た場合は、サービスを再起動してください。",
            "{e} を{n}分間ブロックすることを推奨します。",
            "「{q}」を監視し、{n}件を超えたら通知するとよいでしょう。",
            "{e} からの接続を{n}件までに制限してください。",
        ],
    },
    "denied": {
        "en": [
            'There is no line with "{q}".',
            "`{q}` does not appear in the log.",
            'Nowhere does the log contain "{q}".',
            "The log never says `{q}`.",
            "{e} is not in the log.",
            "No request came from {e}.",
        ],
        "ja": [
            "「{q}」はログにありません。",
            "「{q}」という行は見つかりません。",
            "{e} はログに現れません。",
            "{e} からのアクセスはありません。",
        ],
    },
}
CAUSES = {
    "en": [
        '"{a}" was caused by "{b}".',
        '"{b}" happened because of "{a}" (line {n}).',
        "`{b}` (line {n}) led to the failure of {e}.",
        'Due to "{a}", the service at {e} failed.',
    ],
    "ja": [
        "「{a}」の原因は「{b}」です。",
        "「{b}」は「{a}」によって発生しました。",
        "「{a}」のため、{e} が失敗しました。",
    ],
}
