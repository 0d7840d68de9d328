"""Pinned programs that the project runs, and how one is found."""
