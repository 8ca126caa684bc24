from __future__ import annotations

import gzip
import io
import zipfile
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

from springtide.domain.errors import BadRows, NotFound, SettingsError
from springtide.sources.candles import CANDLES, PLAIN
from springtide.sources.files import contents
from springtide.sources.files.source import FilesSource

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from springtide.sources.seam import Batch

START = datetime(2024, 1, 1, tzinfo=UTC)
NOW = datetime(2024, 6, 1, tzinfo=UTC)
OHLCV = "10.0,12.0,9.0,11.0,5.0"


def bring(path: Path, *, marks: Mapping[str, int] | None = None, now: datetime = NOW, **options: Any) -> list[Batch]:
    """All batches of one call."""
    source = FilesSource(path, name="mine", now=lambda: now, **options)
    return list(source.batches((marks or {}).get))


def bring_one(path: Path, **options: Any) -> Batch:
    (batch,) = bring(path, **options)
    return batch


def refusal(path: Path, **options: Any) -> BadRows:
    with pytest.raises(BadRows) as caught:
        bring(path, **options)
    return caught.value


def epoch(hour: float) -> int:
    return int((START + timedelta(hours=hour)).timestamp())


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def own_csv(path: Path, *, hours: int = 3, first: int = 0, series: str = "BTC/USDT") -> Path:
    """A file in our own form."""
    rows = [f"{series},{START + timedelta(hours=h):%Y-%m-%d %H:%M:%S},{OHLCV}" for h in range(first, first + hours)]
    return write(path, "unique_id,ds,open,high,low,close,volume", *rows)


def workbook(rows: list[list[str | float]]) -> bytes:
    """The smallest xlsx: one sheet, text and numbers, and times in cells of style 1."""

    def cell(value: str | float) -> str:
        if isinstance(value, str):
            return f'<c t="inlineStr"><is><t>{value}</t></is></c>'
        return f"<c><v>{value}</v></c>"

    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    package = "http://schemas.openxmlformats.org/package/2006/relationships"
    types = "http://schemas.openxmlformats.org/package/2006/content-types"
    kind = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml"
    cells = "".join(f"<row>{''.join(map(cell, row))}</row>" for row in rows)
    parts = {
        "[Content_Types].xml": f'<Types xmlns="{types}"><Default Extension="xml" ContentType="application/xml"/>'
        f'<Override PartName="/xl/workbook.xml" ContentType="{kind}"/></Types>',
        "_rels/.rels": f'<Relationships xmlns="{package}">'
        f'<Relationship Id="r1" Type="{office}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'<workbook xmlns="{main}" xmlns:r="{office}">'
        '<sheets><sheet name="klines" sheetId="1" r:id="r1"/></sheets></workbook>',
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{package}">'
        f'<Relationship Id="r1" Type="{office}/worksheet" Target="worksheets/sheet1.xml"/></Relationships>',
        "xl/worksheets/sheet1.xml": f'<worksheet xmlns="{main}"><sheetData>{cells}</sheetData></worksheet>',
    }
    return packed(parts)


