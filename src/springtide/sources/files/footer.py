"""What the footer of a Parquet file says of its size: a few kilobytes may unpack to many gigabytes."""

from __future__ import annotations

from typing import TypeAlias

__all__ = ["announced_bytes"]

Value: TypeAlias = "bool | int | bytes | list[Value] | dict[int, Value]"

ROW_GROUPS, TOTAL_BYTE_SIZE = 4, 2  # fields of FileMetaData and of RowGroup


def announced_bytes(data: bytes) -> int:
    """The bytes of all columns, not compressed, as the writer has counted them; 0 where the footer does not say.

    Source: https://github.com/apache/parquet-format (FileMetaData, RowGroup), and Thrift's compact protocol.
    """
    length = int.from_bytes(data[-8:-4], "little")
    try:
        groups = _Footer(data[-8 - length : -8]).struct().get(ROW_GROUPS)
    except (IndexError, RecursionError):
        return 0
    sizes = (
        [group.get(TOTAL_BYTE_SIZE) for group in groups if isinstance(group, dict)] if isinstance(groups, list) else []
    )
    return sum(size for size in sizes if isinstance(size, int))


class _Footer:
    """Reads values of Thrift's compact protocol, one after another."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def struct(self) -> dict[int, Value]:
        """The fields of a struct by their numbers."""
        fields: dict[int, Value] = {}
        number = 0
        while head := self._byte():
            number = number + (head >> 4) if head >> 4 else self._signed()
            fields[number] = head & 15 == 1 if head & 15 in (1, 2) else self._value(head & 15)  # a truth has no byte
        return fields

    def _value(self, kind: int) -> Value:
        match kind:
            case 1 | 2 | 3:
                return self._byte()
            case 4 | 5 | 6:
                return self._signed()
            case 7:
                return self._bytes(8)
            case 8:
                return self._bytes(self._varint())
            case 9 | 10:
                head = self._byte()
                count = head >> 4 if head >> 4 < 15 else self._varint()
                return [self._value(head & 15) for _ in range(count)]
            case 12:
                return self.struct()
        raise IndexError  # a map, of which Parquet has none, or no such kind

    def _byte(self) -> int:
        self._at += 1
        return self._data[self._at - 1]

    def _bytes(self, count: int) -> bytes:
        self._at += count
        if self._at > len(self._data):
            raise IndexError
        return self._data[self._at - count : self._at]

    def _varint(self) -> int:
        number = shift = 0
        while (byte := self._byte()) & 128:
            number |= (byte & 127) << shift
            shift += 7
        return number | byte << shift

    def _signed(self) -> int:
        number = self._varint()
        return number >> 1 ^ -(number & 1)
