"""What of an address is shown, and what is left out of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlperf_submission.addresses import is_loopback, scrubbed, shown


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("https://user:password@host:9000/x/y?token=1#part", "https://host:9000/x/y"),
        ("s3://user:pw@bucket/key", "s3://bucket/key"),
        ("http://user:p/w@host/x", "http://host/x"),
        ("user:pw@host:9000", "host:9000"),
        ("localhost:9000", "localhost:9000"),
        ("https://host/package@1.0/file", "https://host/package@1.0/file"),
        ("http://[::1]:90/x", "http://[::1]:90/x"),
        ("file:///a/b@c", "file:///a/b@c"),
        ("S3", "S3"),
    ],
)
def test_an_address_is_shown_without_what_may_be_secret(address: str, expected: str) -> None:
    assert shown(address) == expected


@given(
    st.sampled_from(["http", "https", "s3"]),
    st.text(st.characters(exclude_characters="@"), max_size=8).map(lambda text: f"SECRET{text}SECRET"),
    st.sampled_from(["host", "host:9000", "[::1]:9", ""]),
    st.sampled_from(["", "/", "/path/x", "?q=1"]),
)
def test_no_password_is_shown_whatever_is_in_it(scheme: str, password: str, host: str, path: str) -> None:
    assert "SECRET:" not in shown(f"{scheme}://user:{password}@{host}{path}")
    assert not shown(f"{scheme}://user:{password}@{host}{path}").endswith("SECRET")


def test_addresses_in_a_text_of_another_library_are_scrubbed() -> None:
    text = 'Could not connect to the endpoint URL: "http://u:p@h:1/b?X-Amz-Signature=3", again'
    assert scrubbed(text) == 'Could not connect to the endpoint URL: "http://h:1/b", again'


def test_loopback_is_this_machine() -> None:
    assert all(map(is_loopback, ["localhost", "127.0.0.1", "127.9.9.9", "::1"]))
    assert not any(map(is_loopback, ["", "example.org", "10.0.0.1", "localhost.example.org"]))
