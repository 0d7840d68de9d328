"""Reads a stack file, or the engine's configuration, into settings or one error.

The error has everything that is wrong at once, a line each:
`vendors[1].cidrs[0]: '10.2.0.0/33' is not a CIDR block; prefix length is at most 32`.
Mistakes of single keys come first; what keys cannot say together is checked when each is good.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from pydantic import ValidationError

from settings.cross_checks import CHECKS, Checks
from settings.masking import is_harmless
from settings.messages import encrypted, printed, problems_of, yaml_mistake
from settings.presets import Given, of_preset, with_presets
from settings.range_files import capped, lines_of, read_ranges
from settings.section import path_text
from settings.stack import StackSettings
from settings.values.texts import PATH_IN_ROOT
from settings.vendors import AddressRange

PROJECT = "proxy-observability"
ROOT = Path(__file__).resolve().parent.parent

# Pulumi's language host hands the whole configuration over in the variable PULUMI_CONFIG
# (pulumi/pulumi#8680). Linux starts no program with one of 128 KiB, name and end included; 2 kB
# are kept for what the engine adds: Pulumi.yaml's defaults, and `<`, `>` and `&` as six letters.
MOST_CONFIG_BYTES = 129_000

SECRETS = "alertmanagerSecrets"  # the section whose values are encrypted
SET_SECRET = f"pulumi config set --secret --path {PROJECT}:{SECRETS}"
IN_CLEAR = "is in clear text; revoke it where it was issued, and set the new one with"

# What Pulumi itself keeps in a stack file, beside `config`.
PULUMI_KEYS = ("config", "environment", "encryptedkey", "encryptionsalt", "secretsprovider")


class SettingsError(Exception):
    """Everything that is wrong with a stack's configuration, one finding a line."""

    def __init__(self, findings: Iterable[str]) -> None:
        self.findings = tuple(findings)
        super().__init__("\n".join(self.findings))


class MissingStackFileError(SettingsError):
    """There is no such file to read."""


class StackFile(NamedTuple):
    """A stack's file, read once."""

    settings: StackSettings
    config: dict[str, str]
    """All of `config` as the engine hands it over, by full name: text, else JSON."""
    encrypted: tuple[str, ...]
    """The full names of `config` that hold an encrypted value."""

    @property
    def context(self) -> str:
        """The stack's context of kubectl; empty is its current one."""
        return self.config.get("kubernetes:context", "")


def stack_file(stack: str) -> Path:
    """Return where a stack's file is: STACK_FILE of the environment, else in the root.

    Raises:
        MissingStackFileError: `stack` is no name of a stack, so there can be no file.
    """
    # Pulumi's own rule for names; anything else could lead to another folder.
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,100}", stack) or not stack.strip("."):
        raise MissingStackFileError(
            [f"STACK: {printed(stack)} is no stack's name; use letters, digits, '-', '_' and '.'"]
        )
    named = os.environ.get("STACK_FILE")
    return Path(named) if named else ROOT / f"Pulumi.{stack}.yaml"


def load_stack_file(path: Path | str, checks: Checks = CHECKS) -> StackSettings:
    """Read `Pulumi.<stack>.yaml`.

    Args:
        checks: what is asked of several keys together.

    Raises:
        MissingStackFileError: there is no file at `path`.
        SettingsError: a value in it is wrong.
    """
    return load_stack(Path(path), checks).settings


def load_stack(path: Path, checks: Checks = CHECKS, root: Path | None = None) -> StackFile:
    """Read a stack's file once, for its settings and for `config` as the engine hands it over.

    Args:
        root: where the files are that it names; None is this repository.

    Raises:
        MissingStackFileError: there is no file at `path`.
        SettingsError: a value in it is wrong.
    """
    config, findings = read_config(path)
    values = own_values(config, path.name, findings)
    secrets = values.get(SECRETS)
    if encrypted(secrets):
        del values[SECRETS]
        reason = "is encrypted as a whole, so its names cannot be checked"
        findings.append(f"{SECRETS}: {reason}; set each with `{SET_SECRET}.NAME`")
    elif isinstance(secrets, dict):
        findings += (
            f"{SECRETS}.{path_text((name,))}: {IN_CLEAR} `{SET_SECRET}.{path_text((name,))}`"
            for name, value in secrets.items()
            if isinstance(value, str)
        )
    try:
        handed = {
            key: value if isinstance(value, str) else as_json(value)
            for key, value in config.items()
        }
    except ValueError:  # an alias of a list or mapping inside itself
        raise SettingsError([f"{path.name}: is nested without end; write it out"]) from None
    findings += too_large(handed)
    return StackFile(
        settings=parsed(values, findings, checks, root),
        config=handed,
        encrypted=tuple(name for name, value in config.items() if holds_encrypted(value)),
    )


