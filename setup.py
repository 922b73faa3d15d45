"""The C extensions, which setup.cfg cannot describe; everything else stands there.

They are optional: where there is no compiler, powdo is installed without them, mines with hashlib and puts
blobs on disk from Python.
"""

from setuptools import Extension, setup

_FOLDER = "powdo/csrc"


def _extension(name: str, sources: tuple[str, ...], headers: tuple[str, ...] = ()) -> Extension:
    return Extension(
        f"powdo.{name}",
        sources=[f"{_FOLDER}/{source}.c" for source in sources],
        depends=[f"{_FOLDER}/{header}.h" for header in headers],
        define_macros=[("Py_LIMITED_API", "0x030B0000")],
        py_limited_api=True,
        extra_compile_args=["-O2", "-std=gnu11", "-g0"],  # debugging symbols would be nine tenths of it
        extra_link_args=["-Wl,-s"],
        optional=True,
    )


setup(
    ext_modules=[
        _extension("_miner", ("miner", "scalar", "sha_ni", "avx2", "avx512"), ("miner", "lanes")),
        _extension("_disk", ("disk",)),
    ]
)
