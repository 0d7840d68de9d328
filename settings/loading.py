"""The door: a stack file, or the engine's configuration, becomes settings or one error.

The error tells everything that is wrong with the file at once, a line each:
`vendors[1].cidrs[0]: '10.2.0.0/33' is not a CIDR block; prefix length is at most 32`.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from settings.checks import CHECKS
from settings.keys import KEYS, Location, key_at, names_at, path_of, text_of
from settings.model import StackSettings
from settings.range_files import capped, read_ranges
from settings.sentences import sentence_of, shown, suggested, unknown_key
from settings.values import AddressRange, PathInRoot
from settings.yaml_text import NotYamlError, read_yaml

PROJECT = "proxy-observability"
ROOT = Path(__file__).resolve().parent.parent

DEEPEST = 20  # levels of a stack file; the models have seven

# Pulumi's language host hands the whole configuration over in the variable PULUMI_CONFIG
# (pulumi/pulumi#8680). Linux starts no program with one of 128 KiB, name and end included; 2 kB
# are kept for what the engine adds: Pulumi.yaml's defaults, and `<`, `>` and `&` as six letters.
MOST_CONFIG_BYTES = 129_000

RANGES_FILE = "cidrsFile"
SECRETS = ("alertmanagerSecrets", "federationSecrets")  # the sections whose values are encrypted
PATH: TypeAdapter[str] = TypeAdapter(PathInRoot)

# What Pulumi itself keeps in a stack file, beside `config`.
PULUMI_KEYS = ("config", "environment", "encryptedkey", "encryptionsalt", "secretsprovider")


class SettingsError(Exception):
    """Everything that is wrong with a stack's configuration, one finding a line."""

    def __init__(self, findings: Iterable[str]) -> None:
        self.findings = tuple(findings)
        super().__init__("\n".join(self.findings))


class Refused:
    """The locations something was said about already."""

    def __init__(self) -> None:
        self.locations: set[Location] = set()
        self._holders: set[Location] = set()  # everything that holds one of them

    def add(self, location: Location) -> None:
        self.locations.add(location)
        self._holders |= {location[:length] for length in range(len(location))}

    def touches(self, location: Location) -> bool:
        """Whether the location was refused, or lies in or around what was."""
        return location in self._holders or any(
            location[:length] in self.locations for length in range(1, len(location) + 1)
        )


class MissingStackFileError(SettingsError):
    """There is no such file to read."""


def stack_file(stack: str) -> Path:
    """Where a stack's configuration is: STACK_FILE of the environment, else the root's file.

    Raises:
        MissingStackFileError: `stack` is no name of a stack, so there can be no file.
    """
    # Pulumi's own rule for names; anything else could lead to another folder.
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,100}", stack) or not stack.strip("."):
        raise MissingStackFileError(
            [f"STACK: {shown(stack)} is no stack's name; use letters, digits, '-', '_' and '.'"]
        )
    named = os.environ.get("STACK_FILE")
    return Path(named) if named else ROOT / f"Pulumi.{stack}.yaml"


def load_stack_file(path: Path | str) -> StackSettings:
    """Read `Pulumi.<stack>.yaml`.

    Raises:
        MissingStackFileError: there is no file at `path`.
        SettingsError: it says something that can't be.
    """
    return load_stack(Path(path))[0]


def load_stack(path: Path) -> tuple[StackSettings, dict[str, str]]:
    """Read a stack's file once, for its settings and for `config` as the engine hands it over.

    Raises:
        MissingStackFileError: there is no file at `path`.
        SettingsError: it says something that can't be.
    """
    document, twice = read_yaml_file(path)
    findings = [
        f"{path.name}:{line}: key {shown(name)} stands twice in one mapping; keep one"
        for line, name in twice
    ]
    raw, config = config_of(document, path.name, findings)
    refused = Refused()
    for section in SECRETS:
        findings += in_clear(section, raw.get(section), refused)
    try:
        handed = as_engine(config)
    except (ValueError, RecursionError):  # nested without end, as `parsed` says
        handed = {}
    findings += too_large(handed)
    return parsed(raw, findings, refused), handed


