"""What everybody had counted at the end of a run, when nothing is in flight any more."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from books.counters import VENDOR_CANNOT_KNOW, Books, Key, Pod, Process, Scrape
from books.reading import GENERATORS, METRICS, SIDECARS, VENDORS, selector

Query = Callable[[str], Iterable[dict[str, Any]]]
"""Answers a PromQL expression with an instant vector: {metric, value}."""


def final_books(query: Query, at: float) -> Books:
    """Return what Prometheus scraped last from each process, as one scrape at `at`."""
    generator, mesh, vendors = (_counts(query, job) for job in (GENERATORS, SIDECARS, VENDORS))
    # A simulated vendor that counted nothing counted 0; it is no vendor whose counts are unknown.
    for key in generator:
        if key.outcome not in VENDOR_CANNOT_KNOW:
            vendors.setdefault(key, 0)
    pod = Pod(generator=_process(GENERATORS, generator, at), sidecar=_process(SIDECARS, mesh, at))
    return Books(pods=[pod], vendors=[_process(VENDORS, vendors, at)])


def _counts(query: Query, job: str) -> Counter[Key]:
    found: Counter[Key] = Counter()
    for metric, key_of in METRICS[job].items():
        for sample in query(selector(job, metric)):
            found[key_of(sample["metric"])] += round(float(sample["value"][1]))
    return found


def _process(name: str, counts: Counter[Key], at: float) -> Process:
    return Process(
        name=name,
        scrapes=[Scrape(at, at)],
        totals={key: [count] for key, count in counts.items()},
        from_zero=True,
    )
