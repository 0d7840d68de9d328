"""Dashboards as code: one file a board, the shapes they share in panels.py."""