def in_clear(section: str, secrets: object, refused: Refused) -> Iterator[str]:
    """Credentials that anybody who reads the stack's file can read."""
    if not isinstance(secrets, dict) or list(secrets) == ["secure"]:
        return
    for name, value in secrets.items():
        if isinstance(value, str):
            at = (section, str(name))
            refused.add(at)
            yield (
                f"{text_of(at)}: stands in clear; change it where it is asked for, and set the new "
                f"one with `pulumi config set --secret --path {PROJECT}:{text_of(at)}`"
            )


def parse_settings(raw: Mapping[str, object]) -> StackSettings:
    """Settings from plain values; keys as in YAML, without the project's prefix."""
    return parsed(raw, [], Refused())


def settings_of_pulumi_config(config: Mapping[str, str]) -> StackSettings:
    """Settings from the engine's map: "proxy-observability:vendors" to JSON text.

    Other namespaces, such as `kubernetes:`, are other programs' business.
    """
    raw: dict[str, object] = {}
    findings = [*too_large(config)]
    refused = Refused()
    for full_name, text in config.items():
        namespace, _, name = full_name.partition(":")
        if namespace != PROJECT:
            continue
        # Text stays as it is; everything else the engine hands over as JSON.
        if name == "cluster" or name not in KEYS:
            raw[name] = text
            continue
        try:
            raw[name] = json.loads(text)
        except ValueError:
            findings.append(
                f"{name}: {shown(text, (name,))} is not JSON; "
                "set the key in the stack's file instead"
            )
            refused.add((name,))
    return parsed(raw, findings, refused)


def as_engine(config: Mapping[str, object]) -> dict[str, str]:
    """Return a stack file's configuration as the engine hands it over: text, else JSON."""
    return {
        str(key): value if isinstance(value, str) else as_json(value)
        for key, value in config.items()
    }


