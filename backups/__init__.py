"""Backups of Prometheus' data, as a CronJob makes them and a new pod restores them.

Python's standard library alone: the files travel in a ConfigMap, on Python's official image.
"""
