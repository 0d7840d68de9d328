"""The exporter asks vendors by accounts and Secrets that are mounted."""

from __future__ import annotations

import pytest

from money.usage.account import Account
from money.usage.figures import UsageError
from money.usage.scheduled import accounts_json, asks_of
from tests.money.test_usage_apis import END, SECRET, START
from tests.money.usage_servers import ANSWERS, serving


def test_each_vendor_is_asked_with_its_own_secret(tmp_path):
    """A password that changes is read anew, and none is in what the ConfigMap holds."""
    with serving(ANSWERS["decodo"]) as server:
        account = Account(vendor="vendor-a", api="decodo", url=server.url)
        text = accounts_json([account])
        ask = asks_of(text, tmp_path)["vendor-a"]
        with pytest.raises(UsageError, match="USAGE_TOKEN: is not set"):
            ask(START, END)
        (tmp_path / "vendor-a").mkdir()
        (tmp_path / "vendor-a" / "token").write_text(f"{SECRET}\n")
        assert ask(START, END)[START] == 1000.0
    assert server.logins == [SECRET]
    assert SECRET not in text
