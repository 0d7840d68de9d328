"""Simulated traffic: `python -m simulation.crawler` and `python -m simulation.proxy`.

Standard library only: a pod runs them in a bare Python image, from a ConfigMap.
"""
