# SPDX-License-Identifier: GPL-2.0-only
from pathlib import Path

import pytest

from harness.cluster.address import endpoint
from harness.errors import SpecError

TLS = Path("/tls")


@pytest.mark.parametrize(
    ("text", "tls", "meant"),
    [
        ("127.0.0.1", None, "tcp://127.0.0.1:8786"),
        ("127.1.2.3:99", None, "tcp://127.1.2.3:99"),
        ("localhost:0", None, "tcp://localhost:0"),
        ("tcp://[::1]:5", None, "tcp://[::1]:5"),
        ("127.0.0.1", TLS, "tls://127.0.0.1:8786"),
        ("tls://host.example:1/", TLS, "tls://host.example:1"),
        ("192.0.2.1", TLS, "tls://192.0.2.1:8786"),
    ],
)
def test_an_address_is_encrypted_if_there_are_certificates(
    text: str, tls: Path | None, meant: str
) -> None:
    assert str(endpoint(text, tls)) == meant


@pytest.mark.parametrize(
    ("text", "tls", "said"),
    [
        ("192.0.2.1", None, "192.0.2.1 needs TLS"),
        ("tcp://192.0.2.1:8786", None, "needs TLS"),
        ("::1", None, "not the address"),
        ("localhost.example", None, "needs TLS"),
        ("127.0.0.1.example", None, "needs TLS"),
        ("tls://127.0.0.1", None, "needs TLS"),
        ("tcp://127.0.0.1", TLS, "in the clear"),
        ("http://127.0.0.1", None, "not the address"),
        ("127.0.0.1:70000", None, "not the address"),
        ("a:b:c", None, "not the address"),
        ("", None, "not the address"),
    ],
)
def test_an_address_in_the_clear_is_on_loopback_only(
    text: str, tls: Path | None, said: str
) -> None:
    with pytest.raises(SpecError) as caught:
        endpoint(text, tls)
    assert said in caught.value.line()
    assert (caught.value.exit_code, "\n" in caught.value.line()) == (2, False)
