"""A crawler behind a transparent sidecar: proxied traffic of an exact plan, with exact books.

It connects to the vendors' proxies as real crawlers do. For every count it writes down the outcome
that a sidecar should see, which follows from the table of outcomes and not from the sidecar. Beside
it stands what the count was in truth (`true_...`): a ban page with 200, a failure inside a tunnel.
One count is a plain request (`http`), a CONNECT (`tunnel`), a SOCKS5 connection whose handshake is
read (`socks`), or an opaque connection: TLS to the proxy, other SOCKS5, and all to a vendor that
shows its connections alone (`visible`).

An answer of the simulated vendor carries X-Sim-Vendor. An answer without it is the sidecar's: then
the intent of the request says what happened behind the sidecar, and where it says nothing the count
is `unexpected`. The crawler works the same without a sidecar.

The planned requests follow from the plan's seed alone. A retry is one count more, and changes no
later request.
"""
