import zipfile

import h5py
import numpy as np
import pytest

from fastdp.errors import ModelError, UnsupportedModelError
from fastdp.model.readers.registry import read_model


def archive(path, *names):
    with zipfile.ZipFile(path, "w") as file:
        for name in names:
            file.writestr(name, b"")


def test_the_content_decides_and_not_the_name(model_file, tmp_path):
    path = tmp_path / "model.dp"
    path.write_bytes(model_file("one_type").read_bytes())
    assert read_model(str(path)).type_names == ("Cu",)


def write_hdf5(path):
    with h5py.File(path, "w") as file:
        file.attrs["json"] = "{}"


@pytest.mark.parametrize(
    ("write", "name"),
    [
        (lambda path: np.save(path.open("wb"), np.zeros(3)), "NumPy"),
        (lambda path: path.write_bytes(b"\x80\x02}q\x00."), "pickle"),
    ],
)
def test_formats_that_are_not_read_are_named(tmp_path, write, name):
    path = tmp_path / "model.pb"
    write(path)
    with pytest.raises(UnsupportedModelError, match=name) as caught:
        read_model(path)
    assert str(path) in str(caught.value)
    assert "not read yet" in str(caught.value)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: archive(path, "m/data.pkl", "m/code/x.py"), "pickle is not complete"),
        (write_hdf5, "no table 'model'"),
        (lambda path: path.write_text("node {\n  name: 'x'\n}\n"), "no energy output"),
        (lambda path: path.write_text("# a comment\nnode: {\n"), "in text form; the file is truncated"),
        (lambda path: path.write_text("backend: TensorFlow\nmodel:\n  '@class': Model\n"), "no type_map"),
        (lambda path: path.write_text('{"model": {"type_map": ["O"]}}'), "'descriptor' is no table"),
        (lambda path: path.write_text('{"model": '), "JSON is truncated"),
    ],
)
def test_incomplete_models_of_each_format(tmp_path, write, message):
    path = tmp_path / "model.pb"
    write(path)
    with pytest.raises(ModelError, match=message) as caught:
        read_model(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"hello, this is not a model", "not a model file that fastdp knows"),
        (b"\x7fELF\x02\x01", "not a model file that fastdp knows"),
        (b"\n\n\n\n", "truncated or damaged|not a model"),
        (b"PK\x03\x04garbage", "ZIP archive that is truncated or damaged"),
        (bytes(1000), "not a model file that fastdp knows"),
    ],
)
def test_files_that_are_no_models(tmp_path, content, message):
    path = tmp_path / "model.pb"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=message) as caught:
        read_model(path)
    assert str(path) in str(caught.value)


def test_an_archive_of_something_else(tmp_path):
    archive(tmp_path / "a.zip", "readme.txt")
    with pytest.raises(ModelError, match="but not a model"):
        read_model(tmp_path / "a.zip")


def test_missing_files_and_folders(tmp_path):
    with pytest.raises(ModelError, match=r"nowhere\.pb: cannot be read: No such file"):
        read_model(tmp_path / "nowhere.pb")
    with pytest.raises(ModelError, match="is a folder"):
        read_model(tmp_path)
