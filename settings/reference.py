"""Writes docs/configuration.md from the models: `python -m settings.reference [--check]`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from settings.keys import KEYS, Key
from settings.loading import ROOT
from settings.model import (
    StackSettings,
    VendorOutcome,
    often_enough,
    reachable_objective,
)
from settings.sentences import as_yaml
from settings.values import (
    AddressRange,
    SecretText,
    Section,
    check_chart_source,
    check_dns_label,
    check_egress_host,
    check_endpoint,
    check_header_name,
    check_host_name,
    check_host_pattern,
    check_image,
    check_label_key,
    check_label_value,
    check_mail_address,
    check_mail_server,
    check_not_blank,
    check_object_name,
    check_path_in_root,
    check_secret_key,
    check_server_url,
    check_slack_channel,
    check_version,
    format_bytes,
    format_duration,
    format_share,
    parse_amount,
    parse_behaviour,
    parse_bytes,
    parse_cpu,
    parse_duration,
    parse_memory,
    parse_mix,
    parse_network,
    parse_ports,
    parse_proxy,
    parse_share,
    parse_vendor_network,
)

PAGE = ROOT / "docs" / "configuration.md"

# What an operator calls a type, by the function that reads it.
TYPE_NAMES = {
    parse_duration: "duration",
    often_enough: "duration",
    parse_bytes: "size",
    parse_share: "percentage",
    reachable_objective: "percentage",
    parse_network: "CIDR block",
    parse_vendor_network: "CIDR block",
    parse_ports: "port or range",
    parse_cpu: "CPU",
    parse_memory: "memory",
    check_dns_label: "DNS label",
    check_egress_host: "namespace/host",
    check_endpoint: "address:port",
    check_chart_source: "URL or path",
    check_header_name: "header name",
    check_host_name: "host",
    check_host_pattern: "host",
    check_image: "image",
    check_label_key: "label key",
    check_label_value: "label value",
    check_mail_address: "mail address",
    check_mail_server: "host:port",
    check_slack_channel: "channel",
    check_not_blank: "text",
    check_object_name: "name",
    check_path_in_root: "path",
    check_secret_key: "key",
    check_server_url: "URL",
    check_version: "version",
    parse_amount: "number",
    parse_behaviour: "behaviour",
    parse_mix: "shares",
    parse_proxy: "address:port or section",
}

# Required keys that another key can stand for.
INSTEAD = {"vendors[].cidrs": "required, or `cidrsFile`"}

INTRO = """\
# Configuration

<!-- Written by `python -m settings.reference` from settings/model.py; edit there. -->

A stack is one file, `Pulumi.<stack>.yaml`. Every key below stands under `config:` with the
project's name in front; only `cluster` and `vendors` are required:

```yaml
config:
  proxy-observability:cluster: prod
  proxy-observability:vendors:
    - name: vendor-a
      cidrs: [10.1.0.0/16]
```

A key that is not in these tables is refused, and so is a value of another type: nothing is
guessed. All that is wrong with a file is told at once, before anything is deployed:

```
vendors[1].cidrs[0]: '10.2.0.0/33' is not a CIDR block; prefix length is at most 32
```

`make which ADDRESS=10.1.0.10:3128 STACK=prod` reads the same file and says whose an address is.

A vendor with thousands of ranges has them in a file, named by `vendors[].cidrsFile`:

```
# ranges/vendor-a.txt
10.1.0.0/16
10.1.8.0/24 residential   # a pool's own range
2001:db8::/32
```

That is because Pulumi hands a whole stack file to the program in one environment variable, which
holds 128 KiB on Linux: about 6,500 IPv4 ranges. A larger stack file is refused. A mistake in such
a file is told with its line:

```
ranges/vendor-a.txt:7: '10.2.0.0/33' is not a CIDR block; prefix length is at most 32
```

How values are written:

- duration: whole numbers with units, `30s`, `10m`, `1h30m`, `7d`.
- size: a number and its unit; `GB` (or `G`) is 10^9 bytes, `Gi` is 2^30.
- CPU and memory: as in Kubernetes, `100m` or `"2"` (in quotes), `256M` or `256Mi`.
- percentage: `95%` or `99.5%`, more than 0 % and less than 100 %.
- path: from the project's root, without `..`.
- CIDR block: `10.1.0.0/16`, `2001:db8::/32`, or one address.
- port or range: `3128`, or `10000-10999` with both ends in it.
- host: in lower case, without a port; `*.shop.example` is every host below it, not itself.
- DNS label: 1 to 63 of `a-z`, `0-9` and `-`, first and last no `-`.

