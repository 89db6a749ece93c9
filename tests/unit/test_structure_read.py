"""Reading structures: ASE's formats, DeePMD-kit's folders, supercells, masses."""

from collections.abc import Callable
from pathlib import Path

import ase
import ase.build
import ase.io
import numpy as np
import pytest
from ase import units

from fastdp.errors import StructureError
from fastdp.structure.read import read_structure

CELL = np.array([[8.0, 0.0, 0.0], [1.0, 9.0, 0.0], [0.5, -0.7, 10.0]])


def water() -> ase.Atoms:
    return ase.Atoms("OHH", [[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]], cell=CELL, pbc=[True, True, False])


def write(path: Path, *frames: ase.Atoms) -> Path:
    ase.io.write(path, list(frames))
    return path


def deepmd_folder(path: Path, *, n_frames: int = 3, n_sets: int = 2) -> np.ndarray:
    """Write a folder of water molecules; return its coordinates (frame, atom, 3)."""
    generator = np.random.default_rng(7)
    coordinates = generator.normal(size=(n_sets * n_frames, 3, 3))
    path.mkdir()
    (path / "type.raw").write_text("0\n1\n1\n")
    (path / "type_map.raw").write_text("O\nH\n")
    for index in range(n_sets):
        folder = path / f"set.{index:03d}"
        folder.mkdir()
        part = coordinates[index * n_frames : (index + 1) * n_frames]
        np.save(folder / "coord.npy", part.reshape(n_frames, 9))
        np.save(folder / "box.npy", np.tile(CELL.ravel(), (n_frames, 1)))
    return coordinates


class TestFilesOfAse:
    def test_everything_is_taken_over(self, tmp_path: Path) -> None:
        structure = read_structure(write(tmp_path / "a.extxyz", water()))
        assert structure.symbols == ("O", "H", "H")
        np.testing.assert_allclose(structure.positions, water().positions, atol=1e-8)  # extxyz keeps 8 digits
        np.testing.assert_allclose(structure.cell, CELL, atol=1e-12)
        assert structure.periodic.tolist() == [True, True, False]
        assert structure.masses.tolist() == [15.999, 1.008, 1.008]
        assert structure.velocities is None
        assert structure.images.tolist() == [[0, 0, 0]] * 3
        assert structure.volume == pytest.approx(720.0)
        assert structure.notes == ()

    def test_velocities_come_in_A_per_ps(self, tmp_path: Path) -> None:
        atoms = water()
        velocities = np.random.default_rng(1).normal(size=(3, 3))
        atoms.set_velocities(velocities * units.Ang / (1000 * units.fs))
        structure = read_structure(write(tmp_path / "a.traj", atoms))
        np.testing.assert_allclose(structure.velocities, velocities, rtol=1e-12)

    def test_a_column_of_unknown_unit_is_left_out_and_noted(self, tmp_path: Path) -> None:
        atoms = water()
        atoms.new_array("vel", np.ones((3, 3)))
        structure = read_structure(write(tmp_path / "a.extxyz", atoms))
        assert structure.velocities is None
        assert "`vel`" in structure.notes[0]

    def test_constraints_are_noted(self, tmp_path: Path) -> None:
        atoms = water()
        atoms.set_constraint(ase.constraints.FixAtoms([0]))
        assert "every atom moves" in read_structure(write(tmp_path / "a.traj", atoms)).notes[0]

    def test_masses_of_the_file_and_of_the_user(self, tmp_path: Path) -> None:
        atoms = water()
        atoms.set_masses([17.0, 2.0, 1.0])
        path = write(tmp_path / "a.extxyz", atoms)
        assert read_structure(path).masses.tolist() == [17.0, 2.0, 1.0]
        assert read_structure(path, masses={"H": 2.014}).masses.tolist() == [17.0, 2.014, 2.014]

    @pytest.mark.parametrize(("frame", "expected"), [(0, 1.0), (-1, 3.0), (1, 2.0), (-3, 1.0)])
    def test_frame(self, tmp_path: Path, frame: int, expected: float) -> None:
        frames = []
        for x in (1.0, 2.0, 3.0):
            atoms = water()
            atoms.positions[0, 0] = x
            frames.append(atoms)
        path = write(tmp_path / "a.extxyz", *frames)
        assert read_structure(path, frame=frame).positions[0, 0] == expected

    @pytest.mark.parametrize("frame", [1, -2])
    def test_no_such_frame(self, tmp_path: Path, frame: int) -> None:
        with pytest.raises(StructureError, match=f"no frame {frame}"):
            read_structure(write(tmp_path / "a.extxyz", water()), frame=frame)

    def test_at_sign_in_a_name_is_not_a_frame(self, tmp_path: Path) -> None:
        assert read_structure(write(tmp_path / "a.xyz", water()).rename(tmp_path / "a@1.xyz")).n_atoms == 3

    @pytest.mark.parametrize(
        ("name", "content"),
        [
            ("a.extxyz", ""),
            ("a.extxyz", "not a number\n"),
            ("a.extxyz", "3\n\nO 0 0 0\n"),
            ("a.extxyz", "1\n\nQq 0 0 0\n"),
            ("a.unheard_of", "hello"),
            ("a.cif", "hello"),
        ],
    )
    def test_damaged_files(self, tmp_path: Path, name: str, content: str) -> None:
        (tmp_path / name).write_text(content)
        with pytest.raises(StructureError, match=name):
            read_structure(tmp_path / name)

    def test_missing_file(self, tmp_path: Path) -> None:
        with pytest.raises(StructureError, match="no such file"):
            read_structure(tmp_path / "a.extxyz")

    def test_elements_by_number_only_are_refused(self, tmp_path: Path) -> None:
        """ASE would read type 1 as hydrogen and type 2 as helium."""
        ase.io.write(tmp_path / "a.data", water(), format="lammps-data", masses=False)
        with pytest.raises(StructureError, match="without naming them"):
            read_structure(tmp_path / "a.data", file_format="lammps-data")
        ase.io.write(tmp_path / "b.data", water(), format="lammps-data", masses=True)
        structure = read_structure(tmp_path / "b.data", file_format="lammps-data")
        assert structure.symbols == ("O", "H", "H")

    def test_unknown_format(self, tmp_path: Path) -> None:
        with pytest.raises(StructureError, match="no format 'extxzy'"):
            read_structure(write(tmp_path / "a.extxyz", water()), file_format="extxzy")

    def test_dump_without_elements_is_refused(self, tmp_path: Path) -> None:
        head = "ITEM: TIMESTEP\n0\nITEM: NUMBER OF ATOMS\n1\nITEM: BOX BOUNDS pp pp pp\n0 9\n0 9\n0 9\n"
        (tmp_path / "a.lammpstrj").write_text(f"{head}ITEM: ATOMS id type x y z\n1 1 0 0 0\n")
        with pytest.raises(StructureError, match="without naming them"):
            read_structure(tmp_path / "a.lammpstrj")
        (tmp_path / "b.lammpstrj").write_text(f"{head}ITEM: ATOMS id type element x y z\n1 1 Cu 0 0 0\n")
        assert read_structure(tmp_path / "b.lammpstrj").symbols == ("Cu",)


