"""Damaged and malicious files of every format end in fastdp's own error, with the file's name, and soon."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from shared_folder import SHARED

from fastdp.errors import ModelError, UnsupportedModelError
from fastdp.model.readers import restricted_pickle
from fastdp.model.readers.registry import read_model

SMALL = {
    "dp": "own/native_att_noconc.dp",
    "yaml": "third_party/deeppot-r.yaml",
    "pth": "third_party/deepdipole_pt.pth",
    "pt": "own/water_dpa1_strip_pt.pt",
    "pb": "third_party/se_e2_a_tebd.pb",
    "pbtxt": "third_party/deeppot.pbtxt",
}

FUZZ = settings(
    derandomize=True,
    deadline=None,
    database=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.fixture(params=SMALL)
def sound(request, shared):
    return (shared / "models" / SMALL[request.param]).read_bytes()


def reads(path: Path, content: bytes) -> bool:
    """Return whether the content is a model; all but a `ModelError` that names the file fails the test."""
    path.write_bytes(content)
    try:
        read_model(path)
    except ModelError as error:
        message = str(error)
    else:
        return True
    assert str(path) in message
    return False


@pytest.mark.parametrize("name", [name for name in SMALL if name not in ("yaml", "pbtxt")])
def test_no_truncated_file_is_read(shared, tmp_path, name):
    content = (shared / "models" / SMALL[name]).read_bytes()
    lengths = [len(content) * part // 200 for part in range(200)]
    survivors = [length for length in lengths if reads(tmp_path / "model", content[:length])]
    # The nodes at the end of this graph make forces; HDF5 may end with room that nothing uses.
    assert all(length > 0.4 * len(content) for length in survivors), survivors
    if name in ("pth", "pt"):
        assert survivors == []


@pytest.mark.parametrize("name", ["yaml", "pbtxt"])
def test_truncated_text_is_an_error_or_the_model(shared, tmp_path, name):
    """Text takes longer to parse, so it is cut at each fiftieth here, and at the others in the unit tests."""
    content = (shared / "models" / SMALL[name]).read_bytes()
    for part in range(0, 200, 8):
        reads(tmp_path / "model", content[: len(content) * part // 200])


@given(data=st.data())
@FUZZ
def test_flipped_bits_and_overwritten_bytes(tmp_path_factory, data):
    if not SHARED.is_dir():
        pytest.skip(f"needs the folder {SHARED}")
    name = data.draw(st.sampled_from(["dp", "pth", "pt", "pb"]))
    content = bytearray((SHARED / "models" / SMALL[name]).read_bytes())
    position = data.draw(st.integers(0, len(content) - 1))
    for offset, byte in enumerate(data.draw(st.binary(min_size=1, max_size=8))):
        if position + offset < len(content):
            content[position + offset] ^= byte
    reads(tmp_path_factory.mktemp("flipped") / "model", bytes(content))


@given(st.binary(max_size=300))
@FUZZ
def test_random_pickles_do_nothing_but_raise(content):
    def storage(key: str) -> bytes:
        return b""

    message = "model.pt"
    try:
        restricted_pickle.load(b"\x80\x02" + content, storage, "model.pt")
    except ModelError as error:
        message = str(error)
    assert "model.pt" in message


class Malicious:
    """Would make a file, were it unpickled."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def archive(content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("archive/data.pkl", content)
        file.writestr("archive/version", b"3")
    return buffer.getvalue()


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("place", ["root", "inside"])
@pytest.mark.parametrize("function", [os.system, eval, exec, open, getattr, print])
def test_a_malicious_pickle_does_nothing_but_raise(tmp_path, capfd, protocol, place, function):
    target = tmp_path / "pwned"
    argument = f"touch {target}" if function is os.system else f"open({str(target)!r}, 'w')"
    arguments = (str(target), "w") if function is open else (argument,)
    payload = Malicious(function, *arguments)
    content = {"model": payload} if place == "inside" else payload
    path = tmp_path / "model.pt"
    path.write_bytes(archive(pickle.dumps(content, protocol=protocol)))
    with pytest.raises(
        UnsupportedModelError, match=r"neither a tensor nor a container|no PyTorch model needs"
    ) as caught:
        read_model(path)
    assert str(path) in str(caught.value)
    assert not target.exists()
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize(
    "code",
    [
        b"cos\nsystem\n(S'touch pwned'\ntR.",
        b"(S'touch pwned'\nios\nsystem\n.",
        b"c__builtin__\neval\n(S'1'\ntR.",
        b"\x80\x02ctorch.hub\nload\nq\x00.",
        b"\x80\x02cbuiltins\ngetattr\n.",
        b"\x80\x02c__torch__\n__class__\n.",
        b"\x80\x02r\xff\xff\xff\x7f.",
        b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7f.",
        b"\x80\x02X\xff\xff\xff\x7f.",
        b"\x80\x02" + b"(" * 100_000 + b".",
        b"\x80\x02N.",
    ],
)
def test_pickles_by_hand(tmp_path, monkeypatch, code):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "model.pt"
    path.write_bytes(archive(code))
    with pytest.raises(ModelError) as caught:
        read_model(path)
    assert str(path) in str(caught.value)
    assert not (tmp_path / "pwned").exists()


def tensor(size, stride, offset=0, numbers=4):
    """Return the arguments that PyTorch gives to rebuild a tensor."""
    import numpy as np

    return np.zeros(numbers), offset, size, stride


@pytest.mark.parametrize(
    ("size", "stride", "offset"),
    [
        ((5,), (1,), 0),
        ((2,), (4,), 0),
        ((4,), (1,), 1),
        ((4,), (-1,), 3),
        ((10**9,), (0,), 0),
        ((2,), (1, 1), 0),
    ],
)
def test_tensors_outside_their_storage_are_refused(size, stride, offset):
    with pytest.raises(ValueError, match="tensor"):
        restricted_pickle._tensor(*tensor(size, stride, offset))


def test_yaml_and_json_cannot_be_endless(tmp_path):
    path = tmp_path / "model.yaml"
    levels = "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12))
    path.write_text("model:\n  type_map: [O]\na0: &a0 [x]\n" + levels)
    with pytest.raises(ModelError, match="endless"):
        read_model(path)
    path.write_text('{"model": ' + "[" * 50_000)
    with pytest.raises(ModelError, match="JSON is truncated"):
        read_model(path)


def test_an_archive_that_unpacks_to_much_is_refused(tmp_path):
    path = tmp_path / "bomb.pt"
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file,
        file.open("archive/data.pkl", "w", force_zip64=True) as member,
    ):
        for _ in range(2**5):
            member.write(bytes(2**20))
    with pytest.raises(ModelError, match="bomb"):
        read_model(path)
