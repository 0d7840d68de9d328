"""The figures of money as metrics, read from the ledger: what a board shows and an alert compares.

`python -m money.exporter` runs in a pod, on Python's standard library alone.
"""
