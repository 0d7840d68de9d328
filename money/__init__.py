"""What the traffic costs, by the vendors' contracts and the hours of the ledger.

Read in this order: `quantities` (what the ledger keeps of an hour), `contract` (prices, budgets),
`billable` (what a contract counts), `charges` (what a month costs). `ledger` reads the hours,
`usage` what vendors say, and `reconcile` compares both. `report`, `what_if` and `exporter` show
costs; `forecast` says how a month will end.

The exporter runs in a pod, on Python's standard library alone. The commands of an operator
(`__main__` of the packages) may import the settings too.
"""
