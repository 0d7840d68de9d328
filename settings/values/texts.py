"""Hosts, URLs, paths and other texts."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, StrictStr

from settings.values.checked_text import Text

HOST_LABEL = r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"
PORT = r"0*([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"


def without_slash(url: str) -> str:
    return url.rstrip("/")


NotBlank = Annotated[
    StrictStr,
    Text("text", r".*\S.*", "is empty; write the value, or remove the key for its default"),
    Text("text", r"\S(.*\S)?", "begins or ends with a space; remove it"),
]
HeaderName = Annotated[
    NotBlank,
    Text(
        "header name",
        r"[!#$%&'*+.^_`|~0-9A-Za-z-]+",
        "is not the name of a header; use letters, digits and !#$%&'*+-.^_`|~ only, "
        "like x-example-error",
    ),
]
PrintableText = Annotated[
    NotBlank,
    Text(
        "text",
        r"[ -~]+",
        "becomes text of a Lua script, which holds printable ASCII alone; "
        "write a part of the value without other characters",
    ),
]
ChartSource = Annotated[
    NotBlank,
    Text(
        "URL or path",
        r"(https?|oci)://[^\s/]\S*|\.{0,2}/.*",
        "is neither a repository nor a folder of charts; write https://…, http://… or "
        "oci://…, or a path that begins with /, ./ or ../",
    ),
    Text(
        "URL or path",
        r"(?!\w+://.*[@?#]).*",
        "holds credentials or a query, which manifests would show in clear; use a repository that "
        "needs none, or a local folder of charts",
    ),
]
ServerUrl = Annotated[
    StrictStr,
    Text(
        "URL",
        rf"https?://[0-9A-Za-z.-]+(:{PORT})?(/[^\s?#@]*)?",
        "is not the address of a server; write it without login and query, like "
        "http://prometheus.monitoring.svc:9090",
    ),
    AfterValidator(without_slash),
]
BaseUrl = Annotated[
    StrictStr,
    Text(
        "URL",
        r"https?://[0-9A-Za-z.:-]+/([^\s?#@]*/)?",
        "is not the URL of a folder; write it with / at the end, like https://example.com/docs/",
    ),
]
Version = Annotated[
    StrictStr,
    Text(
        "version",
        r"[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?",
        "is not a release; write all three numbers, like 1.31.4",
    ),
]
HOST_PATTERN = Text(
    "host",
    rf"(?=.{{1,253}}$)(\*\.)?{HOST_LABEL}(\.{HOST_LABEL})*",
    "does not name a site; write a host in lower case without port, like shop.example, "
    "or *.shop.example for every host below it",
)
HostPattern = Annotated[StrictStr, HOST_PATTERN]
HostName = Annotated[
    HostPattern,
    Text(
        "host",
        r"[a-z0-9.-]+",
        "is not a domain; write letters, digits, '-' and '.', like shop.example",
    ),
]
PATH_IN_ROOT = Text(
    "path",
    r"(?!(.*/)?\.\.(/|$))[\w.-]([\w./ -]*[\w.-])?",
    "is not the path of a file in the project; write it from the project's root with letters, "
    "digits, '-', '_', '.', '/' and spaces inside, like ranges/vendor-a.txt",
)
PathInRoot = Annotated[StrictStr, PATH_IN_ROOT]
MailAddress = Annotated[
    StrictStr,
    Text(
        "mail address",
        r"[!#$%&'*+/=?^_`{|}~0-9A-Za-z.-]+@[0-9A-Za-z.-]+",
        "is not a mail address; write one, like team@example.com",
    ),
]
MailServer = Annotated[
    StrictStr,
    Text(
        "host:port",
        r"[0-9A-Za-z.-]+:[0-9]{1,5}",
        "is not a mail server; write host and port, like smtp.example.com:587",
    ),
]
StackName = Annotated[
    StrictStr,
    Text(
        "stack",
        r"[\w.-]{1,100}(/[\w.-]{1,100}){0,2}",
        "is not the name of a Pulumi stack; write prod-eu, or organization/project/stack",
    ),
]
SlackChannel = Annotated[
    StrictStr,
    Text(
        "channel", r"[#@]?[\w.-]{1,80}", "is not a channel of Slack; write its name, like #proxies"
    ),
]
