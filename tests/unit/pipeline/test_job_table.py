"""Any table that people send, as typed columns; what cannot be learned from is refused with what to do."""

from __future__ import annotations

import gzip
import io
import zipfile
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import polars as pl
import psutil
import pytest

from springtide.domain.errors import BadRows, TooFewRows, TooLarge
from springtide.domain.job import JobParams
from springtide.pipeline.jobs.table import JobTable, cut, read_table
from springtide.trainers.task import Column

if TYPE_CHECKING:
    from collections.abc import Callable


def csv(*, rows: int = 60, separator: str = ",", target: Callable[[int], object] = lambda n: n % 7) -> bytes:
    lines = [separator.join(["day", "town", "size", "sold"])]
    for number in range(rows):
        day = f"2024-{1 + number // 28:02}-{1 + number % 28:02}"
        lines.append(separator.join([day, f"t{number % 3}", str(number / 2), str(target(number))]))
    return "\n".join(lines).encode()


def read(data: bytes, name: str = "sales.csv", **params: Any) -> JobTable:
    return read_table(data, name, JobParams(**{"target": "sold", **params}))


def parquet(*, rows: int = 60, sold: Any = None, **columns: Any) -> bytes:
    """A Parquet file with the columns `size`, `sold` and those that are given."""
    numbers = [float(n) for n in range(rows)]
    file = io.BytesIO()
    pl.DataFrame({"size": numbers, "sold": numbers if sold is None else sold, **columns}).write_parquet(file)
    return file.getvalue()


def test_columns_get_the_kind_of_what_they_hold() -> None:
    table = read(csv())
    assert table.columns == (Column("day", "date"), Column("town", "category"), Column("size", "number"))
    assert (table.question, table.classes, table.frame.height) == ("regression", (), 60)


@pytest.mark.parametrize("separator", [";", "\t", "|"])
def test_any_usual_separator_is_understood(separator: str) -> None:
    assert read(csv(separator=separator)).frame.equals(read(csv()).frame)


def test_a_parquet_file_gives_the_same_table_as_the_csv() -> None:
    file = io.BytesIO()
    pl.read_csv(csv(), try_parse_dates=True).write_parquet(file)
    assert read(file.getvalue(), "sales.parquet").frame.equals(read(csv()).frame)


def test_a_byte_order_mark_and_quoted_newlines_are_read_as_what_they_are() -> None:
    lines = ["name,sold", *(f'"first\nsecond {n % 3}",{n}' for n in range(50))]
    table = read(b"\xef\xbb\xbf" + "\n".join(lines).encode())
    assert table.frame["name"][0] == "first\nsecond 0"


def test_what_looks_like_a_formula_stays_text() -> None:
    lines = ["note,sold", *(f"=1+{n % 4},{n}" for n in range(50))]
    table = read("\n".join(lines).encode())
    assert table.columns == (Column("note", "category"),)
    assert table.frame["note"][1] == "=1+1"


def test_a_column_named_line_is_a_feature_like_any_other() -> None:
    lines = ["line,sold", *(f"{'AB'[n % 2]},{n}" for n in range(50))]
    assert read("\n".join(lines).encode()).columns == (Column("line", "category"),)
    assert read("\n".join(lines).encode(), features=("line",)).columns == (Column("line", "category"),)
    assert Column("line", "category") in read(parquet(line=["A", "B"] * 30), "sales.parquet").columns


@pytest.mark.parametrize(
    ("separator", "cells", "numbers"),
    [
        (";", ["1,5", "-2", "", "0,25"], [1.5, -2.0, None, 0.25]),
        ("\t", ["1 234,5", "12", "NA", "-1 000 000"], [1234.5, 12.0, None, -1e6]),
        (";", ["1\u00a0234,5", "7,0", "-", "1\u202f000"], [1234.5, 7.0, None, 1000.0]),
    ],
)
def test_numbers_with_decimal_commas_are_numbers_where_the_cells_are_not_separated_by_commas(
    separator: str, cells: list[str], numbers: list[float | None]
) -> None:
    lines = [separator.join(["price", "sold"]), *(separator.join([cells[n % 4], f"{n},5"]) for n in range(60))]
    table = read("\n".join(lines).encode())
    assert table.columns == (Column("price", "number"),)
    assert table.frame["price"][:4].to_list() == numbers
    assert table.frame["sold"][:2].to_list() == [0.5, 1.5]


