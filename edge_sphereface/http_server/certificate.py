"""The certificate of a server, for TLS."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge_sphereface.errors import SinkError

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """Files of a certificate.

    Attributes:
        file: the certificate, with those of its issuers, as PEM.
        key: its private key as PEM, without a passphrase.
    """

    file: Path
    key: Path

    def require(self) -> None:
        """Refuse files that cannot be used.

        Raises:
            SinkError: a file is missing, is no PEM, has a passphrase, or the two do not belong together.
        """

        def refuse() -> str:
            raise SinkError(f"The key {self.key} has a passphrase.", hint="give a key without one, of mode 0600")

        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(self.file, self.key, password=refuse)
        except ssl.SSLError as error:
            raise SinkError(
                f"The certificate {self.file} with the key {self.key} cannot be used: {error.reason or error}.",
                hint="both must be PEM files, and belong together",
            ) from error
        except SinkError:
            raise
        except OSError as error:
            raise SinkError(
                f"Cannot read the certificate {self.file} or its key {self.key}: {error.strerror or error}.",
                hint="check both paths",
            ) from error
