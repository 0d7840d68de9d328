"""A crawler behind a transparent sidecar: proxied traffic of an exact plan, with exact books.

It connects to the vendors' proxy addresses as real crawlers do and writes down, for every
count, the outcome a sidecar should see (*visible*, decided here by the table of outcomes, never
by asking the sidecar) and, beside it, what it was in truth (`true_...`: a ban page with 200, a
failure inside a tunnel). One count is a plain request (`http`), a CONNECT (`tunnel`), or an
opaque connection: TLS to the proxy (`tls`), SOCKS5 (`socks5`), and all of
a vendor whose connections a sidecar does not look into (`visible`).

An answer of the simulated vendor carries X-Sim-Vendor. One without it is the sidecar's own: then
the request's intent says what happened behind the sidecar, and where the intent says nothing the
count is `unexpected`. Works the same with no sidecar in between.

The plan's sequence of requests follows from its seed alone. A retry is a count more, drawn apart:
what the vendors do changes no later request.
"""
