"""Model or endpoint + dataset -> scores with intervals, and comparisons that say what can be said.

test.py      job: one model on one held-out dataset -> rows.parquet + scores.json
compare.py   job: any number of test and training runs -> comparison.json, report.md, report.html, charts

words        text -> tokens, for every language        metrics    output, truth -> six scores
rouge        longest common subsequences, bit-parallel bootstrap  scores -> 95 % intervals
generate     prompts -> answers, batched greedy        grounded   answer, log -> share of claims the log supports
curves       training metrics -> loss curves           plots      charts as PNG and SVG
report       comparison -> terminal table, Markdown, HTML
"""
