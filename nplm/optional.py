"""Optional dependencies, and the error for a missing one."""

from importlib import import_module
from types import ModuleType

from nplm.errors import InputError


def load(package: str, extra: str, purpose: str) -> ModuleType:
    """Import a package and return it.  If it is missing, raises InputError with the command that installs it."""
    try:
        return import_module(package)
    except ImportError as error:
        raise InputError(
            f"{purpose} needs the package {package.split('.')[0]}, which cannot be imported ({error}):"
            f" pip install 'nplm-nce[{extra}]'"
        ) from error