def as_json(value: object) -> str:
    """JSON as Go writes it: no spaces, letters of every script as they are."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def too_large(config: Mapping[str, str]) -> Iterator[str]:
    size = len(as_json(config).encode("utf-8", "surrogatepass"))
    if size > MOST_CONFIG_BYTES:
        largest = max(config, key=lambda name: len(config[name])).removeprefix(f"{PROJECT}:")
        shorten = "shorten it"
        if largest == "vendors":
            shorten = f"put long lists of ranges into files (vendors[].{RANGES_FILE})"
        yield (
            f"{largest}: the stack file's configuration is {-(-size // 1000)} kB, and Pulumi hands "
            "it to the program in one environment variable, which holds "
            f"{MOST_CONFIG_BYTES // 1000} kB; {shorten}"
        )


def read_yaml_file(path: Path) -> tuple[object, tuple[tuple[int, str], ...]]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        stacks = sorted(file.name for file in path.parent.glob("Pulumi.*.yaml"))
        others = f"there are {', '.join(stacks)}" if stacks else "write it first"
        raise MissingStackFileError([f"{path.name}: there is no such file; {others}"]) from None
    except UnicodeDecodeError:
        raise SettingsError([f"{path.name}: is not UTF-8 text; save it as UTF-8"]) from None
    except OSError as error:
        raise MissingStackFileError(
            [f"{path.name}: can't be read ({error.strerror}); name a readable file"]
        ) from None
    try:
        return read_yaml(text)
    except NotYamlError as error:
        line = f":{error.line}" if error.line else ""
        raise SettingsError(
            [f"{path.name}{line}: is not YAML, {error.reason}; correct this line or the one above"]
        ) from None


def config_of(
    document: object, file: str, findings: list[str]
) -> tuple[dict[str, object], dict[str, object]]:
    """The project's own part of a stack file, without its prefix, and all of `config`.

    What is misplaced goes to `findings`.
    """
    if not isinstance(document, dict):
        raise SettingsError(
            [*findings, f"{file}: is not a mapping; begin it with 'config:' and indent the rest"]
        )
    for name in document:
        if name not in PULUMI_KEYS:
            key = str(name).removeprefix(f"{PROJECT}:")
            findings.append(
                f"{file}: {shown(name)} is no key of Pulumi's; "
                f"a setting goes under config, as {shown(f'{PROJECT}:{key}')}"
            )
    config = document.get("config")
    if not isinstance(config, dict):
        raise SettingsError(
            [
                *findings,
                f"{file}: config is not a mapping; "
                f"write 'config:' and under it '{PROJECT}:cluster: …'",
            ]
        )
    raw: dict[str, object] = {}
    for full_name, value in config.items():
        namespace, colon, name = str(full_name).partition(":")
        if namespace == PROJECT and colon:
            raw[name] = value
        elif not colon:
            findings.append(
                f"{file}: key {shown(full_name)} of config names no project; "
                f"write it as {shown(f'{PROJECT}:{full_name}')}"
            )
        elif get_close_matches(namespace, [PROJECT], cutoff=0.8):
            findings.append(
                f"{file}: key {shown(full_name)} of config is another project's; "
                f"did you mean {shown(f'{PROJECT}:{name}')}?"
            )
    return raw, config


def parsed(raw: Mapping[str, object], findings: list[str], refused: Refused) -> StackSettings:
    """Settings, or everything that is wrong with them, after what `findings` says already.

    Args:
        refused: what `findings` is about; nothing more is said of it.
    """
    tree = plain(dict(raw), (), findings, refused)
    add_ranges_of_files(tree, findings, refused)
    try:
        settings = validated(tree)
    except ValidationError as error:
        mistakes = tuple(told(error, tree))
        findings += [
            f"{text_of(location)}: {sentence}"
            for location, sentence in mistakes
            if not refused.touches(location)
        ]
        for location, sentence in mistakes:
            refused.add(location)
            if meant := suggested(sentence):  # what a misspelt key would have said is not known
                refused.add((*location[:-1], meant))
        for location in refused.locations:
            put_stand_in(tree, location)
        settings = validated(tree)
    findings += clashes(settings, refused)
    if findings:
        raise SettingsError(findings)
    return settings


def clashes(settings: StackSettings, refused: Refused) -> Iterator[str]:
    """What the checks find, unless it rests on what was refused; of a file not all of it."""
    by_file: dict[str, list[str]] = {}
    for check in CHECKS:
        for clash in check(settings):
            if any(refused.touches(location) for location in (clash.at, *clash.rests_on)):
                continue
            finding = f"{clash.where or text_of(clash.at)}: {clash.says}"
            by_file.setdefault(clash.where.rpartition(":")[0], []).append(finding)
    for file, findings in by_file.items():
        yield from capped(file, findings) if file else findings


def add_ranges_of_files(tree: dict[str, Any], findings: list[str], refused: Refused) -> None:
    """Put the ranges of each vendor's `cidrsFile` behind its `cidrs`."""
    vendors = tree.get("vendors")
    for index, vendor in enumerate(vendors if isinstance(vendors, list) else ()):
        if not isinstance(vendor, dict) or not names_a_file(vendor):
            continue
        at: Location = ("vendors", index)
        own = vendor.get("cidrs", [])
        ranges = ranges_of_file(vendor.get(RANGES_FILE), (*at, RANGES_FILE), findings, refused)
        if ranges and isinstance(own, list):
            vendor["cidrs"] = [*own, *ranges]
        elif not ranges and own == []:
            # Told already: that there are none follows from what is wrong with the file.
            refused.add((*at, "cidrs"))


def names_a_file(vendor: Mapping[str, object]) -> bool:
    """Whether a vendor has `cidrsFile`, or a misspelt one in place of `cidrs`."""
    if vendor.get(RANGES_FILE) is not None:
        return True
    allowed = names_at(("vendors", 0))
    return "cidrs" not in vendor and any(
        suggested(unknown_key(name, allowed)) == RANGES_FILE
        for name in vendor
        if name not in allowed
    )


