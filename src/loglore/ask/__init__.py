"""Log + question → evidence → model → answer whose claims were checked against the log."""
