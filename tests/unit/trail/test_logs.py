import json
import threading
from pathlib import Path
from typing import TypedDict

import pytest
from loguru import logger

from supervisors.trail.logs import ChildLog, TokenBucket, child_logger, console, log_file


class Line(TypedDict, total=False):
    level: str
    path: str
    incarnation: int
    epoch: int
    message: str
    source: str
    exception: str
    dropped: int
    extra: dict[str, object]


def lines(data_dir: Path, path: str = "/cell/md", suffix: str = "") -> list[Line]:
    file = log_file(data_dir, path)
    return [json.loads(line) for line in Path(f"{file}{suffix}").read_text().splitlines()]


def frozen() -> float:
    return 100.0


def make(
    data_dir: Path, path: str = "/cell/md", rotate_bytes: int = 10**7, keep: int = 5, lines_per_second: float = 1e3
) -> ChildLog:
    return child_logger(data_dir, path, 3, 7, "INFO", rotate_bytes, keep, lines_per_second, monotonic=frozen)


def test_a_line_has_its_place(tmp_path: Path) -> None:
    log = make(tmp_path)
    log.logger.info("hello {}", "world")
    log.logger.bind(order=12, what=Path("x")).warning("w")
    log.logger.debug("below the level")
    log.close()
    log.close()
    first, second = lines(tmp_path)
    assert (first["message"], first["level"], first["path"]) == ("hello world", "INFO", "/cell/md")
    assert (first["incarnation"], first["epoch"]) == (3, 7)
    assert "test_a_line_has_its_place" in first["source"]
    assert second["extra"] == {"order": 12, "what": "x"}
    assert log_file(tmp_path, "/cell/md").name == "~cell~md.jsonl"


def test_exceptions_and_odd_texts(tmp_path: Path) -> None:
    log = make(tmp_path)
    try:
        raise ValueError("boom")
    except ValueError:
        log.logger.exception("failed")
    log.logger.bind(big=2**80).info("bad \udc80 text\nof two lines")
    log.close()
    first, second = lines(tmp_path)
    assert first["exception"].rstrip().endswith("ValueError: boom")
    assert second["message"] == "bad ? text\nof two lines"
    assert second["extra"] == {"big": str(2**80)}


def test_two_logs_in_one_process_and_unbound_lines(tmp_path: Path) -> None:
    one = child_logger(tmp_path, "/a", 1, 1)
    two = child_logger(tmp_path, "/b", 1, 1, whole_process=False)
    one.logger.info("from a")
    two.logger.info("from b")
    logger.info("from a library")
    one.close()
    two.close()
    assert [line["message"] for line in lines(tmp_path, "/a")] == ["from a", "from a library"]
    assert [line["message"] for line in lines(tmp_path, "/b")] == ["from b"]


def test_a_flood_is_limited_and_told(tmp_path: Path) -> None:
    log = make(tmp_path, lines_per_second=10)
    for number in range(1_000):
        log.logger.info(str(number))
    log.close()
    found = lines(tmp_path)
    assert [line["message"] for line in found[:-1]] == [str(number) for number in range(20)]
    assert found[-1]["dropped"] == log.lost_total == 980
    assert found[-1]["level"] == "WARNING"


def test_nothing_is_lost_at_an_orderly_stop(tmp_path: Path) -> None:
    log = make(tmp_path, lines_per_second=100_000)

    def work(name: int) -> None:
        for number in range(500):
            log.logger.info(f"{name} {number}")

    threads = [threading.Thread(target=work, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log.close()
    assert len(lines(tmp_path)) == 2_000


def test_files_rotate_by_size(tmp_path: Path) -> None:
    # each life adds a line: a file that is too big already is rotated by the next one
    for number in range(12):
        log = make(tmp_path, rotate_bytes=1, keep=2)
        log.logger.info(f"first {number}")
        log.close()
    assert [lines(tmp_path, suffix=end)[0]["message"] for end in ("", ".1", ".2")] == [
        "first 11",
        "first 10",
        "first 9",
    ]
    log = make(tmp_path, rotate_bytes=2_000, keep=2, lines_per_second=100_000)
    for number in range(3_000):
        log.logger.info(f"second {number}")
    log.close()
    names = sorted(file.name for file in (tmp_path / "logs").iterdir())
    assert names == ["~cell~md.jsonl", "~cell~md.jsonl.1", "~cell~md.jsonl.2"]
    assert lines(tmp_path)[-1]["message"] == "second 2999"


def test_a_disk_that_refuses_is_counted_not_raised(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("a file, not a folder")
    log = make(tmp_path)
    log.logger.info("lost")
    log.close()
    assert log.lost_total == 1


def test_an_unknown_level_is_a_value_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="LOUD"):
        child_logger(tmp_path, "/a", 1, 1, "LOUD")


def test_the_console_shows_from_its_level_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        console("WARNING")
        log = make(tmp_path)
        log.logger.info("quiet")
        log.logger.warning("loud <b>x</b>")
        logger.error("unbound {odd}")
        log.close()
        shown = capsys.readouterr().err
        assert "quiet" not in shown
        assert "/cell/md" in shown
        assert "loud <b>x</b>" in shown
        assert "unbound {odd}" in shown
    finally:
        console(None)


def test_the_bucket() -> None:
    bucket = TokenBucket(10.0, 2.0, 0.0)
    assert [bucket.take(0.0) for _ in range(3)] == [True, True, False]
    assert bucket.take(0.1)
    assert not bucket.take(0.05)  # a clock that went back gives nothing and takes nothing
