"""What is kept from one detail log to the next: the memory that they are read into, and their long lists."""

from __future__ import annotations

from functools import cached_property

import numpy as np

LONG_LIST = 4096
"""Bytes; a longer list of numbers (`loaded_qsl_set`) is checked, but not kept."""
WHOLE = 8 << 20
"""Bytes; a log up to this size is read at once, a longer one line by line."""

_LIST_BEGINS = b'"value": ['
_KNOWN = 16 << 20
"""Bytes of the lists that are kept; those of a whole round have 9 MB."""
_TELLING = 64
_COMMA, _ZERO = np.uint8(ord(",")), np.uint8(ord("0"))


class LogMemory:
    """Belongs to whoever reads many logs, in one thread.

    Fresh memory for each log would cost as much time as reading it.
    """

    def __init__(self) -> None:
        self._lists: dict[tuple[int, bytes], bytes] = {}
        """Lists of numbers that were looked at, by length and first bytes."""
        self._free = _KNOWN

    @cached_property
    def room(self) -> bytearray:
        """The memory that a log is read into, a byte longer than the longest."""
        return bytearray(WHOLE + 1)

    def end_of_numbers(self, data: bytes | bytearray, begin: int, end: int) -> int:
        """Return where in `data` the list of numbers ends whose first is at `begin`; -1 if it is no long one.

        Looking at the characters of a list is many times faster than parsing it. Comparing it with one that
        was looked at is faster still, and the seeds of a round give most of its logs the same lists.
        """
        close = data.find(b"]", begin, end)
        if close - begin < LONG_LIST:
            return -1
        kind = close - begin, bytes(data[begin : begin + _TELLING])
        known = self._lists.get(kind)
        if known is not None and data.startswith(known, begin):
            return close
        numbers = np.frombuffer(data, np.uint8, close - begin, begin)
        commas = numbers == _COMMA
        if commas[0] or commas[-1] or (commas[1:] & commas[:-1]).any():
            return -1
        if not (commas | (numbers - _ZERO < 10)).all():  # unsigned: what is below 0 is above 9
            return -1
        if self._free < close - begin:
            self._lists.clear()
            self._free = _KNOWN
        self._lists[kind] = bytes(data[begin:close])
        self._free -= close - begin
        return close

    def without_long_list(self, line: bytes) -> bytes | None:
        """Return a line with its long list of numbers emptied; None if it has none."""
        begin = line.find(_LIST_BEGINS) + len(_LIST_BEGINS)
        close = self.end_of_numbers(line, begin, len(line)) if len(line) > LONG_LIST else -1
        return line[:begin] + line[close:] if close >= 0 else None
