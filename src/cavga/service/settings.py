"""What `cavga serve` is told: where it listens, who may come in, and how much it takes."""

import ipaddress
import os
from dataclasses import dataclass
from pathlib import Path

from cavga.errors import UsageError
from cavga.regular_files import read_regular

TOKEN_VARIABLE = "CAVGA_TOKEN"  # nosec B105
MIN_TOKEN_CHARACTERS = 16
MIB = 2**20
_POSITIVE = {
    "max_body_bytes": "--max-body-mb",
    "max_pixels": "--max-megapixels",
    "deadline": "--deadline",
    "queue": "--queue",
    "max_models": "--max-models",
}


@dataclass(frozen=True)
class ServiceSettings:
    """Limits of a server; each has a flag of `cavga serve`. `deadline` is in seconds, from a request's first byte."""

    host: str = "127.0.0.1"
    port: int = 8000
    token: str | None = None
    is_insecure: bool = False
    max_body_bytes: int = 32 * MIB
    max_pixels: int = 50_000_000
    """Of one photograph: a few bytes of a file can claim far more than there is memory for."""
    deadline: float = 10.0
    queue: int = 64
    """Requests that are worked on or wait at once."""
    max_models: int = 4
    """Models that are loaded at once."""
    projects: Path | None = None
    """The folder of the page's projects; None leaves the page out."""

    def __post_init__(self) -> None:
        for name, flag in _POSITIVE.items():
            if not 0 < getattr(self, name) < float("inf"):
                raise UsageError(f"{name} ({flag}): expected more than 0, got {getattr(self, name)}")
        if not 0 <= self.port < 2**16:
            raise UsageError(f"port (--port): expected 0 to {2**16 - 1}, got {self.port}")
        if self.token is None and not self.is_insecure and not is_loopback(self.host):
            raise UsageError(
                f"host {self.host} can be reached from other machines: give a token (--token-file FILE, or the "
                f"variable {TOKEN_VARIABLE}), or say --insecure to let everyone in"
            )


def is_loopback(host: str) -> bool:
    """Whether an address is of this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def read_token(file: Path | None) -> str | None:
    """The token of a file, else of the environment; None where there is neither. Raises UsageError."""
    if file is None:
        token, source = os.environ.get(TOKEN_VARIABLE), TOKEN_VARIABLE
    else:
        try:
            token, source = read_regular(file).decode(), str(file)
        except (OSError, UnicodeDecodeError):
            raise UsageError(f"token file {file}: cannot be read as text; check the path and its rights") from None
    if token is None:
        return None
    token = token.strip()
    if len(token) < MIN_TOKEN_CHARACTERS or not token.isascii() or not token.isprintable() or " " in token:
        raise UsageError(
            f"{source}: expected a token of at least {MIN_TOKEN_CHARACTERS} printable ASCII characters without spaces; "
            "`openssl rand -hex 32` makes one"
        )
    return token
