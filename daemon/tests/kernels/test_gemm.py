"""Products of quantised rows with weights of 8 and of 4 bits: at every level that this processor runs, against NumPy's over the same
rounded numbers; and for any number of threads, also more than there are cores."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from green_code.kernels import build
from green_code.kernels.binding import CMatrix, CQuantisedRows
from green_code.kernels.build import TARGETS, this_target
from green_code.kernels.quantise import GROUP, NIBBLE_GROUP, QUANTISED_MAX, TILE, dequantise, quantise
from tests.kernels.guarded import guarded

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="threads are POSIX's")
SHAPES = [(128, 64), (64, 128), (192, 448), (130, 704)]
ROWS = [1, 2, 3, 4, 5, 8, 13, 16, 17, 64]  # of each way through gemm.h


@pytest.fixture(scope="module")
def products(libraries: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, ctypes.CDLL]:
    triple, levels, _ = TARGETS[this_target()]
    folder, loaded = tmp_path_factory.mktemp("gemm"), {}
    for level in libraries:
        made = folder / f"{level}.so"
        compiler = (
            sys.executable,
            "-m",
            "ziglang",
            "cc",
            "-target",
            triple,
            f"-mcpu={levels[level]}",
            "-shared",
            "-fPIC",
        )
        traps = ("-fsanitize=undefined", "-fsanitize-trap=undefined")
        source = Path(__file__).with_name("gemm_check.c")
        subprocess.run([*compiler, *build.FLAGS, *traps, f"-I{build.HERE}", str(source), "-o", str(made)], check=True)
        loaded[level] = ctypes.CDLL(str(made))
    return loaded


def multiply(
    library: ctypes.CDLL, packed: np.ndarray, x: np.ndarray, bits: int, side: str = "after", workers: int = 1
) -> np.ndarray:
    """(rows, N) float32, with a forbidden page beside each buffer."""
    rows, inputs = x.shape
    outputs = len(packed) * GROUP // inputs * TILE
    packed, x = guarded(packed, side), guarded(x, side)
    made = [
        guarded(np.zeros(shape, kind), side)
        for shape, kind in (
            ((rows, inputs), np.int8),
            ((rows, inputs // GROUP), np.float32),
            ((rows, inputs // NIBBLE_GROUP), np.int32),
        )
    ]
    out = guarded(np.full((rows, outputs), np.nan, np.float32), side)
    quantised = CQuantisedRows(*(array.ctypes.data for array in made))
    matrix = CMatrix(packed.ctypes.data, outputs, inputs, bits)
    library.check_quantise(ctypes.c_void_p(x.ctypes.data), inputs, rows, ctypes.byref(quantised))
    library.check_gemm(
        ctypes.byref(matrix), ctypes.byref(matrix), ctypes.byref(quantised), rows, ctypes.c_void_p(out.ctypes.data),
        outputs, workers,
    )  # fmt: skip
    return out


def expected(packed: np.ndarray, x: np.ndarray, bits: int) -> np.ndarray:
    """In float64, over rows rounded as the kernel rounds them: the largest of 64 values is ±127."""
    groups = x.reshape(len(x), -1, GROUP).astype(np.float64)
    scales = np.abs(groups).max(-1, keepdims=True) / QUANTISED_MAX
    rounded = np.rint(groups / np.where(scales > 0, scales, 1)) * scales
    return np.asarray(rounded.reshape(x.shape) @ dequantise(packed, x.shape[1], bits).astype(np.float64).T)


def close(found: np.ndarray, wanted: np.ndarray) -> bool:
    # A value between two steps may round the other way in float32.
    return bool(np.abs(found - wanted).max() <= 1e-3 * np.abs(wanted).max() + 1e-30)


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("side", ["before", "after"])
def test_products_are_those_of_numpy_within_bounds(bits: int, side: str, products: Mapping[str, ctypes.CDLL]) -> None:
    random = np.random.default_rng(0)
    for outputs, inputs in SHAPES:
        packed = quantise(random.standard_normal((outputs, inputs)).astype(np.float32), bits)
        x = random.standard_normal((max(ROWS), inputs)).astype(np.float32)
        wanted, all_levels = expected(packed, x, bits), []
        for level, library in products.items():
            whole = multiply(library, packed, x, bits, side)
            all_levels.append(whole)
            assert close(whole, wanted), (level, outputs, inputs)
            for rows in ROWS:
                assert np.array_equal(multiply(library, packed, x[-rows:], bits, side), whole[-rows:]), (level, rows)
        assert all(np.array_equal(found, all_levels[0]) for found in all_levels), "levels differ"


@pytest.mark.parametrize("bits", [8, 4])
def test_any_number_of_threads_gives_the_same_bits(bits: int, products: Mapping[str, ctypes.CDLL]) -> None:
    random = np.random.default_rng(1)
    packed = quantise(random.standard_normal((14 * TILE, 128)).astype(np.float32), bits)
    x = random.standard_normal((20, 128)).astype(np.float32)
    for level, library in products.items():
        for rows in (1, 20):
            alone = multiply(library, packed, x[:rows], bits)
            for workers in (2, 3, 8):
                assert np.array_equal(multiply(library, packed, x[:rows], bits, workers=workers), alone), (
                    level,
                    workers,
                )


@pytest.mark.parametrize("bits", [8, 4])
def test_extreme_numbers_neither_wrap_nor_saturate(bits: int, products: Mapping[str, ctypes.CDLL]) -> None:
    """Sums are greatest where all signs agree; a group of zeros has no scale; products may be near float32's greatest."""
    ones = np.ones((TILE, 192), np.float32)
    signs = np.where(np.arange(192) % 2, 1, -1).astype(np.float32) * ones
    zeros = ones.copy()
    zeros[:, 64:128] = 0
    ramp = np.linspace(-1, 1, 192, dtype=np.float32) * ones
    for weight in (ones, -ones, signs, zeros, ramp, 1e18 * signs, 1e18 * ramp, 1e-30 * ramp, 0 * ones):
        packed = quantise(weight, bits)
        assert np.isfinite(dequantise(packed, 192, bits)).all()
        for x in (ones[:17], -ones[:17], signs[:17], zeros[:17], 1e15 * ramp[:17], 0 * ones[:17]):
            wanted = expected(packed, x, bits)
            for level, library in products.items():
                for rows in (1, 17):
                    found = multiply(library, packed, x[:rows], bits)
                    # Relative to the sum of magnitudes: terms may cancel.
                    size = np.abs(x[:rows]).sum(-1, keepdims=True) * np.abs(weight).max()
                    assert (np.abs(found - wanted[:rows]) <= 1e-5 * size + 1e-25).all(), level
