"""The packages of compmod: the repository's root is the package, and its folders are the subpackages."""

from setuptools import find_packages, setup

FOLDERS = ("pretrain", "transfer", "tables", "slurm")
setup(packages=["compmod", *(f"compmod.{name}" for name in find_packages(include=[f"{name}*" for name in FOLDERS]))])
