"""The packages of compmod: the repository's root is the package, and its folders are the subpackages."""

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

FOLDERS = ("pretrain", "transfer", "tables", "slurm")


class BuildWithoutThisFile(build_py):
    """It lies among the modules of the root, and is none of them."""

    def find_package_modules(self, package: str, package_dir: str) -> list[tuple[str, str, str]]:
        """Package, name and path of every module."""
        return [module for module in super().find_package_modules(package, package_dir) if module[1] != "setup"]


setup(
    packages=["compmod", *(f"compmod.{name}" for name in find_packages(include=[f"{name}*" for name in FOLDERS]))],
    cmdclass={"build_py": BuildWithoutThisFile},
)
