"""Certificates of every kind, from an authority of the tests' own, made with openssl."""

from __future__ import annotations

import functools
import ssl
import subprocess
import tempfile
from pathlib import Path

NAMES = "DNS:localhost,IP:127.0.0.1"


def _openssl(folder: Path, *words: str) -> None:
    done = subprocess.run(("openssl", *words), cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


class Authority:
    """Signs certificates. `file` is its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.file = folder / "ca.crt"
        self._config = folder / "ca.cnf"
        self._config.write_text(
            """[ca]
default_ca = own
[own]
new_certs_dir = .
database = index
rand_serial = yes
default_md = sha256
policy = any
copy_extensions = copy
x509_extensions = leaf
unique_subject = no
[any]
commonName = supplied
[leaf]
basicConstraints = critical,CA:FALSE
keyUsage = critical,digitalSignature
extendedKeyUsage = serverAuth,clientAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
[req]
distinguished_name = name
prompt = no
[name]
commonName = Authority of the tests
[authority]
basicConstraints = critical,CA:TRUE
keyUsage = critical,keyCertSign,cRLSign
subjectKeyIdentifier = hash
"""
        )
        (folder / "index").touch()
        _openssl(
            folder,
            *("req", "-x509", "-config", "ca.cnf", "-extensions", "authority", "-days", "3650", "-nodes"),
            *("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-keyout", "ca.key", "-out", "ca.crt"),
        )

    def server(
        self, begin: str = "20200101000000Z", end: str = "20991231235959Z", names: str = NAMES
    ) -> ssl.SSLContext:
        """For a server with a certificate that is valid at these times, for these names."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.files(begin, end, names))
        return context

    @functools.cache  # noqa: B019 (it lives as long as the tests)
    def files(
        self, begin: str = "20200101000000Z", end: str = "20991231235959Z", names: str = NAMES
    ) -> tuple[str, str]:
        """The files of such a certificate and of its key."""
        folder = Path(tempfile.mkdtemp(dir=self._folder))
        key, request, certificate = (str(folder / name) for name in ("key", "request", "certificate"))
        _openssl(
            self._folder,
            *(
                "req",
                "-new",
                "-config",
                "ca.cnf",
                "-nodes",
                "-subj",
                "/CN=server",
                "-addext",
                f"subjectAltName={names}",
            ),
            *("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-keyout", key, "-out", request),
        )
        _openssl(
            self._folder,
            *("ca", "-config", "ca.cnf", "-batch", "-notext", "-cert", "ca.crt", "-keyfile", "ca.key"),
            *("-startdate", begin, "-enddate", end, "-in", request, "-out", certificate),
        )
        return certificate, key
