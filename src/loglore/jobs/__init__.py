"""Jobs: the kinds there are, and recipes, which are YAML lists of jobs that make one whole workflow.

`kinds` maps a kind's name to its spec and its one plain function; `recipes` parses, `runner` runs, `plan` estimates.
"""
