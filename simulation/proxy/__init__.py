"""Simulated proxy vendors: HTTP, TLS and SOCKS5 proxy, and the target behind them.

One process serves every vendor of its plan. The first bytes decide: 0x05 is SOCKS5, 0x16 TLS with
an HTTP proxy inside, anything else HTTP. A request asks
for a fault by its host name: `fault-rate-limited.sim.test`. TLS, here or in a tunnel, presents
a self-signed certificate whose key is public, or the plan's own.

A vendor of the plan's `vendors` treats its customers as a real one does (`Behaviour`): it asks for
credentials, has exits, limits, latency and words of its own, and faults by chance. The control
endpoint changes that while it runs; a request already being served goes on as it began.

The books say what the vendor did and saw, from its own side; they are the witness the generator's
books are compared with. `counts` are requests seen in clear; `opaque` are connections that show
none (TLS, SOCKS5, and all on a place that listens `opaque`), booked when they close.
`wire` are all sockets, the open ones up to now, by what came first; its bytes are those given to
the kernel and taken from it, so a peer that left early may have got less. `exits` and `refusals`
say what was given inside of any protocol. Bytes that are no request are on the wire only.
"""