class TestDeepmdFolders:
    @pytest.mark.parametrize("frame", [0, 2, 3, 5, -1, -6])
    def test_frames_run_over_all_sets(self, tmp_path: Path, frame: int) -> None:
        coordinates = deepmd_folder(tmp_path / "data")
        structure = read_structure(tmp_path / "data", frame=frame)
        np.testing.assert_array_equal(structure.positions, coordinates[frame])
        np.testing.assert_array_equal(structure.cell, CELL)
        assert structure.symbols == ("O", "H", "H")
        assert structure.periodic.all()
        assert structure.masses.tolist() == [15.999, 1.008, 1.008]

    def test_open_boundaries(self, tmp_path: Path) -> None:
        deepmd_folder(tmp_path / "data")
        (tmp_path / "data" / "nopbc").touch()
        structure = read_structure(tmp_path / "data")
        assert not structure.periodic.any()
        assert not structure.cell.any()

    def test_mixed_layout(self, tmp_path: Path) -> None:
        coordinates = deepmd_folder(tmp_path / "data", n_sets=1, n_frames=2)
        np.save(tmp_path / "data" / "set.000" / "real_atom_types.npy", [[0, 1, 1], [1, -1, 0]])
        structure = read_structure(tmp_path / "data", frame=1)
        assert structure.symbols == ("H", "O")
        np.testing.assert_array_equal(structure.positions, coordinates[1][[0, 2]])
        spins = np.arange(18.0).reshape(2, 9)
        np.save(tmp_path / "data" / "set.000" / "spin.npy", spins)
        found = read_structure(tmp_path / "data", frame=1).spins
        np.testing.assert_array_equal(found, spins[1].reshape(3, 3)[[0, 2]])

    def test_names_that_are_no_elements_need_masses(self, tmp_path: Path) -> None:
        deepmd_folder(tmp_path / "data")
        (tmp_path / "data" / "type_map.raw").write_text("OW HW")
        with pytest.raises(StructureError, match="no mass is known for HW, OW"):
            read_structure(tmp_path / "data")
        structure = read_structure(tmp_path / "data", masses={"OW": 16.0, "HW": 1.0})
        assert structure.masses.tolist() == [16.0, 1.0, 1.0]

    def test_masses_of_absent_names_are_a_mistake(self, tmp_path: Path) -> None:
        deepmd_folder(tmp_path / "data")
        with pytest.raises(StructureError, match="names Cu, but the structure has only H, O"):
            read_structure(tmp_path / "data", masses={"Cu": 63.0})

    @pytest.mark.parametrize(
        ("damage", "expected"),
        [
            (lambda folder: (folder / "type_map.raw").unlink(), "type_map.raw is missing"),
            (lambda folder: (folder / "type.raw").unlink(), "type.raw"),
            (lambda folder: (folder / "type.raw").write_text("0 1 one"), "type.raw"),
            (lambda folder: (folder / "type.raw").write_text("0 1 2"), "names only types 0 to 1"),
            (lambda folder: (folder / "type.raw").write_text("0 1"), "expected 6"),
            (lambda folder: (folder / "set.001" / "box.npy").unlink(), "nopbc"),
            (lambda folder: (folder / "set.001" / "coord.npy").write_bytes(b"\x93NUMPY"), "coord.npy"),
            (lambda folder: np.save(folder / "set.001" / "box.npy", np.ones((3, 6))), "expected 9"),
            (lambda folder: np.save(folder / "set.001" / "box.npy", np.ones((1, 9))), "only 1 frames"),
            (lambda folder: np.save(folder / "set.001" / "coord.npy", np.array([None])), "coord.npy"),
            (lambda folder: np.save(folder / "set.001" / "coord.npy", np.array(3.0)), "not a table"),
        ],
    )
    def test_damage_is_named(self, tmp_path: Path, damage: Callable[[Path], None], expected: str) -> None:
        deepmd_folder(tmp_path / "data")
        damage(tmp_path / "data")
        with pytest.raises(StructureError, match=expected) as caught:
            read_structure(tmp_path / "data")
        assert str(tmp_path / "data") in str(caught.value)

    def test_no_such_frame(self, tmp_path: Path) -> None:
        deepmd_folder(tmp_path / "data")
        with pytest.raises(StructureError, match="has 6 frames"):
            read_structure(tmp_path / "data", frame=6)

    def test_shared_water(self, shared: Path) -> None:
        structure = read_structure(shared / "water" / "data_0", frame=0)
        assert structure.n_atoms == 192
        assert structure.symbols.count("O") == 64