def packed(members: Mapping[str, str | bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


# --- the forms files come in -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("unit", [1_000, 1_000_000])
@pytest.mark.parametrize("header", [True, False])
def test_binance_klines_are_recognised_with_and_without_header(tmp_path: Path, *, unit: int, header: bool) -> None:
    names = "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote,ignore"
    rows = [f"{epoch(h) * unit},{OHLCV},{epoch(h + 1) * unit - 1},1,2,3,4,0" for h in range(3)]
    batch = bring_one(write(tmp_path / "BTCUSDT-1h-2024-01.csv", *([names] if header else []), *rows))
    assert batch.rows.schema == CANDLES
    assert batch.rows["unique_id"].unique().to_list() == ["BTC/USDT"]
    assert batch.rows["ds"].to_list() == [START + timedelta(hours=h) for h in range(3)]
    assert batch.rows.row(0)[2:] == (10.0, 12.0, 9.0, 11.0, 5.0)
    assert "Binance klines" in batch.note


def test_bitget_klines_are_read_from_a_zip_though_the_header_comes_again(tmp_path: Path) -> None:
    header = "timestamp,open,high,low,close,baseVolume,usdtVolume"
    rows = [f"{epoch(h)},{OHLCV},55.0" for h in range(4)]
    archive = tmp_path / "BTCUSDT_SPBL_1h_20240101.zip"
    archive.write_bytes(packed({"20240101.csv": "\n".join([header, *rows[:2], header, *rows[2:]]), "README.md": "x"}))
    batch = bring_one(archive, series="BTC/USDT")
    assert "Bitget klines (ds = timestamp, volume = baseVolume)" in batch.note
    assert batch.rows.height == 4
    assert batch.rows["volume"].to_list() == [5.0] * 4


def test_a_workbook_reads_like_the_csv_it_was_made_of(tmp_path: Path) -> None:
    header: list[str | float] = ["timestamp", "open", "high", "low", "close", "baseVolume", "usdtVolume"]
    rows: list[list[str | float]] = [[epoch(h), 10.0, 12.0, 9.0, 11.0, 5.0, 55.0] for h in range(3)]
    book = workbook([header, rows[0], header, *rows[1:]])
    (tmp_path / "BTCUSDT.xlsx").write_bytes(book)
    (tmp_path / "BTCUSDT.zip").write_bytes(packed({"BTCUSDT.xlsx": book}))
    write(tmp_path / "BTCUSDT.csv", ",".join(map(str, header)), *(",".join(map(str, row)) for row in rows))
    csv, xlsx, zipped = (batch.rows for batch in bring(tmp_path))
    assert csv.height == 3
    assert xlsx.equals(csv)
    assert zipped.equals(csv)


def test_a_coingecko_export_is_a_plain_series_without_the_moment_of_the_export(tmp_path: Path) -> None:
    days = [f"2024-01-0{day} 00:00:00 UTC,{day}.5,1,1" for day in range(1, 6)]
    lines = ["snapped_at,price,market_cap,total_volume", *days, "2024-01-06 14:23:01 UTC,9.9,1,1"]
    batch = bring_one(write(tmp_path / "btc-usd-max.csv", *lines))
    assert batch.rows.schema == PLAIN
    assert batch.rows["y"].to_list() == [1.5, 2.5, 3.5, 4.5, 5.5]
    assert batch.rows["unique_id"][0] == "BTC/USD"
    assert "1 snapshots between two steps: left out" in batch.note


def test_cryptodatadownload_is_read_newest_first_with_its_comment_and_two_units_of_time(tmp_path: Path) -> None:
    lines = [
        "https://www.CryptoDataDownload.com, daily",
        "unix,date,symbol,open,high,low,close,Volume BTC,Volume USDT,tradecount",
        f"{epoch(48)}000,2024-01-03 00:00:00,BTCUSDT,{OHLCV},55,7",
        f"{epoch(24)}.0,2024-01-02,BTCUSDT,{OHLCV},55,NULL",
        f"{epoch(0)}.0,2024-01-01,BTCUSDT,{OHLCV},55,NULL",
    ]
    batch = bring_one(write(tmp_path / "Binance_BTCUSDT_d.csv", *lines))
    assert batch.rows["ds"].to_list() == [START + timedelta(days=d) for d in range(3)]
    assert batch.rows["unique_id"].unique().to_list() == ["BTC/USDT"]
    assert "CryptoDataDownload (unique_id = symbol, ds = unix, volume = Volume BTC)" in batch.note


def test_columns_with_telling_names_are_guessed_and_a_missing_volume_is_said(tmp_path: Path) -> None:
    lines = [f"{epoch(h)},10,12,9,11" for h in range(3)]
    batch = bring_one(write(tmp_path / "x_BTCUSDT_1h.csv", "time,open,high,low,close", *lines))
    assert batch.rows["volume"].to_list() == [0.0] * 3
    assert "columns by name (ds = time); no volume in the file: 0" in batch.note


def test_unknown_columns_are_refused_with_a_mapping_that_then_works(tmp_path: Path) -> None:
    file = write(tmp_path / "oil.csv", "date,HUFL,OT", "2024-01-01,1,30.5", "2024-01-02,2,-1.5", "2024-01-03,2,1e1")
    error = refusal(file, series="OT")
    assert "found: date, HUFL, OT" in error.what
    assert 'columns = { ds = "date", y = "OT" }' in error.do
    batch = bring_one(file, series="OT", columns={"ds": "date", "y": "OT"})
    assert batch.rows["y"].to_list() == [30.5, -1.5, 10.0]


def test_a_hint_maps_the_time_that_is_recognised_and_a_column_that_is_not(tmp_path: Path) -> None:
    file = write(tmp_path / "funding.csv", "unique_id,ds,rate", "BTC,2024-01-01 00:00,0.1", "BTC,2024-01-01 08:00,0.2")
    assert 'columns = { ds = "ds", y = "rate" }' in refusal(file, timeframe="irregular").do
    batch = bring_one(file, timeframe="irregular", columns={"y": "rate"})
    assert batch.rows["y"].to_list() == [0.1, 0.2]
    assert batch.rows["unique_id"].unique().to_list() == ["BTC"]


def test_a_mapping_goes_before_what_is_recognised(tmp_path: Path) -> None:
    batch = bring_one(own_csv(tmp_path / "a.csv"), columns={"y": "close"})
    assert batch.rows.schema == PLAIN
    assert batch.rows["y"].to_list() == [11.0] * 3


def test_a_mapping_to_a_column_that_is_not_there_is_refused_with_the_nearest_name(tmp_path: Path) -> None:
    assert "did you mean 'close'?" in refusal(own_csv(tmp_path / "a.csv"), columns={"y": "closee"}).do


def test_a_mapping_of_a_name_that_is_not_ours_is_a_wrong_setting(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="did you mean 'close'"):
        FilesSource(tmp_path, name="mine", now=lambda: NOW, columns={"closee": "x"})


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_any_usual_separator_and_windows_line_ends_and_a_byte_order_mark_are_read(
    tmp_path: Path, separator: str
) -> None:
    text = own_csv(tmp_path / "a.csv").read_text().replace(",", separator).replace("\n", "\r\n")
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert bring_one(tmp_path / "a.csv").rows.height == 3


def test_parquet_csv_and_gzip_of_the_same_rows_give_the_same_rows(tmp_path: Path) -> None:
    csv = own_csv(tmp_path / "a.csv")
    (tmp_path / "b.csv.gz").write_bytes(gzip.compress(csv.read_bytes()))
    moscow = pl.col("ds").dt.convert_time_zone("Europe/Moscow").dt.cast_time_unit("ns").alias("timestamp")
    bring_one(csv).rows.with_columns(moscow).drop("ds").write_parquet(tmp_path / "c.parquet")
    first, second, third = (batch.rows for batch in bring(tmp_path))
    assert second.equals(first)
    assert third.equals(first)


def test_a_zip_of_months_is_one_batch(tmp_path: Path) -> None:
    months = {f"BTCUSDT-1h-{k}.csv": own_csv(tmp_path / "m.csv", first=3 * k).read_bytes() for k in (1, 0)}
    (tmp_path / "all.zip").write_bytes(packed(months))
    batch = bring_one(tmp_path / "all.zip")
    assert batch.rows["ds"].to_list() == [START + timedelta(hours=h) for h in range(6)]


def test_a_single_row_takes_its_step_from_the_name_of_its_file_or_is_refused(tmp_path: Path) -> None:
    assert bring_one(own_csv(tmp_path / "BTCUSDT-1d-2024-01-01.csv", hours=1)).marks["files:step_s"] == 86_400
    assert 'set timeframe = "1h"' in refusal(own_csv(tmp_path / "one.csv", hours=1)).do


def test_seconds_in_32_bits_and_nanoseconds_are_both_read_from_parquet(tmp_path: Path) -> None:
    seconds = pl.Series([epoch(0), epoch(1)], dtype=pl.UInt32)
    pl.DataFrame({"ds": seconds, "y": ["1", "2"]}).write_parquet(tmp_path / "a.parquet")
    pl.DataFrame({"ds": seconds.cast(pl.Int64) * 10**9, "y": [1, 2]}).write_parquet(tmp_path / "b.parquet")
    first, second = (batch.rows for batch in bring(tmp_path, series="A"))
    assert first["ds"].to_list() == [START, START + timedelta(hours=1)]
    assert second.equals(first)


def test_a_column_of_the_file_named_line_is_not_taken_for_the_line_of_an_error(tmp_path: Path) -> None:
    pl.DataFrame({"ds": [epoch(0), epoch(1)], "y": [1.0, None], "line": ["a", "b"]}).write_parquet(tmp_path / "a.pq")
    assert refusal(tmp_path / "a.pq", series="A").where.endswith("a.pq, row 2")


def test_a_zip_of_candles_and_plain_series_is_refused(tmp_path: Path) -> None:
    plain = "unique_id,ds,y\nA,2024-01-01,1\n"
    (tmp_path / "a.zip").write_bytes(packed({"a.csv": own_csv(tmp_path / "a.csv").read_bytes(), "b.csv": plain}))
    assert "candles and plain series in one zip" in refusal(tmp_path / "a.zip").what


# --- closed rows, gaps, marks ----------------------------------------------------------------------------------------


def test_a_candle_that_is_not_closed_is_left_out_and_counted(tmp_path: Path) -> None:
    file = own_csv(tmp_path / "a.csv")
    batch = bring_one(file, now=START + timedelta(hours=2, minutes=59))
    assert batch.rows.height == 2
    assert "1 not closed yet: left out" in batch.note
    assert bring_one(file, now=START + timedelta(hours=3)).rows.height == 3


def test_gaps_are_listed_with_the_rows(tmp_path: Path) -> None:
    text = own_csv(tmp_path / "a.csv", hours=6).read_text().splitlines()
    (gap,) = bring_one(write(tmp_path / "a.csv", *text[:3], *text[5:])).gaps
    assert (gap.first, gap.last, gap.steps) == (START + timedelta(hours=2), START + timedelta(hours=3), 2)


def test_each_file_is_brought_in_once_and_again_only_when_its_bytes_change(tmp_path: Path) -> None:
    own_csv(tmp_path / "a.csv")
    own_csv(tmp_path / "b.csv", first=3)
    stored = {key: value for batch in bring(tmp_path) for key, value in batch.marks.items()}
    assert bring(tmp_path, marks=stored) == []
    own_csv(tmp_path / "b.csv", first=3, hours=4)
    (again,) = bring(tmp_path, marks=stored)
    assert again.note.startswith("b.csv: ")
    assert again.rows.height == 4


def test_a_call_that_was_stopped_goes_on_with_the_next_file(tmp_path: Path) -> None:
    for k in range(3):
        own_csv(tmp_path / f"{k}.csv", first=3 * k)
    source = FilesSource(tmp_path, name="mine", now=lambda: NOW)
    first = next(source.batches({}.get))
    rest = bring(tmp_path, marks=first.marks)
    assert [batch.note[:5] for batch in (first, *rest)] == ["0.csv", "1.csv", "2.csv"]
    assert [batch.done for batch in rest][-1] == 1.0


def test_a_file_of_another_timeframe_than_earlier_ones_is_refused(tmp_path: Path) -> None:
    own_csv(tmp_path / "a.csv")
    assert "mixed timeframes: the step is 5m" in refusal(tmp_path, marks={"files:step_s": 300}).what


def test_an_empty_folder_is_a_note(tmp_path: Path) -> None:
    batch = bring_one(tmp_path)
    assert batch.rows.is_empty()
    assert batch.marks == {}
    assert "no CSV, Parquet, xlsx or zip" in batch.note


def test_downloads_in_progress_and_hidden_files_are_left_alone(tmp_path: Path) -> None:
    for name in ("a.csv.part", "b.parquet.tmp", ".c.csv", "BTCUSDT-1h.zip.CHECKSUM", "notes.txt"):
        (tmp_path / name).write_text("half")
    assert "no CSV, Parquet, xlsx or zip" in bring_one(tmp_path).note


def test_a_bad_file_is_named_after_the_good_files_before_it(tmp_path: Path) -> None:
    own_csv(tmp_path / "a.csv")
    write(tmp_path / "b.csv", "ds,y", "2024-01-01,x")
    own_csv(tmp_path / "c.csv", first=3)
    batches = FilesSource(tmp_path, name="mine", now=lambda: NOW, series="A").batches({}.get)
    assert next(batches).rows.height == 3
    with pytest.raises(BadRows) as caught:
        next(batches)
    assert caught.value.where == f"{tmp_path / 'b.csv'}, line 2"


# --- what is refused -------------------------------------------------------------------------------------------------


def test_a_missing_path_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no such file or folder"):
        bring(tmp_path / "nowhere")


def test_text_in_a_price_is_refused_by_its_line_counting_comments_and_empty_lines(tmp_path: Path) -> None:
    text = own_csv(tmp_path / "a.csv").read_text().splitlines()
    text[3] = text[3].replace("11.0", "eleven")
    error = refusal(write(tmp_path / "a.csv", "# exported by hand", *text[:2], "", *text[2:]))
    assert error.what.startswith("close is no number")
    assert "close='eleven'" in error.what
    assert error.where.endswith("a.csv, line 6")


def test_a_time_that_cannot_be_told_is_refused_by_its_line(tmp_path: Path) -> None:
    error = refusal(write(tmp_path / "a.csv", "ds,y", "2024-01-01,1", "01/02/24,2"), series="A")
    assert error.what == "ds is no time: '01/02/24'"
    assert error.where.endswith("a.csv, line 3")


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("a.csv", b"", "the file is empty"),
        ("a.csv", b"unique_id,ds,y\n", "a header and no rows"),
        ("a.csv", b"ds,y\n2024-01-01,1\n2024-01-02,2,3\n", "3 cells where the first line has 2"),
        ("a.csv", b"ds,y\n2024-01-01,\xff1\n", "the text is not UTF-8: byte 0xff"),
        ("a.csv", "ds,y\n2024-01-01,1\n".encode("utf-16"), "the text is not UTF-8"),
        ("a.csv", b"1,2,3\n4,5,6\n", "no header row, and 3 columns of numbers"),
        ("a.csv", b"one column\n1\n", "no table of two columns or more"),
        ("a.csv.gz", gzip.compress(b"ds,y\n2024-01-01,1\n", mtime=0)[:-9], "cannot be read as gzip"),
        ("a.parquet", b"PAR1 and so on", "cannot be read as Parquet"),
        ("a.parquet", b"not at all", "cannot be read as Parquet"),
        ("a.zip", packed({"a.csv": "ds,y\n"})[:-5], "cannot be read as zip"),
        ("a.zip", packed({"notes.md": "x"}), "no CSV, Parquet or xlsx in the zip; found: notes.md"),
        ("a.zip", packed({"../a.csv": "x"}), "the zip holds a file named '../a.csv', which leads out of it"),
        ("a.zip", packed({"b/../../a.csv": "x"}), "which leads out of it"),
        (
            "a.zip",
            packed({"a.csv": packed({"a.csv": packed({"a.csv": packed({"a.csv": "x"})})})}),
            "packed inside packed",
        ),
        ("a.xlsx", packed({"xl/workbook.xml": "<broken"}), "cannot be read as xlsx"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_in_words(tmp_path: Path, name: str, data: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(data)
    error = refusal(tmp_path / name, series="A")
    assert words in error.what
    assert str(tmp_path / name) in error.where


def test_a_truncated_parquet_is_refused(tmp_path: Path) -> None:
    whole = tmp_path / "a.parquet"
    bring_one(own_csv(tmp_path / "a.csv", hours=500)).rows.write_parquet(whole)
    whole.write_bytes(whole.read_bytes()[:-40])
    assert "cannot be read as Parquet" in refusal(whole).what


@pytest.mark.parametrize("name", ["bomb.zip", "bomb.csv.gz"])
def test_an_archive_that_grows_beyond_reason_is_refused_before_it_is_parsed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(contents, "_SMALL_BYTES", 1_000)
    zeros = b"0" * 1_000_000
    (tmp_path / name).write_bytes(packed({"a.csv": zeros}) if name.endswith("zip") else gzip.compress(zeros))
    assert "which no file of candles does" in refusal(tmp_path / name).what


def test_a_file_that_does_not_name_its_series_is_refused(tmp_path: Path) -> None:
    file = write(tmp_path / "may.csv", "ds,y", "2024-01-01,1", "2024-01-02,2")
    assert "does not say which series" in refusal(file).what
    assert bring_one(file, series="sales").rows["unique_id"][0] == "sales"


def test_rows_that_do_not_fit_the_set_timeframe_are_refused(tmp_path: Path) -> None:
    error = refusal(own_csv(tmp_path / "a.csv"), timeframe="4h")
    assert "is not on the grid of 4h" in error.what
    assert "the step is 30m" in refusal(own_csv(tmp_path / "a.csv"), timeframe="30m").what


# --- real files ------------------------------------------------------------------------------------------------------

LATER = datetime(2030, 1, 1, tzinfo=UTC)


def test_the_real_hourly_candles_come_in_whole_with_their_known_gaps(real_data: Path) -> None:
    file = real_data / "candles" / "binance_spot_1h_33coins_2017-08_2022-10.parquet"
    batch = bring_one(file, now=LATER)
    assert batch.rows.height == 950_336
    assert len(batch.gaps) == 547
    assert sum(gap.steps for gap in batch.gaps) == 1_777


@pytest.mark.parametrize(("coin", "rows"), [("btc", 4_699), ("eth", 3_872), ("sol", 2_166), ("xrp", 4_601)])
def test_real_coingecko_exports_come_in(real_data: Path, coin: str, rows: int) -> None:
    batch = bring_one(real_data / "api_samples" / "coingecko" / f"{coin}-usd-max.csv.gz", now=LATER)
    assert batch.rows.height == rows
    assert batch.rows["unique_id"][0] == f"{coin.upper()}/USD"


def test_the_real_cryptodatadownload_file_is_refused_for_its_two_rows_of_one_day(
    real_data: Path, tmp_path: Path
) -> None:
    file = real_data / "api_samples" / "cryptodatadownload" / "Binance_BTCUSDT_d.csv"
    error = refusal(file, now=LATER)
    assert error.where.endswith("lines 1273 and 1274")
    lines = file.read_text().splitlines()
    mended = bring_one(write(tmp_path / file.name, *lines[:1273], *lines[1274:]), now=LATER)
    assert mended.rows.height == len(lines) - 2
    assert mended.gaps == ()


def test_the_real_binance_csv_without_volume_comes_in(real_data: Path) -> None:
    batch = bring_one(real_data / "api_samples" / "binance" / "daru_BTCUSDT_1h_jan_feb_2024.csv", now=LATER)
    assert batch.rows.height == 1_033
    assert batch.rows["unique_id"][0] == "BTC/USDT"


# --- rows at no fixed step


def test_irregular_rows_come_in_as_they_are_and_miss_nothing(tmp_path: Path) -> None:
    lines = [f"BTC/USDT,{START + timedelta(hours=hour, minutes=7):%Y-%m-%d %H:%M:%S},{hour}" for hour in (0, 8, 9, 13)]
    batch = bring_one(write(tmp_path / "funding.csv", "unique_id,ds,y", *lines), timeframe="irregular")
    assert batch.rows["y"].to_list() == [0, 8, 9, 13]
    assert batch.gaps == ()
    assert "4 rows at no fixed step" in batch.note


def test_an_irregular_row_of_a_time_to_come_is_left_out(tmp_path: Path) -> None:
    path = write(tmp_path / "f.csv", "unique_id,ds,y", "a,2024-01-01 00:07:00,1", "a,2024-01-01 03:00:00,2")
    batch = bring_one(path, timeframe="irregular", now=START + timedelta(hours=3, seconds=-1))
    assert batch.rows["y"].to_list() == [1]
    assert "1 of a time to come" in batch.note
