"""What is kept from one detail log to the next: the memory that they are read into, and their long lists."""

from __future__ import annotations

from functools import cached_property

import numpy as np

LONG_LIST = 4096
"""Bytes; a longer message whose value is a list of numbers (`loaded_qsl_set`) is checked, but not kept."""
WHOLE = 8 << 20
"""Bytes; a log up to this size is read at once, a longer one line by line."""

_LIST_BEGINS = b'"value": ['
_LISTS_KNOWN = 128
_LONGEST_KNOWN = 1 << 17
_TELLING = 64
_COMMA, _ZERO = np.uint8(ord(",")), np.uint8(ord("0"))


class LogMemory:
    """Belongs to whoever reads many logs, in one thread.

    Fresh memory for each log would cost as much time as reading it.
    """

    def __init__(self) -> None:
        self._lists: dict[tuple[int, bytes], bytes] = {}
        """Lists of numbers that were looked at, by length and first bytes; at most 16 MiB."""

    @cached_property
    def room(self) -> bytearray:
        """The memory that a log is read into, a byte longer than the longest."""
        return bytearray(WHOLE + 1)

    def without_long_list(self, data: bytes | bytearray, at: int, end: int) -> bytes | None:
        """Return the line of `data` from `at` to `end` with its list of numbers emptied; None if it has none.

        Looking at the characters of a list is many times faster than parsing it. Comparing it with one that
        was looked at is faster still, and the seeds of a round give most of its logs the same lists.
        """
        if end - at <= LONG_LIST:
            return None
        begin = data.find(_LIST_BEGINS, at, end)
        close = data.find(b"]", begin, end)
        if begin < 0 or close < 0:
            return None
        begin += len(_LIST_BEGINS)
        if close == begin:
            return None
        kind = close - begin, bytes(data[begin : begin + _TELLING])
        known = self._lists.get(kind)
        if known is not None and data.startswith(known, begin):
            return bytes(data[at:begin] + data[close:end])
        numbers = np.frombuffer(data, np.uint8, close - begin, begin)
        commas = numbers == _COMMA
        if commas[0] or commas[-1] or (commas[1:] & commas[:-1]).any():
            return None
        if not (commas | (numbers - _ZERO < 10)).all():  # unsigned: what is below 0 is above 9
            return None
        if close - begin <= _LONGEST_KNOWN:
            if len(self._lists) >= _LISTS_KNOWN:
                self._lists.clear()
            self._lists[kind] = bytes(data[begin:close])
        return bytes(data[at:begin] + data[close:end])