def settings_of_config(values: Mapping[str, object], encrypted: Collection[str]) -> StackSettings:
    """Return the settings in the engine's configuration.

    Args:
        values: by full name, "proxy-observability:vendors"; text as the engine hands it over, or
            what it stands for. Other namespaces, such as `kubernetes:`, are left alone.
        encrypted: the full names that the engine marks as secret.

    Raises:
        SettingsError: a value in it is wrong.
    """
    own: dict[str, object] = {}
    findings: list[str] = []
    known = {str(field.alias) for field in StackSettings.model_fields.values()} - {"cluster"}
    for full_name, value in values.items():
        namespace, _, name = full_name.partition(":")
        if namespace != PROJECT:
            continue
        own[name] = value
        if isinstance(value, str) and name in known:
            with suppress(ValueError):  # not JSON: the model refuses the text
                own[name] = json.loads(value)
    if own.get(SECRETS) and f"{PROJECT}:{SECRETS}" not in encrypted:
        findings.append(f"{SECRETS}: {IN_CLEAR} `{SET_SECRET}.NAME`")
    return parsed(own, findings)


def parse_settings(values: Mapping[str, object]) -> StackSettings:
    """Return settings from plain values; keys as in YAML, without the project's prefix.

    Raises:
        SettingsError: a value is wrong.
    """
    return parsed(values, [])


def parsed(
    values: Mapping[str, object],
    findings: Iterable[str],
    checks: Checks = CHECKS,
    root: Path | None = None,
) -> StackSettings:
    """Return settings, or raise with `findings` and everything that is wrong with `values`."""
    findings = [*findings]
    values, given = with_presets(values, findings)
    values = with_files_of_vendors(values, findings, root or ROOT)
    try:
        settings = StackSettings.model_validate(values, by_alias=True, by_name=False)
    except ValidationError as error:
        findings += (
            f"{path_text(at)}: {of_preset(at, given)}{text}" for at, text, _ in problems_of(error)
        )
        raise SettingsError(dict.fromkeys(findings)) from None
    if not findings:
        findings += cross_checked(settings, checks, given)
    if findings:
        raise SettingsError(dict.fromkeys(findings))
    return settings


def cross_checked(settings: StackSettings, checks: Checks, given: Given) -> Iterator[str]:
    """What the checks across sections find; of a file of ranges not all of it."""
    by_file: dict[str, list[str]] = {}
    for check in checks:
        for at, text, line in check(settings):
            finding = f"{line or path_text(at)}: {of_preset(at, given)}{text}"
            by_file.setdefault(line.rpartition(":")[0], []).append(finding)
    for file, findings in by_file.items():
        yield from capped(file, findings) if file else findings


def with_files_of_vendors(
    values: Mapping[str, object], findings: list[str], root: Path
) -> dict[str, Any]:
    """Return the values with what each vendor keeps in files: its ranges, and its CA."""
    vendors = values.get("vendors")
    if not isinstance(vendors, list | tuple):
        return dict(values)
    read = list(vendors)
    for read_file in (with_ranges_of_file, with_certificate_of_file):
        for index, vendor in enumerate(read):
            if isinstance(vendor, dict):
                read[index] = read_file(f"vendors[{index}]", vendor, findings, root)
    return {**values, "vendors": read}


def with_ranges_of_file(
    at: str, vendor: dict[str, Any], findings: list[str], root: Path
) -> dict[str, Any]:
    """Return a vendor with its `cidrsFile` read into its `cidrs`."""
    if not isinstance(file := vendor.get("cidrsFile"), str):
        return vendor
    ranges: list[AddressRange] = []
    try:
        ranges, wrong = read_ranges(file, root)
        findings += wrong
    except ValueError as error:
        findings.append(f"{at}.cidrsFile: {printed(file)} {error}")
    if not isinstance(cidrs := vendor.get("cidrs", []), list):
        return vendor
    return {**vendor, "cidrs": [*cidrs, *ranges]}


def with_certificate_of_file(
    at: str, vendor: dict[str, Any], findings: list[str], root: Path
) -> dict[str, Any]:
    """Return a vendor with its `tls.ca` as text, where it is the path of a file."""
    if not isinstance(tls := vendor.get("tls"), dict):
        return vendor
    file = tls.get("ca")
    if not isinstance(file, str) or file.lstrip().startswith("-----BEGIN"):
        return vendor
    text = None
    try:
        text = "\n".join(lines_of(root / PATH_IN_ROOT.check(file)))
    except ValueError as error:
        findings.append(f"{at}.tls.ca: {printed(file)} {error}")
    return {**vendor, "tls": {**tls, "ca": text}}


BOOLEAN = "tag:yaml.org,2002:bool"