@pytest.mark.parametrize(
    ("separator", "cells"),
    [(",", ['"1,5"', '"2,5"']), (";", ["1,5", "2.5"]), (";", ["1,5", "1,2,3"]), (";", ["12 34", "5"])],
)
def test_what_may_be_another_number_than_it_looks_stays_text(separator: str, cells: list[str]) -> None:
    lines = [separator.join(["price", "sold"]), *(separator.join([cells[n % 2], str(n)]) for n in range(60))]
    assert read("\n".join(lines).encode()).columns == (Column("price", "category"),)


@pytest.mark.parametrize("form", ["%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d %H:%M:%S+00:00", "%d.%m.%Y %H:%M", "%Y-%m-%dT%H:%M"])
def test_times_are_understood_in_the_forms_that_people_write(form: str) -> None:
    times = [datetime(2024, 1, 31, 12) + timedelta(days=n) for n in range(50)]  # noqa: DTZ001 # UTC without a zone
    lines = ["at,sold", *(f"{time.strftime(form)},{n}" for n, time in enumerate(times))]
    assert read("\n".join(lines).encode()).frame["at"].to_list() == times


def test_a_day_of_a_year_of_two_digits_is_no_time_of_the_first_century() -> None:
    lines = ["at,sold", *(f"{1 + n % 28}.01.26,{n}" for n in range(50))]
    assert {time.year for time in read("\n".join(lines).encode()).frame["at"]} == {2026}


def test_rows_come_in_the_order_of_time_where_a_column_says_it() -> None:
    lines = csv().decode().splitlines()
    turned = "\n".join([lines[0], *reversed(lines[1:])]).encode()
    assert read(turned, time="day").frame.equals(read(csv(), time="day").frame)


@pytest.mark.parametrize(
    ("values", "question", "classes"),
    [
        (lambda n: "yes" if n % 3 else "no", "binary", ("no", "yes")),
        (lambda n: n % 2, "binary", ("0", "1")),
        (lambda n: f"c{n % 4}", "multiclass", ("c0", "c1", "c2", "c3")),
        (lambda n: n * 1.5, "regression", ()),
    ],
)
def test_what_is_asked_is_told_from_the_target(
    values: Callable[[int], object], question: str, classes: tuple[str, ...]
) -> None:
    table = read(csv(target=values))
    assert (table.question, table.classes) == (question, classes)


def test_rows_without_a_target_and_columns_without_a_value_are_left_out_and_told() -> None:
    lines = ["size,empty,sold", *(f"{n},,{n if n % 10 else ''}" for n in range(60))]
    table = read("\n".join(lines).encode())
    assert table.frame.height == 54
    assert table.columns == (Column("size", "number"),)
    assert table.notes == (
        "6 rows without a target were left out",
        "column 'empty' has no value and was left out",
    )


