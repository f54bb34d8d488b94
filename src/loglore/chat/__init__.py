"""The chatbot: ask about a log in the terminal."""