class _Reader(yaml.SafeLoader):
    """YAML as Pulumi reads it: `on`, `off`, `yes` and `no` are texts.

    A key that stands twice is remembered: PyYAML would take the last and say nothing.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.repeated: list[tuple[int, str]] = []

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value != "<<":
                if key.value in seen:
                    self.repeated.append((key.start_mark.line + 1, key.value))
                seen.add(key.value)
        return {
            str(key).lower() if isinstance(key, bool) else str(key): value
            for key, value in super().construct_mapping(node, deep).items()
        }


_Reader.yaml_implicit_resolvers = {
    letter: [(tag, form) for tag, form in resolvers if tag != BOOLEAN]
    for letter, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Reader.add_implicit_resolver(
    BOOLEAN, re.compile("(?:true|True|TRUE|false|False|FALSE)$"), [*"tTfF"]
)


def read_text(path: Path) -> str:
    file = path.name
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        stacks = sorted(other.name for other in path.parent.glob("Pulumi.*.yaml"))
        others = f"there are {', '.join(stacks)}" if stacks else "write it first"
        raise MissingStackFileError([f"{file}: there is no such file; {others}"]) from None
    except UnicodeDecodeError:
        raise SettingsError([f"{file}: is not UTF-8 text; save it as UTF-8"]) from None
    except OSError as error:
        reason = f"can't be read ({error.strerror}); name a readable file"
        raise MissingStackFileError([f"{file}: {reason}"]) from None


def read_config(path: Path) -> tuple[dict[str, object], list[str]]:
    """Return a stack file's `config`, and findings about keys that stand twice or elsewhere."""
    text, file = read_text(path), path.name
    try:
        reader = _Reader(text)
        document = reader.get_single_data()
    except (yaml.YAMLError, RecursionError, ValueError, TypeError) as error:
        line, reason = yaml_mistake(error)
        where = f"{file}:{line}" if line else file
        remedy = "correct this line or the one above"
        raise SettingsError([f"{where}: is not YAML, {reason}; {remedy}"]) from None
    if not isinstance(document, dict):
        remedy = "begin it with 'config:' and indent the rest"
        raise SettingsError([f"{file}: is not a mapping; {remedy}"])
    config = document.get("config")
    if not isinstance(config, dict):
        remedy = f"write 'config:' and under it '{PROJECT}:cluster: …'"
        raise SettingsError([f"{file}: config is not a mapping; {remedy}"])
    findings = [
        f"{file}:{line}: key {printed_key(name)} stands twice in one mapping; keep one"
        for line, name in reader.repeated
    ]
    findings += (
        f"{file}: {printed(name)} is no key of Pulumi's; a setting goes under config, as "
        + printed_key(f"{PROJECT}:{name.removeprefix(f'{PROJECT}:')}")
        for name in document
        if name not in PULUMI_KEYS
    )
    return config, findings


def printed_key(full_name: str) -> str:
    """Print a name such as "proxy-observability:vendors", where a project's may be misspelt."""
    namespace, _, name = full_name.partition(":")
    if is_harmless(name) and get_close_matches(namespace, [PROJECT], cutoff=0.8):
        return repr(full_name)
    return printed(full_name)


def own_values(config: Mapping[str, object], file: str, findings: list[str]) -> dict[str, object]:
    """Return the project's own keys without their prefix; another project's may be misspelt."""
    values: dict[str, object] = {}
    for full_name, value in config.items():
        namespace, colon, name = full_name.partition(":")
        key = f"{file}: key {printed_key(full_name)} of config"
        if namespace == PROJECT and colon:
            values[name] = value
        elif not colon:
            meant = printed_key(f"{PROJECT}:{full_name}")
            findings.append(f"{key} names no project; write it as {meant}")
        elif get_close_matches(namespace, [PROJECT], cutoff=0.8):
            meant = printed_key(f"{PROJECT}:{name}")
            findings.append(f"{key} is another project's; did you mean {meant}?")
    return values


def holds_encrypted(value: object) -> bool:
    if isinstance(value, Mapping):
        return encrypted(value) or any(map(holds_encrypted, value.values()))
    return isinstance(value, list) and any(map(holds_encrypted, value))


def as_json(value: object) -> str:
    """Return JSON as Go writes it: no spaces, letters of every script as they are."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, default=str)


def too_large(config: Mapping[str, str]) -> Iterator[str]:
    size = len(as_json(config).encode("utf-8", "surrogatepass"))
    if size > MOST_CONFIG_BYTES:
        largest = max(config, key=lambda name: len(config[name])).removeprefix(f"{PROJECT}:")
        files = "put long lists of ranges into files (vendors[].cidrsFile)"
        shorten = files if largest == "vendors" else "shorten it"
        yield (
            f"{largest}: the stack file's configuration is {-(-size // 1000)} kB, and Pulumi hands "
            "it to the program in one environment variable, which holds "
            f"{MOST_CONFIG_BYTES // 1000} kB; {shorten}"
        )
