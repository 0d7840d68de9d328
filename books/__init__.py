"""Generator, simulated vendors and mesh count the same traffic; this compares what they counted.

Read in this order:

- `counters`: what each process counted, through its restarts
- `reading` (every scrape in Prometheus) and `final` (the last one): who counted it
- `events`: which process stopped, and when
- `offset` and `side_by_side`: by how much one set of books is ahead of another
- `explanation` and `causes`: what a stop explains; what was counted as what
- `pools`: requests by pool, at rest
- `row`, `comparison` and `report`: all books together, and what is printed and written
"""