A whole section left out has the defaults shown. `requests` and `limits` are written in full
or not at all.
"""

# What Envoy and the attribution make of an answer when no rule of the vendor's matches.
DEFAULT_OUTCOMES = (
    ("Envoy answered itself; nothing reached the vendor", "rejected"),
    ("no connection to the vendor: refused or unreachable", "connect_failed"),
    (
        "no connection within the connect time-out, or the crawler left without an answer "
        "after `telemetry.patience` or more",
        "timeout",
    ),
    ("connection lost, or garbage, before or inside the answer", "reset"),
    ("the crawler left before the answer's headers, sooner than that", "client_cancelled"),
    ("407 to a request without `Proxy-Authorization` (not a failure)", "auth_challenge"),
    ("407", "auth_failed"),
    ("402", "quota_exhausted"),
    ("429", "rate_limited"),
    ("403, 451", "blocked"),
    (
        "5xx with a vendor's error header or `Proxy-Status`; any other non-2xx to CONNECT",
        "vendor_error",
    ),
    ("other 4xx and 5xx", "target_error"),
    ("1xx to 3xx", "success"),
)


def page() -> str:
    parts = [INTRO]
    for name in (str(field.alias) for field in StackSettings.model_fields.values()):
        parts.append(f"## {name}\n\n{table([key for key in KEYS.values() if of(key, name)])}")
    parts.append(outcomes())
    return "\n".join(parts)


def of(key: Key, name: str) -> bool:
    return key.path == name or key.path.startswith((f"{name}.", f"{name}["))


def table(keys: Sequence[Key]) -> str:
    rows = ["| key | type | default | meaning |", "|---|---|---|---|"]
    for key in keys:
        meaning = (key.field.description or "").replace("|", "\\|")
        rows.append(f"| `{key.path}` | {type_of(key)} | {default_of(key)} | {meaning} |")
    return "\n".join(rows) + "\n"


def type_of(key: Key) -> str:
    return type_name(key.field.annotation, key.field.metadata)


def type_name(annotation: Any, metadata: Sequence[Any] = ()) -> str:
    """The type in an operator's words; `metadata` holds the functions that read it."""
    for item in reversed(metadata):
        if (name := TYPE_NAMES.get(getattr(item, "func", None))) is not None:  # type: ignore[arg-type]
            return name
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return type_name(arguments[0], arguments[1:])
    if origin is Literal:
        return ", ".join(f"`{word}`" for word in arguments)
    if origin is tuple:
        item = type_name(arguments[0])
        return f"list of {'sections' if item == 'section' else item}"
    if origin is dict:
        return f"mapping of {type_name(arguments[0])} to {type_name(arguments[1])}"
    if origin in (Union, UnionType):
        return " or ".join(type_name(one) for one in arguments if one is not NoneType)
    if annotation is SecretText:
        return "encrypted text"
    if annotation is AddressRange:
        return "CIDR block or `{range, pool}`"
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return "section"
    return {bool: "true or false", int: "number", str: "text"}[annotation]


def default_of(key: Key) -> str:
    """The value a stack has that leaves the key out."""
    value = default_at(key.path)
    if value is NotImplemented:
        return INSTEAD.get(key.path, "required")
    if isinstance(value, Section):
        return "as below"
    if value is None or value == () or value == {}:
        return "none"
    kind = type_of(key)
    if kind == "duration":
        return f"`{format_duration(value)}`"
    if kind == "size":
        return f"`{format_bytes(value)}`"
    if kind == "percentage":
        return f"`{format_share(value)}`"
    return f"`{as_yaml(value)}`"


def default_at(path: str) -> Any:
    """What the models fill in at a path; NotImplemented where the key is required."""
    value: Any = NotImplemented
    for end in [*(i for i, letter in enumerate(path) if letter == "."), len(path)]:
        at = path[:end].removesuffix("[]")
        if at.endswith(".*"):
            value = NotImplemented
            continue
        field = KEYS[at].field
        if isinstance(value, Section) and not path[:end].endswith("[]"):
            names = {str(one.alias): name for name, one in type(value).model_fields.items()}
            value = getattr(value, names[at.rpartition(".")[2]])
        else:
            value = NotImplemented if field.is_required() else field.default
    return value


def outcomes() -> str:
    words = ", ".join(f"`{word}`" for word in get_args(VendorOutcome))
    rows = "\n".join(f"| {what} | `{outcome}` |" for what, outcome in DEFAULT_OUTCOMES)
    return f"""\
## Outcomes

A request's `proxy_outcome` is the first that matches: what Envoy saw of the connection, then the
vendor's own rules (`vendors[].outcomes`, in their order), then the status. A rule reads the
vendor's answer, so it can name
{words}.

| what happened | outcome |
|---|---|
{rows}

For a tunnel (CONNECT) it is the outcome of its set-up; what happens inside is encrypted and has
none. A rule for a vendor that answers 407 when the traffic is used up:

```yaml
outcomes:
  - {{status: 407, header: x-example-error, contains: traffic, outcome: quota_exhausted}}
```
"""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="reference", description="Write docs/configuration.md.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when stale")
    text = page()
    if parser.parse_args(arguments).check:
        if PAGE.exists() and PAGE.read_text(encoding="utf-8") == text:
            return 0
        print("docs/configuration.md: is stale; run python -m settings.reference", file=sys.stderr)
        return 1
    PAGE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
