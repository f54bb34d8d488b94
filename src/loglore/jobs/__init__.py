"""Jobs: the kinds there are, recipes, which are YAML lists of jobs that make one whole workflow, and a queue for both.

`kinds` maps a kind's name to its spec and its one plain function; `recipes` parses, `runner` runs, `plan` estimates.
`queue` submits jobs for later; workers claim and run them.
"""
