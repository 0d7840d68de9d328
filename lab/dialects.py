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

# Every proxy answers a request without a login in the same way, so no preset describes it.
_SAME_EVERYWHERE = ("auth-challenge",)


def answers(name: str) -> dict[str, list[Json]]:
    """Return the documented answers by the fault that asks for them.

    Left out are answers that a site may give as well. The simulated vendor gives the answers of a
    list in turn: some are for plain requests, some for CONNECT.
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


def documents(name: str, fault: str) -> bool:
    """Whether a preset documents this refusal, for plain requests and for CONNECT.

    True for faults that are no refusals, such as a reset or a target's error: no vendor words them.
    """
    if fault == "refused-open":
        return False
    if fault not in WORDED or fault in _SAME_EVERYWHERE:
        return True
    return {one["connect"] for one in answers(name).get(fault, ())} == {False, True}
