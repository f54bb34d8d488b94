"""Client of any OpenAI-compatible URL.

`client` streams one conversation (the chat); `runner` sends many requests to some `target`s, within `limits`, through
`journal`s that a kill leaves whole (`batches` does so by `/v1/batches`); `redaction` guards what leaves the machine.
"""
