"""Hosts, URLs, paths and other texts.

Every check raises `ValueError` with "reason; remedy".
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Annotated

from pydantic import AfterValidator, StrictStr

from settings.values.checked_text import matching, titled


def check_not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("is empty; write the value, or remove the key for its default")
    if text != text.strip():
        raise ValueError("begins or ends with a space; remove it")
    return text


def check_chart_source(text: str) -> str:
    if not re.fullmatch(r"(https?|oci)://[^\s/]\S*|\.{0,2}/.*", text):
        raise ValueError(
            "is neither a repository nor a folder of charts; write https://…, http://… or "
            "oci://…, or a path that begins with /, ./ or ../"
        )
    if "://" in text and "@" in text.split("/")[2]:
        raise ValueError(
            "holds credentials, which manifests would show in clear; use a repository that needs "
            "none, or a local folder of charts"
        )
    return text


def check_server_url(text: str) -> str:
    match = re.fullmatch(r"https?://[0-9A-Za-z.-]+(?::([0-9]{1,5}))?(/[^\s?#@]*)?", text)
    if match is None or not 1 <= int(match[1] or 1) <= 65535:
        raise ValueError(
            "is not the address of a server; write it without login and query, like "
            "http://prometheus.monitoring.svc:9090"
        )
    return text.rstrip("/")


def check_host_pattern(text: str) -> str:
    """A host of the crawled sites: "shop.example", or "*.shop.example" for those below it."""
    label = r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"
    if not re.fullmatch(rf"(?=.{{1,253}}$)(\*\.)?{label}(\.{label})*", text):
        raise ValueError(
            "does not name a site; write a host in lower case without port, like shop.example, "
            "or *.shop.example for every host below it"
        )
    return text


def check_host_name(text: str) -> str:
    if text.startswith("*") or not re.fullmatch(r"[a-z0-9.-]+", check_host_pattern(text)):
        raise ValueError("is not a domain; write letters, digits, '-' and '.', like shop.example")
    return text


def check_path_in_root(text: str) -> str:
    """The path of a file below the project's root: "ranges/vendor-a.txt"."""
    path = PurePosixPath(text)
    if path.is_absolute() or ".." in path.parts:
        raise ValueError(
            "leads out of the project; write the path from its root, like ranges/vendor-a.txt"
        )
    if not re.fullmatch(r"[\w.-]([\w./ -]*[\w.-])?", text):
        raise ValueError(
            "is not the path of a file; use letters, digits, '-', '_', '.', '/' and spaces inside, "
            "like ranges/vendor-a.txt"
        )
    return text


def check_mail_server(text: str) -> str:
    host, _, port = text.rpartition(":")
    if not re.fullmatch(r"[0-9A-Za-z.-]+", host) or not re.fullmatch(r"[0-9]{1,5}", port):
        raise ValueError("is not a mail server; write host and port, like smtp.example.com:587")
    return text


NotBlank = Annotated[StrictStr, AfterValidator(check_not_blank), titled("text")]
HeaderName = Annotated[
    NotBlank,
    matching(
        r"[!#$%&'*+.^_`|~0-9A-Za-z-]+",
        "is not the name of a header; use letters, digits and !#$%&'*+-.^_`|~ only, "
        "like x-example-error",
    ),
    titled("header name"),
]
PrintableText = Annotated[
    NotBlank,
    matching(
        r"[ -~]+",
        "becomes text of a Lua script, which holds printable ASCII alone; "
        "write a part of the value without other characters",
    ),
    titled("text"),
]
ChartSource = Annotated[NotBlank, AfterValidator(check_chart_source), titled("URL or path")]
ServerUrl = Annotated[StrictStr, AfterValidator(check_server_url), titled("URL")]
BaseUrl = Annotated[
    StrictStr,
    matching(
        r"https?://[0-9A-Za-z.:-]+/([^\s?#@]*/)?",
        "is not the URL of a folder; write it with / at the end, like https://example.com/docs/",
    ),
    titled("URL"),
]
Version = Annotated[
    StrictStr,
    matching(
        r"[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?",
        "is not a release; write all three numbers, like 1.31.4",
    ),
    titled("version"),
]
HostPattern = Annotated[StrictStr, AfterValidator(check_host_pattern), titled("host")]
HostName = Annotated[StrictStr, AfterValidator(check_host_name), titled("host")]
PathInRoot = Annotated[StrictStr, AfterValidator(check_path_in_root), titled("path")]
MailAddress = Annotated[
    StrictStr,
    matching(
        r"[!#$%&'*+/=?^_`{|}~0-9A-Za-z.-]+@[0-9A-Za-z.-]+",
        "is not a mail address; write one, like team@example.com",
    ),
    titled("mail address"),
]
MailServer = Annotated[StrictStr, AfterValidator(check_mail_server), titled("host:port")]
StackName = Annotated[
    StrictStr,
    matching(
        r"[\w.-]{1,100}(/[\w.-]{1,100}){0,2}",
        "is not the name of a Pulumi stack; write prod-eu, or organization/project/stack",
    ),
    titled("stack"),
]
SlackChannel = Annotated[
    StrictStr,
    matching(r"[#@]?[\w.-]{1,80}", "is not a channel of Slack; write its name, like #proxies"),
    titled("channel"),
]
