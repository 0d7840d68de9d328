"""Run the rendered Lua script as Envoy would, before any sidecar gets it."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator, Mapping
from typing import Any

try:
    from lupa.luajit21 import LuaError, LuaRuntime
except ImportError:  # lupa has no LuaJIT for macOS; 5.1 is LuaJIT's language
    from lupa.lua51 import LuaError, LuaRuntime

from components.attribution.groups import Group, by_address
from settings.catalogue import Catalogue, Route
from settings.products import product_of
from settings.vendors import OutcomeRule, Vendor

NAMESPACE = "proxy_observability"
SAMPLES = 100  # ranges of a group that are tried, each with its first and last address
ANY_PORT = 3128

# The handle that Envoy gives the hooks, as far as the script may use it. For a missing header `get`
# returns no value at all, not nil (seen on Envoy 1.40).
_ENVOY = """
function stream(address, headers)
  local handle = { written = {} }
  local metadata = {}
  function metadata:get(namespace) return handle.written[namespace] end
  function metadata:set(namespace, key, value)
    handle.written[namespace] = handle.written[namespace] or {}
    handle.written[namespace][key] = value
  end
  local info = {}
  function info:downstreamLocalAddress() return address end
  function info:dynamicMetadata() return metadata end
  local map = {}
  function map:get(name)
    if handle.fields[name] == nil then return end
    return handle.fields[name]
  end
  handle.fields = headers
  function handle:streamInfo() return info end
  function handle:headers() return map end
  return handle
end
"""


class Script:
    """A loaded script, called as Envoy calls it.

    Raises:
        lupa.luajit21.LuaError: it does not load, or, from `request`, it raises.
    """

    def __init__(self, source: str) -> None:
        self.lua = LuaRuntime(unpack_returned_tuples=True, encoding="latin-1")
        self.lua.execute(_ENVOY)
        self.lua.execute(source)

    def request(
        self,
        address: str,
        *,
        authority: str = "shop.example",
        authorization: str | None = None,
        answer: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """Run the hooks and return the metadata that the script wrote.

        Args:
            address: the connection's destination, as Envoy prints it: "10.1.0.10:3128".
            authority: the request's `:authority`.
            authorization: its `Proxy-Authorization`, if it has one. Text is Latin-1, since Lua's
                is bytes.
            answer: the vendor's headers with `:status`; None if there is no answer. A hook that
                the script lacks is not called, as in Envoy.
        """
        sent = {} if authorization is None else {"proxy-authorization": authorization}
        fields = self.lua.table_from({":authority": authority, **sent})
        script = self.lua.globals()
        handle = script.stream(address, fields)
        if script.envoy_on_request:
            script.envoy_on_request(handle)
        if answer is not None and script.envoy_on_response:
            handle.fields = self.lua.table_from(answer)
            script.envoy_on_response(handle)
        return dict(handle.written[NAMESPACE] or {})


def script_faults(group: Group, source: str, catalogue: Catalogue) -> Iterator[str]:
    """Yield what is wrong with a group's script.

    For samples of the addresses that Envoy leads to this group's chains, the script must name the
    pool that the stack's catalogue names, or the user's product, and give the outcomes of that
    vendor's own rules.
    """
    try:
        script = Script(source)
    except LuaError as error:
        yield f"does not load: {first_line(error)}"
        return
    networks = {network for chain in group.chains for network in chain.networks}
    for network in sorted(networks, key=by_address)[:: max(1, len(networks) // SAMPLES)]:
        for address in (network[0], network[-1]):
            covering = catalogue.covering(address)
            if covering[0].network not in networks:
                continue  # a longer prefix leads to another chain
            bounds = [bound for route in covering for bound in route.ports]
            ports = {ANY_PORT, *(b.first for b in bounds), *(b.last for b in bounds)}
            for port in sorted(ports | {b.last + 1 for b in bounds if b.last < 65535}):
                text = f"[{address}]:{port}" if network.version == 6 else f"{address}:{port}"
                route = catalogue.find(address, port)
                for fault in _faults_at(script, group, text, route):
                    yield fault
                    return


def _faults_at(script: Script, group: Group, text: str, route: Route | None) -> Iterator[str]:
    """Yield what is wrong for one destination, which `route` decides."""
    owner = next((one for one in group.vendors if route and one.name == route.vendor), None)
    name = owner.name if owner else "no vendor"
    pool = route.pool if route else ""
    answers = [_answer_to(rule) for one in group.vendors for rule in one.outcomes]
    for answer in ({":status": "200"}, *answers):
        try:
            found = script.request(text, answer=answer)
        except LuaError as error:
            yield f"raises for {text}: {first_line(error)}"
            return
        for kind in ("plain", "tunnel"):
            expected = (pool, _verdict(owner, answer, kind))
            verdict = found.get(f"verdict_{kind}", found.get("verdict", ""))
            seen = (found.get("proxy_pool", ""), verdict)
            if seen != expected:
                yield f"says {seen} for {text}; the catalogue says {expected}, of {name}"
    for pattern in (product.user for one in group.vendors for product in one.products):
        user = pattern.replace("*", "x")
        try:
            found = script.request(text, authorization=basic(user))
        except LuaError as error:
            yield f"raises for {text} and a user like {pattern}: {first_line(error)}"
            return
        wanted = product_of(owner.products if owner else (), user) or pool
        said = found.get("proxy_pool", "")
        if said != wanted:
            yield (
                f"says {said!r} for {text} and a user like {pattern}; "
                f"the stack says {wanted!r}, of {name}"
            )


def basic(user: str, password: str = "x") -> str:
    """Return `Proxy-Authorization` as a crawler sends it; both are Latin-1."""
    return f"Basic {b64encode(f'{user}:{password}'.encode('latin-1')).decode()}"


def _answer_to(rule: OutcomeRule) -> dict[str, str]:
    """Return an answer that a rule fits."""
    header = {rule.header.lower(): rule.contains or ""} if rule.header else {}
    return {":status": str(rule.status), **header}


def _verdict(vendor: Vendor | None, answer: Mapping[str, str], kind: str) -> str:
    for rule in vendor.outcomes if vendor else ():
        value = answer.get(rule.header.lower()) if rule.header else ""
        has_text = value is not None and (rule.contains or "") in value
        if has_text and str(rule.status) == answer[":status"] and rule.kind in ("any", kind):
            return rule.outcome
    return ""


def first_line(error: LuaError) -> str:
    """Return Lua's message without the stack trace."""
    return str(error).partition("\n")[0]