def ranges_of_file(
    file: object, at: Location, findings: list[str], refused: Refused
) -> list[AddressRange]:
    try:
        ranges, wrong = read_ranges(PATH.validate_python(file), ROOT)
    except ValidationError:
        return []  # no path: the models say so
    except ValueError as error:
        wrong, ranges = [f"{text_of(at)}: {shown(file, at)} {error}"], []
    if wrong:
        refused.add(at)
    findings += (finding for finding in wrong if finding not in findings)  # of another vendor's
    return ranges


def validated(tree: object) -> StackSettings:
    return StackSettings.model_validate(tree, by_alias=True, by_name=False)


def plain(value: Any, location: Location, findings: list[str], refused: Refused) -> Any:
    """A copy without what no key can hold: keys that are not text, and encrypted values."""
    if len(location) > DEEPEST:
        raise SettingsError([f"{text_of(location[:1])}: is nested without end; write it out"])
    if isinstance(value, list | tuple):
        return [
            plain(item, (*location, index), findings, refused) for index, item in enumerate(value)
        ]
    if not isinstance(value, dict):
        return value
    copy: dict[str, Any] = {}
    for key, item in value.items():
        at = (*location, str(key))
        if not isinstance(key, str):
            whose = text_of(location) or "config"
            findings.append(f"{whose}: key {shown(key)} is not text; put it in quotes")
            refused.add(at)
        elif isinstance(item, dict) and list(item) == ["secure"] and text_of(location) in SECRETS:
            copy[key] = item
        elif isinstance(item, dict) and list(item) == ["secure"] and text_of(at) in SECRETS:
            findings.append(
                f"{key}: is encrypted as a whole, so nobody sees whose are there; set each "
                f"with `pulumi config set --secret --path {PROJECT}:{key}.NAME`"
            )
            refused.add(at)
        elif isinstance(item, dict) and list(item) == ["secure"]:
            findings.append(f"{text_of(at)}: is encrypted; no setting is secret, write it as it is")
            refused.add(at)
        else:
            copy[key] = plain(item, at, findings, refused)
    return copy


def told(error: ValidationError, tree: Any) -> Iterator[tuple[Location, str]]:
    """Each mistake once, as (where, our sentence), in the order of the models' keys."""
    problems = [
        (problem["type"], location, sentence_of(problem, location))
        for problem in error.errors(include_url=False)
        for location in [location_of(problem["loc"], tree)]
        # Of a list whose items are all wrong pydantic says also that it has none.
        if problem["type"] != "too_short" or not problem["input"]
    ]
    misspelt = {(*location[:-1], suggested(sentence)) for _, location, sentence in problems}
    for kind, location, sentence in problems:
        # A misspelt key is one mistake, though the right one is missing for it.
        if kind != "missing" or location not in misspelt:
            yield location, sentence


def location_of(loc: Location, tree: Any) -> Location:
    """Pydantic's location, where a mapping's key itself is marked by a last "[key]"."""
    if loc[-1:] != ("[key]",):
        return loc
    holder = tree
    for part in loc[:-1]:
        holder = holder[part]
    return loc if isinstance(holder, dict) and "[key]" in holder else loc[:-1]


def put_stand_in(tree: Any, location: Location) -> None:
    """Replace a refused value by a good one, so that the rest can be checked."""
    *way, last = location
    holder = tree
    for part in way:
        try:
            holder = holder[part]
        except (KeyError, IndexError, TypeError):
            return
    if isinstance(last, int):
        if not (isinstance(holder, list) and last < len(holder)):
            return
        field = KEYS[path_of(tuple(way))].field
        holder[last] = deepcopy((field.examples[0] if field.examples else field.default)[0])
    elif isinstance(holder, dict):
        key = key_at(location)
        if key and key.field.is_required():
            assert key.field.examples  # tests/settings: every required key has one
            holder[last] = deepcopy(key.field.examples[0])
        else:
            holder.pop(last, None)
