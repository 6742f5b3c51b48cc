"""Images: the set that is always there, files as their publishers write them, and clear words where there are none."""

import gzip
import struct

import numpy as np
import pytest
from scipy.io import savemat

from pdekit.errors import DataError
from pdekit.flows import digits, mnist, omniglot

NAMES = {
    "train-images-idx3-ubyte": "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte": "t10k-labels-idx1-ubyte",
}


def idx(array, kind):
    return struct.pack(f">{1 + array.ndim}I", kind, *array.shape) + array.tobytes()


def written(folder, zipped, kind=2051):
    rng = np.random.default_rng(0)
    made = []
    for images, labels in NAMES.items():
        x, y = rng.integers(0, 256, (5, 28, 28), np.uint8), rng.integers(0, 10, 5).astype(np.uint8)
        for name, data in ((images, idx(x, kind)), (labels, idx(y, 2049))):
            path = folder / (f"{name}.gz" if zipped else name)
            path.write_bytes(gzip.compress(data) if zipped else data)
        made.append((x, y))
    return made


def test_digits():
    found = digits()
    assert found.images.shape == (1797, 64)
    assert found.images.dtype == np.float32
    assert (found.images.min(), found.images.max()) == (0, 1)
    assert sorted(set(found.labels)) == list(range(10))
    assert "1,797 of 8 x 8" in repr(found)


@pytest.mark.parametrize("zipped", [False, True])
def test_mnist_from_files(tmp_path, zipped):
    (x, y), (x_test, y_test) = written(tmp_path, zipped)
    found = mnist(tmp_path)
    np.testing.assert_allclose(found.images, x.reshape(5, 784) / 255, rtol=1e-6)
    np.testing.assert_array_equal(found.labels, y)
    np.testing.assert_allclose(found.test.images, x_test.reshape(5, 784) / 255, rtol=1e-6)
    np.testing.assert_array_equal(found.test.labels, y_test)
    assert "5 to test with" in repr(found)


def test_missing_and_broken_files_are_named(tmp_path):
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte.*download=True"):
        mnist(tmp_path)
    with pytest.raises(DataError, match=r"chardata\.mat"):
        omniglot(tmp_path)
    written(tmp_path, False, kind=2049)
    with pytest.raises(DataError, match="no IDX file of images: begins with 2049"):
        mnist(tmp_path)
    (tmp_path / "train-images-idx3-ubyte").write_bytes(b"\x00\x00")
    with pytest.raises(DataError, match="no IDX file"):
        mnist(tmp_path)
    (tmp_path / "chardata.mat").write_bytes(b"nothing")
    with pytest.raises(DataError, match="does not hold"):
        omniglot(tmp_path)


def test_omniglot_is_read_by_columns(tmp_path):
    rng = np.random.default_rng(0)
    images = rng.random((7, 28, 28))
    columns = images.transpose(2, 1, 0).reshape(784, 7)  # MATLAB keeps an image by columns
    savemat(tmp_path / "chardata.mat", {"data": columns, "testdata": columns[:, :2]})
    found = omniglot(tmp_path)
    np.testing.assert_allclose(found.images.reshape(7, 28, 28), images, rtol=1e-6)
    assert found.test.images.shape == (2, 784)