class TestRepeat:
    def test_supercell_is_the_one_of_ase(self, tmp_path: Path) -> None:
        atoms = ase.build.bulk("Cu") * (1, 1, 2)
        atoms.set_velocities([[1, 2, 3], [4, 5, 6]])
        structure = read_structure(write(tmp_path / "a.traj", atoms), repeat=(2, 1, 3))
        expected = atoms * (2, 1, 3)
        np.testing.assert_allclose(structure.positions, expected.positions, atol=1e-12)
        np.testing.assert_allclose(structure.cell, expected.cell[:], atol=1e-12)
        assert structure.velocities is not None
        assert structure.velocities.shape == structure.images.shape == (12, 3)
        assert structure.masses.shape == (12,)
        assert "same velocities" in structure.notes[0]

    def test_copies_carry_what_belongs_to_each_atom(self, tmp_path: Path) -> None:
        atoms = water()
        atoms.set_masses([18.0, 2.0, 3.0])
        atoms.set_velocities([[1, 2, 3], [4, 5, 6], [7, 8, 9]])
        path = write(tmp_path / "a.traj", atoms)
        one, four = read_structure(path), read_structure(path, repeat=(2, 2, 1))
        for copy in range(4):
            part = slice(3 * copy, 3 * copy + 3)
            np.testing.assert_array_equal(four.velocities[part], one.velocities)
            np.testing.assert_array_equal(four.masses[part], one.masses)
            assert four.symbols[part] == one.symbols

    def test_open_directions_cannot_be_repeated(self, tmp_path: Path) -> None:
        with pytest.raises(StructureError, match="along c, which is not periodic"):
            read_structure(write(tmp_path / "a.extxyz", water()), repeat=(2, 1, 2))
