"""The pages: the name of each in addresses and words, what draws it, its icon."""

from loglore.studio import (
    audit_page,
    chat_page,
    costs_page,
    data_page,
    keys_page,
    models_page,
    runs_page,
    sessions_page,
    tests_page,
    tuning_page,
)

PAGES = (
    ("chat", chat_page.show, "forum"),
    ("data", data_page.show, "database"),
    ("models", models_page.show, "deployed_code"),
    ("tuning", tuning_page.show, "model_training"),
    ("tests", tests_page.show, "rule"),
    ("sessions", sessions_page.show, "terminal"),
    ("runs", runs_page.show, "timeline"),
    ("keys", keys_page.show, "key"),
    ("costs", costs_page.show, "payments"),
    ("audit", audit_page.show, "history"),
)
