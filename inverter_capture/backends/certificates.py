"""What is wrong with TLS and its certificates, in words, for every kind of server."""

from __future__ import annotations

import os
import ssl

from inverter_capture.text import printable

# OpenSSL's verification codes.
_NOT_YET_VALID = 9
_EXPIRED = 10
_WRONG_NAME = (62, 64)


def authority_problem(verify: bool | str | None) -> str:
    """What is wrong with the file of authorities that `verify` names. Empty when nothing is."""
    if not isinstance(verify, str) or os.path.isdir(verify):
        return ""
    try:
        ssl.create_default_context(cafile=verify)
    except OSError as error:
        reason = "not in PEM format" if isinstance(error, ssl.SSLError) else error.strerror
        return f'verify = "{printable(verify)}": no file with certificates ({reason})'
    return ""


def explain_certificate(error: ssl.SSLCertVerificationError, setting: str) -> tuple[str, bool]:
    """What is wrong with a server's certificate, and whether that may pass by itself. `setting` names the server."""
    if error.verify_code == _NOT_YET_VALID:
        return "its certificate is not valid yet: is this system's clock right?", True
    if error.verify_code == _EXPIRED:
        return "its certificate has expired: renew it, or set this system's clock", False
    if error.verify_code in _WRONG_NAME:
        return f"its certificate is for another name: write {setting} as the certificate has it", False
    return f"its certificate is not trusted ({error.verify_message}): set verify to the file of its authority", False


def no_tls(error: ssl.SSLError, example: str) -> str:
    """That a server does not speak TLS. `example` is a setting as it would be right."""
    return f"no TLS there ({error.reason}): is {example} right, and the port?"
