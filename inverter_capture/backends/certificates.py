"""Error messages about TLS and certificates, for every kind of server."""

from __future__ import annotations

import os
import ssl

from inverter_capture.text import printable

# OpenSSL's verification codes.
_NOT_YET_VALID = 9
_EXPIRED = 10
_WRONG_NAME = (62, 64)


def authority_problem(verify: bool | str | None) -> str:
    """The problem with the CA certificate file that `verify` names. Empty when there is none."""
    if not isinstance(verify, str) or os.path.isdir(verify):
        return ""
    try:
        ssl.create_default_context(cafile=verify)
    except OSError as error:
        reason = "not in PEM format" if isinstance(error, ssl.SSLError) else error.strerror
        return f'verify = "{printable(verify)}": not a readable CA certificate file ({reason})'
    return ""


def explain_certificate(error: ssl.SSLCertVerificationError, setting: str) -> tuple[str, bool]:
    """The problem with a server's certificate, and whether it is temporary. `setting` holds the server's address."""
    if error.verify_code == _NOT_YET_VALID:
        return "the server's certificate is not valid yet: check this system's clock", True
    if error.verify_code == _EXPIRED:
        return "the server's certificate has expired: renew it, or correct this system's clock", False
    if error.verify_code in _WRONG_NAME:
        return f"the server's certificate is for another name: set {setting} to a name in the certificate", False
    reason = f"the server's certificate is not trusted ({error.verify_message})"
    return f"{reason}: set verify to the file of its CA certificate", False


def no_tls(error: ssl.SSLError, example: str) -> str:
    """The error for a server that does not use TLS. `example` shows the setting with the address."""
    return f"the server does not use TLS on this port ({error.reason}): check {example} and the port"
