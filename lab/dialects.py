"""The refusals of a preset's vendor, as its documentation words them."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from settings.presets import preset
from simulation.proxy.answers import WORDED

Json = dict[str, Any]

FAULT_OF = {
    "auth_failed": "auth-failed",
    "blocked": "blocked",
    "policy": "policy",
    "quota_exhausted": "quota",
    "rate_limited": "rate-limited",
    "vendor_error": "vendor-error",
}
"""The fault by which a simulated vendor is asked for an answer of this meaning."""

KINDS = {"plain": False, "tunnel": True}

# They are no words of a vendor's, or the same whoever refuses.
_WORDLESS = ("auth-challenge",)


def answers(name: str) -> dict[str, list[Json]]:
    """Return the documented answers that alone tell their meaning, by the fault that asks for them.

    One list has those to plain requests and to CONNECT; the vendor gives them in turn.
    """
    found: defaultdict[str, list[Json]] = defaultdict(list)
    for answer in preset(name).answers:
        for kind in answer.kinds:
            # A CONNECT that is answered 200 is a tunnel, whatever its headers say.
            is_clear = kind not in answer.unclear and (kind == "plain" or answer.status >= 300)
            if is_clear and answer.meaning in FAULT_OF:
                found[FAULT_OF[answer.meaning]].append(
                    {
                        "status": answer.status,
                        "headers": dict(answer.headers),
                        "connect": KINDS[kind],
                    }
                )
    return dict(found)


def has_words(name: str, fault: str) -> bool:
    """Whether a preset's vendor refuses so in words of its own, to plain requests and to CONNECT.

    What is no refusal has no words: a reset, a target's error.
    """
    if fault == "refused-open":
        return False
    if fault not in WORDED or fault in _WORDLESS:
        return True
    return {one["connect"] for one in answers(name).get(fault, ())} == {False, True}
