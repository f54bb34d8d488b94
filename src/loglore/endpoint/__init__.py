"""Client of any OpenAI-compatible URL."""
