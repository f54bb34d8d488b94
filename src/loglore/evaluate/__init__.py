"""Model or endpoint + dataset -> scores with intervals, and comparisons that say what can be said.

test         job: one model or endpoint on held-out rows -> rows.parquet + scores.json
compare      job: test and training runs -> comparison.json, report.md, report.html, charts

questions    rows -> questions, one a scored turn       suites     the five log tasks, by their instructions
generate     prompts -> answers in this process         decode     one batch, greedy or sampled, prefixes shared
asking       questions -> answers from an endpoint      harness    LM Evaluation Harness tasks (extra)
words        text -> tokens, for every language         metrics    output, truth -> the six table scores
rouge, chrf  n-grams and longest common subsequences    structured JSON, templates, labels -> counts
measures     further measures, from counts              grounded   answer, log -> share of claims the log supports
rows         questions + answers -> the table of rows   summary    table -> scores with intervals
bootstrap    columns -> intervals, differences, p       pairs      two tables -> differences, wins, slices, extremes
baselines    the nearest training answer, an empty one  curves     training metrics -> loss curves
findings     numbers -> sentences                       tables     comparison -> tables; cells: numbers as text
markdown, page, plots: the reports and charts
"""