@pytest.mark.parametrize(
    ("data", "params", "what"),
    [
        (csv(), {"target": "solt"}, "there is no column 'solt'"),
        (csv(), {"features": ("sice",)}, "there is no column 'sice'"),
        (csv(), {"time": "town"}, "column 'town' holds no times"),
        (csv(target=lambda _n: "same"), {}, "has one value only: 'same'"),
        (csv(target=lambda _n: ""), {}, "has no value at all"),
        (csv(target=lambda n: f"c{n}"), {"question": "regression"}, "is no number: 'c0'"),
        (csv(target=lambda n: f"c{n % 3}"), {"question": "binary"}, "3 classes where two were asked for"),
        (b"", {}, "the file is empty"),
        (b"day,town\n", {}, "a header and no rows"),
        (b"1,2\n3,4\n" * 40, {}, "no names of columns"),
        (b"sold,sold\n" + b"1,2\n" * 40, {}, "two columns are called 'sold'"),
        (csv().decode().encode("utf-16"), {}, "the text is not UTF-8"),
        ("größe,sold\n".encode("latin-1") + b"1,2\n" * 40, {}, "not UTF-8"),
        (b"PAR1 this is no parquet", {}, "cannot be read as Parquet"),
        (b"\x1f\x8b truncated", {}, "cannot be read as gzip"),
        (parquet(c=[[1, 2]] * 60), {}, "column 'c' holds List(Int64)"),
        (parquet(c=[timedelta(1)] * 60), {}, "column 'c' holds Duration"),
        (parquet(c=[b"\xff\xfe"] * 60), {}, "column 'c' holds bytes that are no UTF-8"),
        (parquet(c=pl.Series([2**31 - 1] * 60, dtype=pl.Int32).cast(pl.Date)), {}, "column 'c' holds times"),
        (parquet(c=pl.Series([2**62] * 60).cast(pl.Datetime("ms", "UTC"))), {}, "column 'c' holds times"),
        (parquet(sold=[*map(float, range(59)), float("inf")]), {}, "1 values of the target 'sold' are infinite"),
        (parquet(sold=[1e200, -1e200] * 30), {}, "60 values of the target 'sold' are infinite or beyond 1e+150"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_learned_from_is_refused_with_its_reason(data: bytes, params: dict[str, Any], what: str) -> None:
    with pytest.raises(BadRows) as refused:
        read(data, **params)
    assert what in refused.value.what
    assert refused.value.do


def test_too_few_rows_are_refused_with_how_many_are_needed() -> None:
    with pytest.raises(TooFewRows, match="30 rows with a target"):
        read(csv(rows=30))


def test_the_latest_rows_judge_and_rows_of_one_time_stay_together() -> None:
    lines = ["day,size,sold", *(f"2024-01-{1 + n // 10:02},{n},{n}" for n in range(200))]
    parts = cut(read("\n".join(lines).encode(), time="day"), 0.25, not_before=None)
    assert (parts.training.height, parts.judging.height) == (150, 50)
    assert parts.training["day"].max() < parts.judging["day"].min()  # type: ignore[operator] # datetimes


def test_what_the_champion_has_seen_does_not_judge() -> None:
    lines = ["day,size,sold", *(f"2024-01-{1 + n // 10:02},{n},{n}" for n in range(200))]
    table = read("\n".join(lines).encode(), time="day")
    parts = cut(table, 0.5, not_before=datetime(2024, 1, 15, tzinfo=UTC))
    assert parts.judging["day"].min() == datetime(2024, 1, 16)  # noqa: DTZ001 # the table's times are UTC without a zone
    with pytest.raises(TooFewRows, match="which the champion has seen"):
        cut(table, 0.5, not_before=datetime(2024, 1, 19, tzinfo=UTC))


def test_columns_that_are_not_asked_for_may_hold_anything() -> None:
    data = parquet(c=[[1, 2]] * 60)
    assert read(data, "sales.parquet", features=("size",)).columns == (Column("size", "number"),)


def test_two_numbers_of_any_size_may_be_the_classes() -> None:
    table = read(parquet(sold=[1e20, 2e20] * 30), "sales.parquet")
    assert table.classes == ("100000000000000000000", "200000000000000000000")
    assert table.frame["sold"][0] == "100000000000000000000"


# what a few bytes may hold


def constant(rows: int) -> bytes:
    file = io.BytesIO()
    pl.select(size=pl.repeat("x" * 200, rows), sold=pl.repeat(1, rows)).write_parquet(file)
    return file.getvalue()


def workbook(sheet: str, text: str) -> bytes:
    """A workbook of one sheet, whose cells say which of the shared texts they hold; there is one."""
    main = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
    office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    relations = "http://schemas.openxmlformats.org/package/2006/relationships"
    kinds = "application/vnd.openxmlformats-officedocument.spreadsheetml"
    members = {
        "[Content_Types].xml": '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
        '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        f'<Override PartName="/xl/workbook.xml" ContentType="{kinds}.sheet.main+xml"/>'
        f'<Override PartName="/xl/worksheets/sheet1.xml" ContentType="{kinds}.worksheet+xml"/>'
        f'<Override PartName="/xl/sharedStrings.xml" ContentType="{kinds}.sharedStrings+xml"/></Types>',
        "_rels/.rels": f'<Relationships xmlns="{relations}"><Relationship Id="r1" Type="{office}/officeDocument" '
        'Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'<workbook {main} xmlns:r="{office}"><sheets><sheet name="a" sheetId="1" r:id="r1"/></sheets>'
        "</workbook>",
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{relations}"><Relationship Id="r1" '
        f'Type="{office}/worksheet" Target="worksheets/sheet1.xml"/><Relationship Id="r2" '
        f'Type="{office}/sharedStrings" Target="sharedStrings.xml"/></Relationships>',
        "xl/sharedStrings.xml": f"<sst {main}><si><t>{text}</t></si></sst>",
        "xl/worksheets/sheet1.xml": f"<worksheet {main}><sheetData>{sheet}</sheetData></worksheet>",
    }
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def cells_of(rows: int) -> str:
    """Two cells a row: the shared text, and the row's number; the first row holds names."""
    head = '<row r="1"><c r="A1" t="inlineStr"><is><t>town</t></is></c><c r="B1" t="inlineStr"><is><t>sold</t></is></c></row>'
    body = (f'<row r="{n}"><c r="A{n}" t="s"><v>0</v></c><c r="B{n}"><v>{n}</v></c></row>' for n in range(2, rows + 2))
    return head + "".join(body)


FAR_APART = '<row r="1"><c r="A1"><v>1</v></c></row><row r="1048576"><c r="XFD1048576"><v>1</v></c></row>'
BOMBS = {
    "rows of one value": ("sales.parquet", constant(2_000_000)),
    "a gzip of zeros": ("sales.csv.gz", gzip.compress(b"a,b\n" + b"0,0\n" * 10_000_000)),
    "cells of one digit": ("sales.csv", b"a,sold\n" + b"0,0\n" * 2_000_000),
    "one text in many cells of a workbook": ("sales.xlsx", workbook(cells_of(20_000), "x" * 30_000)),
    "cells that are far apart": ("sales.xlsx", workbook(FAR_APART, "")),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_file_that_takes_more_than_it_may_is_refused_before_it_takes_it(bomb: str) -> None:
    name, data = BOMBS[bomb]
    process = psutil.Process()
    before = process.memory_info().rss
    with pytest.raises(TooLarge, match="unpacks to more than 50,000,000 bytes") as refused:
        read_table(data, name, JobParams("sold"), most_unpacked=50_000_000)
    assert "max_unpacked" in refused.value.do
    assert process.memory_info().rss - before < 100 << 20


def test_of_several_tables_in_one_archive_none_is_guessed() -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in ("a.csv", "b.csv", "c.csv"):
            archive.writestr(name, csv())
    with pytest.raises(BadRows, match="several tables in one file"):
        read(file.getvalue(), "sales.zip")


def test_a_workbook_is_the_same_table_as_the_csv() -> None:
    table = read(workbook(cells_of(60), "Tver"), "sales.xlsx")
    lines = ["town,sold", *(f"Tver,{n}" for n in range(2, 62))]
    assert table.frame.equals(read("\n".join(lines).encode()).frame)


def test_bytes_that_are_no_workbook_are_refused_in_words() -> None:
    with pytest.raises(BadRows, match="cannot be read as xlsx"):
        read(workbook("<row", "a"), "sales.xlsx")


def test_thousands_with_points_are_numbers_where_a_comma_says_so() -> None:
    table = read(csv(separator=";", target=lambda n: f"{n}.{n % 7}00,5{n}"))
    assert table.question == "regression"
    assert table.frame["sold"][11] == 11_400.511


def test_a_column_that_one_cell_keeps_from_being_numbers_is_told_with_that_cell() -> None:
    lines = csv().decode().replace("t1,5.0", "t1,5 or so").encode()
    table = read(lines)
    assert Column("size", "category") in table.columns
    assert table.notes == (
        "column 'size' is learned as text: no numbers in 1 of 60 cells, the first is '5 or so' in row 11",
    )


def test_a_column_of_names_is_no_column_of_odd_numbers() -> None:
    assert read(csv()).notes == ()


def test_a_target_that_some_cells_keep_from_being_a_number_is_refused_with_the_first() -> None:
    data = csv(target=lambda n: "many" if n == 7 else n)
    with pytest.raises(BadRows, match="no numbers in 1 of 60 cells, the first is 'many' in row 8"):
        read(data)
    assert read(data, question="multiclass").question == "multiclass"


@pytest.mark.parametrize("word", ["n/a", "#N/A", "#DIV/0!", "k.A.", "NULL"])
def test_what_programs_write_for_nothing_is_nothing(word: str) -> None:
    table = read(csv(target=lambda n: word if n == 7 else n))
    assert (table.question, table.notes) == ("regression", ("1 rows without a target were left out",))


def test_a_year_of_two_digits_is_near_ours() -> None:
    table = read(csv().replace(b"2024-01-01", b"01.02.26").replace(b"2024-01-02", b"3.4.99"))
    assert table.columns[0] == Column("day", "date")
    assert {time.year for time in table.frame["day"]} == {2026, 1999, 2024}


def test_columns_without_a_name_are_left_out() -> None:
    lines = csv().decode().splitlines()
    index = [",", *(f"{number}," for number in range(60))]
    numbered = "\n".join(f"{first}{line}," for first, line in zip(index, lines, strict=True))
    table = read(numbered.encode())
    assert [column.name for column in table.columns] == ["day", "town", "size"]
    assert table.notes == ("2 columns without a name were left out",)
