"""Simulated proxy vendors: HTTP, TLS and SOCKS5 proxy, and the target behind them.

One process serves every vendor of its plan. The first byte decides: 0x05 is SOCKS5, 0x16 TLS with
an HTTP proxy inside, anything else HTTP. The host name of a request may ask for a fault:
`fault-rate-limited.sim.test`. TLS presents a self-signed certificate whose key is public, or the
plan's certificate.

A vendor of the plan's `vendors` treats its customers as a real one does (`Behaviour`): it asks for
credentials, has exits, limits, latency, wordings of its errors, and faults by chance. The control
endpoint changes that while it runs; a request that is being served goes on as it began.

The books say what the vendor did and saw, and the counts of crawler and mesh are compared with
them. `counts` are requests in clear, and SOCKS5 where a sidecar reads it (`visible`).
`opaque` are connections that show none (TLS, other SOCKS5, and all where connections alone are
visible), counted when they close. `wire` are all sockets up to now, by
protocol: bytes that the kernel took and gave, so a client that left early may have got less.
`exits` and `refusals` count in every protocol. Bytes that are no request are in `wire` alone.
"""
