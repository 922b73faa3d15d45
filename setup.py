"""The C extension, which setup.cfg cannot describe; everything else stands there.

It is optional: where there is no compiler, powdo is installed without it and mines with hashlib.
"""

from setuptools import Extension, setup

_FOLDER = "powdo/csrc"

setup(
    ext_modules=[
        Extension(
            "powdo._miner",
            sources=[f"{_FOLDER}/{name}.c" for name in ("miner", "scalar", "sha_ni", "avx2", "avx512")],
            depends=[f"{_FOLDER}/{name}.h" for name in ("miner", "lanes")],
            define_macros=[("Py_LIMITED_API", "0x030B0000")],
            py_limited_api=True,
            extra_compile_args=["-O2", "-std=gnu11", "-g0"],  # debugging symbols would be nine tenths of it
            extra_link_args=["-Wl,-s"],
            optional=True,
        )
    ]
)
