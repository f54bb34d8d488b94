"""Engines and sessions: a model of the hub as an OpenAI-compatible endpoint on this machine."""
