"""Builds the one compiled module where there is a C compiler; everything else about the project is in setup.cfg.

The module is optional: without a compiler the same source runs as plain Python, and hoopd says at start that it does.
"""

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError

modules = cythonize(
    [Extension("hoopd.protocols.postgres._cutting", ["hoopd/protocols/postgres/cutting.py"])], build_dir="build/cython"
)
for module in modules:
    module.optional = True  # cythonize() makes objects of its own, and would forget it


class WhereThereIsACompiler(build_ext):
    def build_extension(self, ext: Extension) -> None:
        try:
            super().build_extension(ext)
        except OSError as error:
            # no such program: setuptools lets that through, and would not take the module for optional
            raise CompileError(str(error)) from error


setup(ext_modules=modules, cmdclass={"build_ext": WhereThereIsACompiler})
