"""What the traffic costs, by the vendors' contracts and the hours of the ledger.

The exporter runs these modules in a pod, on Python's standard library alone. The commands of an
operator (`__main__` of the packages below) may import the settings too.
"""
