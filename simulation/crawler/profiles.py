"""Profiles: ways to crawl, a JSON file each, below the keys of a plan."""

from __future__ import annotations

import json
from pathlib import Path

from simulation.plans import PlanError

PROFILES = Path(__file__).resolve().parent.parent / "profiles"


def with_profile(raw: object, folder: Path) -> object:
    """Put the keys of `raw` over those of the profile it names; `raw` itself if it names none."""
    if not isinstance(raw, dict) or raw.get("profile") is None:
        return raw
    named = raw["profile"]
    if not isinstance(named, str) or not named:
        raise PlanError([f"profile: {json.dumps(named)} is no name: give one of {profiles()}"])
    is_path = "/" in named or named.endswith(".json")
    path = folder / named if is_path else PROFILES / f"{named}.json"
    if not is_path and not path.is_file():
        fix = f"use one of {profiles()}, or the path of a file"
        raise PlanError([f"profile: {json.dumps(named)} is unknown: {fix}"])
    try:
        profile = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        line = f"profile: {json.dumps(named)} cannot be read as JSON: {error}: correct the file"
        raise PlanError([line]) from None
    if not isinstance(profile, dict) or "profile" in profile:
        fix = "give an object that names no profile itself"
        raise PlanError([f"profile: {json.dumps(named)} holds no profile: {fix}"])
    return {**profile, **raw}


def profiles() -> str:
    """The names of the profiles that lie beside this program."""
    return ", ".join(sorted(path.stem for path in PROFILES.glob("*.json"))) or "none that exists"
