from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import fastdp.output.checkpoint as module
from fastdp.errors import CheckpointError, FastDPError
from fastdp.output.checkpoint import Checkpoint, load_latest, previous_path, read_checkpoint, write_checkpoint


def content(step: int = 1) -> Checkpoint:
    rng = np.random.default_rng(step)
    special = np.array([0.1 + 0.2, -0.0, np.nan, np.inf, 5e-324, 1.7976931348623157e308])
    return Checkpoint(
        {"step": step, "drift": 0.1 + 0.2, "input": "T = 330 # °\n", "nothing": None, "list": [1, "a"]},
        {
            "state": {
                "positions": rng.normal(size=(50, 3)),
                "special": special,
                "images": np.arange(6, dtype=np.int32),
                "symbols": np.array([b"O", b"Zr"]),
                "scalar": np.array(7),
                "empty": np.zeros((0, 3)),
                "flag": np.array(True),
            },
            "integrator": {},
        },
    )


def same(a: Checkpoint, b: Checkpoint) -> bool:
    if dict(a.header) != dict(b.header) or a.sections.keys() != b.sections.keys():
        return False
    for name, arrays in a.sections.items():
        if arrays.keys() != b.sections[name].keys():
            return False
        for key, array in arrays.items():
            other = np.asarray(b.sections[name][key])
            if (array.dtype, array.shape, array.tobytes()) != (other.dtype, other.shape, other.tobytes()):
                return False
    return True


def test_everything_comes_back_bit_for_bit(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.npz"
    write_checkpoint(path, content())
    assert same(content(), read_checkpoint(path))
    assert os.listdir(tmp_path) == ["checkpoint.npz"]


def test_the_one_before_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.npz"
    for step in (1, 2, 3):
        write_checkpoint(path, content(step))
    assert same(content(3), read_checkpoint(path))
    assert same(content(2), read_checkpoint(previous_path(path)))
    assert sorted(os.listdir(tmp_path)) == ["checkpoint.npz", "checkpoint_previous.npz"]


def test_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object) -> None:
        raise PermissionError("no hard links here")

    monkeypatch.setattr(module.os, "link", refuse)
    path = tmp_path / "checkpoint.npz"
    for step in (1, 2, 3):
        write_checkpoint(path, content(step))
    assert same(content(3), read_checkpoint(path))
    assert same(content(2), read_checkpoint(previous_path(path)))


def test_after_a_crash_between_the_two_renames(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.npz"
    write_checkpoint(path, content(1))
    os.link(path, previous_path(path))
    write_checkpoint(path, content(2))
    write_checkpoint(path, content(3))
    assert same(content(3), read_checkpoint(path))
    assert same(content(2), read_checkpoint(previous_path(path)))
    assert len(os.listdir(tmp_path)) == 2


@pytest.mark.parametrize("stage", ["content", "checksum"])
def test_a_failed_write_leaves_the_old_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    path = tmp_path / "checkpoint.npz"
    write_checkpoint(path, content(1))
    write_checkpoint(path, content(2))

    def fail(*_args: object) -> None:
        raise OSError(28, "No space left on device")

    name = {"content": "_write_archive", "checksum": "_digest"}[stage]
    with monkeypatch.context() as patch:
        patch.setattr(module, name, fail)
        with pytest.raises(FastDPError, match=r"checkpoint\.npz.*No space left"):
            write_checkpoint(path, content(3))
    assert same(content(2), read_checkpoint(path))
    assert same(content(1), read_checkpoint(previous_path(path)))
    write_checkpoint(path, content(4))
    assert same(content(4), read_checkpoint(path))


def test_every_flipped_bit_and_every_cut_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.npz"
    write_checkpoint(path, content())
    data = path.read_bytes()
    rng = np.random.default_rng(0)
    # The comment at the end bit by bit, the rest in samples.
    checked = [*range(len(data) - 91, len(data)), *rng.integers(0, len(data), 150)]
    for position in checked:
        damaged = bytearray(data)
        damaged[position] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=r"checkpoint\.npz"):
            read_checkpoint(path)
    for length in (0, 10, 91, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:length])
        with pytest.raises(CheckpointError, match=r"checkpoint\.npz"):
            read_checkpoint(path)


def test_fallback_to_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.npz"
    write_checkpoint(path, content(1))
    write_checkpoint(path, content(2))
    path.write_bytes(path.read_bytes()[:-100])
    warnings: list[str] = []
    found = load_latest(path, warnings.append)
    assert same(content(1), found)
    assert found.newest_is_damaged
    assert len(warnings) == 1
    assert "checkpoint.npz is damaged" in warnings[0]
    assert "checkpoint_previous.npz" in warnings[0]
    # The damaged one does not push the good one out.
    write_checkpoint(path, content(3), keep=False)
    assert same(content(1), read_checkpoint(previous_path(path)))


def test_newest_is_preferred_without_a_word(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.npz"
    write_checkpoint(path, content(1))
    write_checkpoint(path, content(2))
    warnings: list[str] = []
    assert same(content(2), replace(load_latest(path, warnings.append)))
    assert not warnings


def test_nothing_to_load(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.npz"
    with pytest.raises(CheckpointError, match="start the run without --resume"):
        load_latest(path, pytest.fail)
    path.write_bytes(b"rubbish")
    with pytest.raises(CheckpointError, match="is not a checkpoint"):
        load_latest(path, pytest.fail)
    previous_path(path).write_bytes(b"rubbish")
    with pytest.raises(CheckpointError, match=r"checkpoint_previous\.npz is damaged"):
        load_latest(path, pytest.fail)


def test_another_format_is_named(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.npz"
    write_checkpoint(path, content())
    data = path.read_bytes()
    path.write_bytes(data.replace(b"checkpoint 1", b"checkpoint 2", 1))
    with pytest.raises(CheckpointError, match="this version of fastdp"):
        read_checkpoint(path)


def test_numpy_alone_can_look_into_it(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.npz"
    write_checkpoint(path, content())
    with np.load(path) as archive:
        np.testing.assert_array_equal(archive["state/positions"], content().sections["state"]["positions"])
        assert b'"step": 1' in archive["header.json"]


def test_arrays_larger_than_the_buffer(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.npz"
    array = np.arange(3_000_000, dtype=np.float64).reshape(-1, 3)
    write_checkpoint(path, Checkpoint({}, {"state": {"positions": array}}))
    np.testing.assert_array_equal(read_checkpoint(path).sections["state"]["positions"], array)


def test_what_a_crash_left_half_renamed_does_not_take_the_newest_away(tmp_path: Path) -> None:
    """There is a whole checkpoint under the name of the newest at every moment."""
    path = tmp_path / "checkpoint.npz"
    write_checkpoint(path, content(1))
    previous_path(path).with_name("checkpoint_previous.npz.partial").write_bytes(b"half")
    module._keep_previous(path)
    assert same(content(1), read_checkpoint(path))
    assert same(content(1), read_checkpoint(previous_path(path)))
    assert sorted(os.listdir(tmp_path)) == ["checkpoint.npz", "checkpoint_previous.npz"]
