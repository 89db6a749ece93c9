"""What three-body loops need of each neighbour of one atom, and the way from ∂E/∂ρ back to the forces.

ρ = (t/σ) r̂ with t = w(r) r/(r + p)², w the switch.
"""

from __future__ import annotations

import numpy as np

from fastdp.parallel.symbols import inner

_FAST = {"reassoc", "contract", "nsz", "arcp", "afn"}

# Numbers of the table of the switch.
INNER, CUTOFF, WIDTH, PROTECTION, SWITCH_COLUMNS = range(5)
# First index of what is kept for each neighbour: ρ, r̂, dρ along r̂ and across it, r.
RHO_X, RHO_Y, RHO_Z, UNIT_X, UNIT_Y, UNIT_Z, ALONG, ACROSS, DISTANCE, TRIPLE_REALS = range(10)


@inner(fastmath=_FAST, error_model="numpy")
def prepare_neighbours(at, n, index, ex, ey, ez, inverse_r, switch, scale, kept, kept_index):
    """Append the neighbours of one type that the three-body part sees; return where the next goes.

    Parameters
    ----------
    at, n : int
        Where the first goes; number of neighbours within the cutoff of the whole model.
    index, ex, ey, ez, inverse_r : (capacity,)
        Of these.
    switch : (SWITCH_COLUMNS,) float64
    scale : float
        1/σ.
    kept : (TRIPLE_REALS, capacity)
        Filled.
    kept_index : (capacity,) int32
        Filled.
    """
    one = ex.dtype.type(1.0)
    cutoff = ex.dtype.type(switch[CUTOFF])
    inner = ex.dtype.type(switch[INNER])
    inverse_width = ex.dtype.type(1.0 / switch[WIDTH])
    protection = ex.dtype.type(switch[PROTECTION])
    scale = ex.dtype.type(scale)
    six, fifteen, ten = ex.dtype.type(6.0), ex.dtype.type(15.0), ex.dtype.type(10.0)
    thirty = ex.dtype.type(30.0)
    zero = ex.dtype.type(0.0)
    for p in range(n):
        r = one / inverse_r[p]
        u = min(max((r - inner) * inverse_width, zero), one)
        w = u * u * u * ((fifteen - six * u) * u - ten) + one
        rest = u * (one - u)
        w_slope = -thirty * rest * rest * inverse_width
        distance = r + protection
        inverse = one / distance
        t = w * r * inverse * inverse
        # t = (w/d) (r/d), d = r + p.
        t_slope = (w_slope * r + w * (protection - r) * inverse) * inverse * inverse
        t *= scale
        kept[RHO_X, at] = t * ex[p]
        kept[RHO_Y, at] = t * ey[p]
        kept[RHO_Z, at] = t * ez[p]
        kept[UNIT_X, at] = ex[p]
        kept[UNIT_Y, at] = ey[p]
        kept[UNIT_Z, at] = ez[p]
        kept[ALONG, at] = t_slope * scale
        kept[ACROSS, at] = t * inverse_r[p]
        kept[DISTANCE, at] = r
        kept_index[at] = index[p]
        # Written always, kept only if it counts.
        at += (r < cutoff) & (scale > zero)
    return at


@inner(fastmath=_FAST, error_model="numpy")
def scatter_triples(n, kept, kept_index, by_rho, owner, centre, forces, with_virial, virial):
    """Add the forces of one atom's three-body energy, and its virial, from ∂E_i/∂ρ.

    g = (dt/dr)(∂E/∂ρ·r̂) r̂ + (t/r)(∂E/∂ρ − (∂E/∂ρ·r̂) r̂), with t divided by σ: added to the force on the
    centre, taken from that on the neighbour.
    """
    fx = 0.0
    fy = 0.0
    fz = 0.0
    for p in range(n):
        x = np.float64(kept[UNIT_X, p])
        y = np.float64(kept[UNIT_Y, p])
        z = np.float64(kept[UNIT_Z, p])
        gx = np.float64(by_rho[p, 1])
        gy = np.float64(by_rho[p, 2])
        gz = np.float64(by_rho[p, 3])
        across = np.float64(kept[ACROSS, p])
        radial = (np.float64(kept[ALONG, p]) - across) * (gx * x + gy * y + gz * z)
        gx = radial * x + across * gx
        gy = radial * y + across * gy
        gz = radial * z + across * gz
        row = owner[kept_index[p]]
        forces[row, 1] -= gx
        forces[row, 2] -= gy
        forces[row, 3] -= gz
        fx += gx
        fy += gy
        fz += gz
        if with_virial:
            r = np.float64(kept[DISTANCE, p])
            virial[0] -= gx * x * r
            virial[1] -= gx * y * r
            virial[2] -= gx * z * r
            virial[3] -= gy * x * r
            virial[4] -= gy * y * r
            virial[5] -= gy * z * r
            virial[6] -= gz * x * r
            virial[7] -= gz * y * r
            virial[8] -= gz * z * r
    forces[centre, 1] += fx
    forces[centre, 2] += fy
    forces[centre, 3] += fz
