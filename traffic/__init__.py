"""Simulated traffic: `python -m traffic.crawler` and `python -m traffic.vendor`.

Standard library only: a pod runs them in a bare Python image, from a ConfigMap.
"""
