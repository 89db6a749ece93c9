import numpy as np

from fastdp.potential.compressed.projector import balance


def test_projector_is_oblique_and_keeps_what_matters(generator):
    basis = np.linalg.qr(generator.normal(size=(12, 12)))[0]
    reach = basis @ np.diag(10.0 ** -np.arange(12.0)) @ basis.T
    other = np.linalg.qr(generator.normal(size=(12, 12)))[0]
    gradients = other @ np.diag(10.0 ** (-0.5 * np.arange(12.0))) @ other.T
    found = balance(reach, gradients)
    q = 7
    right, left = found.right[:, :q], found.left[:, :q]
    np.testing.assert_allclose(left.T @ right, np.eye(q), atol=1e-10)
    # The error of the projection, weighed by the gradients, is the sum of what was left out.
    rest = np.eye(12) - right @ left.T
    floor = 1e-6 * np.trace(gradients) / 12 * np.eye(12)
    lost = np.trace(rest.T @ (gradients + floor) @ rest @ reach)
    np.testing.assert_allclose(lost, np.sum(found.singular_values[q:] ** 2), rtol=1e-6)
    assert np.all(np.diff(found.singular_values) <= 0.0)


def test_a_direction_with_dominant_weight_is_reproduced(generator):
    constant = generator.normal(size=9)
    reach = np.diag(10.0 ** -np.arange(9.0)) + 1e6 * np.outer(constant, constant)
    found = balance(reach, np.eye(9))
    kept = found.right[:, :3] @ found.left[:, :3].T @ constant
    np.testing.assert_allclose(kept, constant, atol=1e-5)
