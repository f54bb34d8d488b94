"""Wordings of NLPLog's five questions, our own; `{log}` is the line itself."""

INSTRUCTIONS: dict[str, dict[str, tuple[str, ...]]] = {
    "en": {
        "grok": (
            "Write a grok pattern for this log event: {log}",
            "Which grok pattern parses the following log line?\n{log}",
            "How can this log line be split into fields with grok?\n{log}",
            "Give the grok expression that matches: {log}",
            "Parse the log event below with a grok pattern.\n{log}",
        ),
        "insight": (
            "What does this log event mean? {log}",
            "Explain the following log line.\n{log}",
            "Describe the event and its variables: {log}",
            "What information does this log line carry?\n{log}",
            "Interpret this log event: {log}",
        ),
        "root_cause": (
            "What may have caused this log event? {log}",
            "Give possible root causes of the following event.\n{log}",
            "Why would a system log this? {log}",
            "What leads to this log line?\n{log}",
            "Explain the cause behind this event: {log}",
        ),
        "components": (
            "Which other events or components are related to this one? {log}",
            "What usually stands near this log line?\n{log}",
            "With which events does this one occur together? {log}",
            "Name components and events connected with the following line.\n{log}",
            "How is this event related to others in the log? {log}",
        ),
        "forecast": (
            "Which failures may follow this log event? {log}",
            "What could go wrong after this line is logged?\n{log}",
            "Is a failure to be expected after this event? {log}",
            "What does this event announce?\n{log}",
            "Predict what follows the log line below.\n{log}",
        ),
    },
    "ja": {
        "grok": (
            "このログイベントに対する grok パターンを書いてください: {log}",
            "次のログ行はどの grok パターンで解析できますか?\n{log}",
            "このログ行を grok でフィールドに分けるにはどうしますか?\n{log}",
            "次の行に一致する grok 式を示してください: {log}",
        ),
        "insight": (
            "このログイベントは何を意味しますか?{log}",
            "次のログ行を説明してください。\n{log}",
            "このイベントとその変数を説明してください: {log}",
            "このログ行からどんな情報が分かりますか?\n{log}",
        ),
        "root_cause": (
            "このログイベントの原因として何が考えられますか?{log}",
            "次のイベントの考えられる根本原因を挙げてください。\n{log}",
            "なぜこの行が記録されるのですか?\n{log}",
            "このイベントの背景にある原因を説明してください: {log}",
        ),
        "components": (
            "このイベントに関係する他のイベントやコンポーネントは何ですか?{log}",
            "このログ行の近くには普段何がありますか?\n{log}",
            "このイベントはどのイベントと一緒に起きますか?{log}",
            "次の行に関連するコンポーネントとイベントを挙げてください。\n{log}",
        ),
        "forecast": (
            "このログイベントの後にどんな障害が起こり得ますか?{log}",
            "この行が記録された後、何が問題になり得ますか?\n{log}",
            "このイベントの後に障害が予想されますか?{log}",
            "次のログ行に続くものを予測してください。\n{log}",
        ),
    },
}
