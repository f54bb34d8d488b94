"""Logs to training samples: `chat` writes conversations about chunks, `nlplog` question-and-answer text about events.

The teacher here is `analyst`, a rule-based writer: free, fast, repeatable, and it states nothing that it did not
compute from the log. A language model as teacher writes better prose and finds more causes, and has to be checked.
"""
