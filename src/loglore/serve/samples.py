"""Sample code for a running session, with its real URL and model id, in three languages. A test runs it."""

import json

QUESTION = "What does EADDRINUSE mean?"
KEY_VARIABLE = "LOGLORE_KEY"


def samples(url: str, model_id: str, needs_key: bool) -> dict[str, str]:
    """`curl`, `python` and `javascript` that ask `model_id` at `url` (ends in `/v1`).

    Where a key is needed, it is read from the environment variable `LOGLORE_KEY`: a sample may be shared.
    """
    message = {"role": "user", "content": QUESTION}
    body = json.dumps({"model": model_id, "messages": [message]})
    header = f' -H "Authorization: Bearer ${KEY_VARIABLE}"' if needs_key else ""
    python_key = f'os.environ["{KEY_VARIABLE}"]' if needs_key else '"none"'
    js_key = f'"Bearer " + process.env.{KEY_VARIABLE}' if needs_key else None
    js_headers = '{ "Content-Type": "application/json"' + (f", Authorization: {js_key}" if js_key else "") + " }"
    return {
        "curl": f"curl {url}/chat/completions{header} -H 'Content-Type: application/json' -d {_quoted(body)}",
        "python": (
            ("import os\n\n" if needs_key else "")
            + "from openai import OpenAI\n\n"
            + f"client = OpenAI(base_url={json.dumps(url)}, api_key={python_key})\n"
            + "stream = client.chat.completions.create(\n"
            + f"    model={json.dumps(model_id)}, messages=[{json.dumps(message)}], stream=True\n)\n"
            + "for chunk in stream:\n"
            + '    print(chunk.choices[0].delta.content or "", end="", flush=True)\n'
        ),
        "javascript": (
            f"const reply = await fetch({json.dumps(url + '/chat/completions')}, {{\n"
            + '  method: "POST",\n'
            + f"  headers: {js_headers},\n"
            + f"  body: JSON.stringify({body}),\n"
            + "});\n"
            + "console.log((await reply.json()).choices[0].message.content);\n"
        ),
    }


def _quoted(text: str) -> str:
    """For a POSIX shell."""
    return "'" + text.replace("'", "'\\''") + "'"
