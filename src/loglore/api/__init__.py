"""The studio's HTTP API: OpenAI's shapes where OpenAI has them, `/v1/studio/*` for runs, logs and questions about logs.

One process (`python -m loglore.api`) on loopback, without keys. It only reads run folders; the runner that writes them
is another process, so training outlives it. FastAPI is imported by the modules here, never by the command line: the
starter knows this room by its command alone.
"""
