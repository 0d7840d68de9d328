"""Simulated traffic: `crawler.py` and `vendor.py`, two plain programs without a common import.

Each is one file of the standard library, because a pod runs it from a ConfigMap.
What both must agree on (host names of faults, the X-Sim headers, the ban page's mark)
is written in each and held equal by tests/traffic.
"""
