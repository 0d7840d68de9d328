"""Which vendors' usage can be asked for, by name."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import date

from money.usage import bright_data, decodo, oxylabs, oxylabs_unblocker, webshare, zyte
from money.usage.account import Account, Credentials
from money.usage.figures import Usage, UsageError

Api = Callable[[Account, Credentials, date, date], Usage]

APIS: Mapping[str, Api] = {
    "bright-data": bright_data.usage,
    "decodo": decodo.usage,
    "oxylabs": oxylabs.usage,
    "oxylabs-unblocker": oxylabs_unblocker.usage,
    "webshare": webshare.usage,
    "zyte": zyte.usage,
}
"""Other vendors document no usage by day: NetNut's and IPRoyal's APIs give totals alone."""

NAME = re.compile(r"[\w.-]{1,100}")


def usage_of(account: Account, credentials: Credentials, start: date, end: date) -> Usage:
    """Ask a vendor for the days from `start` up to, without, `end`, in its own time zone.

    Raises:
        UsageError: there is no answer, or it is not as documented. Nothing of it is used.
    """
    if account.api not in APIS:
        raise UsageError(f"usage.api: is none of {', '.join(APIS)}; give a CSV file with FILE=")
    for name in account.products:
        if not NAME.fullmatch(name):
            raise UsageError(
                "usage.products: a name has other characters than letters, digits, ._-"
            )
    return APIS[account.api](account, credentials, start, end)
