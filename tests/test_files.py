import errno
import hashlib
import io
import json
import os
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval_lens import files
from retrieval_lens.errors import FileFormatError, InputError
from retrieval_lens.files import load_json, save_json, write_atomically

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    # JSON knows no lone surrogates
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(JSON)
def test_everything_comes_back(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("files") / "a.json"
    assert save_json(path, "thing", content) == path
    back = load_json(path, "thing")
    assert json.dumps(back, sort_keys=True) == json.dumps(content, sort_keys=True)


def test_the_envelope_by_hand(tmp_path):
    path = save_json(tmp_path / "a.json", "thing", {"b": [1, 0.5], "a": None}, version=3)
    body = '{"a":null,"b":[1,0.5]}'
    assert json.loads(path.read_text()) == {
        "format": "retrieval_lens.thing",
        "version": 3,
        "sha256": hashlib.sha256(body.encode()).hexdigest(),
        "content": json.loads(body),
    }
    assert path.read_bytes().endswith(b"}\n")
    assert load_json(str(path), "thing", version=3) == {"a": None, "b": [1, 0.5]}


def test_the_same_content_gives_the_same_bytes(tmp_path):
    first = save_json(tmp_path / "a.json", "thing", {"a": 1, "b": (2, 3)})
    second = save_json(tmp_path / "b.json", "thing", {"b": [2, 3], "a": 1})
    assert first.read_bytes() == second.read_bytes()


def test_keys_that_are_numbers_become_texts(tmp_path):
    content = {2: "b", 10: "c", 1: "a"}  # 1 < 2 < 10, but "1" < "10" < "2"
    path = save_json(tmp_path / "a.json", "thing", content)
    assert load_json(path, "thing") == {"1": "a", "2": "b", "10": "c"}


def nested(depth):
    content = []
    for _ in range(depth):
        content = [content]
    return content


@pytest.mark.parametrize(
    "content",
    [
        float("nan"),
        {"a": [1, float("inf")]},
        {"a": -float("inf")},
        object(),
        {"a": {1, 2}},
        {"a": b"bytes"},
        {(1, 2): 3},
        {1: 2, "a": 3},
        nested(100_000),
    ],
    ids=["nan", "inf", "-inf", "object", "set", "bytes", "tuple key", "mixed keys", "deep"],
)
def test_what_json_does_not_have(content, tmp_path):
    path = save_json(tmp_path / "a.json", "thing", [1])
    with pytest.raises(InputError, match="cannot write .* as JSON"):
        save_json(path, "thing", content)
    assert load_json(path, "thing") == [1]
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def full(*args, **kwargs):
    raise OSError(errno.ENOSPC, "No space left on device")


class FullDisk(io.FileIO):
    """A file of which only the beginning could be written."""

    def write(self, data):
        super().write(data[: len(data) // 2])
        full()


@pytest.mark.parametrize("fails", ["fsync", "replace", "write"])
def test_a_full_disk_leaves_the_old_file(fails, tmp_path, monkeypatch):
    path = save_json(tmp_path / "a.json", "thing", [1])
    if fails == "write":
        monkeypatch.setattr(files, "open", FullDisk, raising=False)
    else:
        monkeypatch.setattr(os, fails, full)
    with pytest.raises(OSError, match="No space left") as caught:
        save_json(path, "thing", [2])
    assert caught.value.errno == errno.ENOSPC
    with pytest.raises(OSError, match="No space left"):
        save_json(tmp_path / "new.json", "thing", [2])
    assert load_json(path, "thing") == [1]
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_an_interruption_leaves_the_old_file(tmp_path, monkeypatch):
    path = save_json(tmp_path / "a.json", "thing", [1])

    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        save_json(path, "thing", [2])
    assert load_json(path, "thing") == [1]
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_the_old_file_stands_until_the_new_one_is_on_the_disk(tmp_path, monkeypatch):
    path = save_json(tmp_path / "a.json", "thing", [1])
    calls, replace, fsync = [], os.replace, os.fsync

    def sync(number):
        assert load_json(path, "thing") == [1]
        calls.append("fsync")
        fsync(number)

    def rename(source, target):
        calls.append("replace")
        assert source.parent == path.parent  # another disk could not be renamed from
        assert load_json(source, "thing") == [2]
        replace(source, target)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(os, "replace", rename)
    save_json(path, "thing", [2])
    assert calls == ["fsync", "replace"]
    assert load_json(path, "thing") == [2]


def test_a_folder_that_cannot_be_written(tmp_path):
    with pytest.raises(FileNotFoundError):
        save_json(tmp_path / "nowhere" / "a.json", "thing", [1])
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError):
        save_json(tmp_path / "file" / "a.json", "thing", [1])
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError):
        save_json(tmp_path / "folder", "thing", [1])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder"]


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere"
)
def test_a_folder_without_the_right_to_write(tmp_path):
    path = save_json(tmp_path / "a.json", "thing", [1])
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(PermissionError):
            save_json(path, "thing", [2])
        assert load_json(path, "thing") == [1]
        assert [p.name for p in tmp_path.iterdir()] == ["a.json"]
    finally:
        tmp_path.chmod(0o700)


def test_plain_bytes(tmp_path):
    write_atomically(tmp_path / "a", b"\x00\xff")
    assert (tmp_path / "a").read_bytes() == b"\x00\xff"


def sealed(content, **change):
    """An envelope written by hand, with some of it changed."""
    head = {"format": "retrieval_lens.thing", "version": 1, "sha256": "0", "content": None}
    return json.dumps(head | change).replace("null", content)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "null",
        "3",
        '"text"',
        "[]",
        "{}",
        '[{"format": 1}]',
        '{"format": "retrieval_lens.thing", "version": 1, "content": 1}',
        "\x00\x01",
        sealed("NaN"),
        sealed("[1e999]"),
        sealed("9" * 5000),
        "[" * 100_000,
        sealed("[" * 100_000 + "]" * 100_000),
    ],
)
def test_what_is_no_such_file(text, tmp_path):
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(FileFormatError, match="damaged, or not a thing of this package"):
        load_json(path, "thing")


def test_bytes_that_are_no_text(tmp_path):
    path = tmp_path / "a.json"
    for data in (b"\xff\xfe\x00", b"\x80abc", pickle.dumps({"format": "retrieval_lens.thing"})):
        path.write_bytes(data)
        with pytest.raises(FileFormatError, match="damaged, or not a thing"):
            load_json(path, "thing")


@pytest.mark.parametrize(
    "change",
    [
        {"format": "retrieval_lens.other"},
        {"format": "thing"},
        {"format": ["retrieval_lens.thing"]},
        {"format": None},
        {"version": 2},
        {"version": "1"},
        {"version": None},
    ],
)
def test_another_kind_or_version(change, tmp_path):
    path = save_json(tmp_path / "a.json", "thing", [1])
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(FileFormatError, match=r"wanted retrieval_lens\.thing 1"):
        load_json(path, "thing")


@pytest.mark.parametrize("change", [{"content": [2]}, {"sha256": "0"}, {"sha256": None}])
def test_altered_content(change, tmp_path):
    path = save_json(tmp_path / "a.json", "thing", [1])
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(FileFormatError, match="does not match its checksum"):
        load_json(path, "thing")


def test_no_file(tmp_path):
    for path in (tmp_path / "nowhere.json", tmp_path):
        with pytest.raises(FileNotFoundError, match="there is no file"):
            load_json(path, "thing")
