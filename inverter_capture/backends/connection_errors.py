"""Error messages for failed connections, for every kind of server."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Iterable

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
        file = f'verify = "{printable(verify)}"'
        return f"{file}: not a readable CA certificate file ({reason}): correct the path, or the file"
    return ""


def explain(errors: Iterable[BaseException], setting: str, tls: str, seconds: float) -> tuple[str, bool] | None:
    """Why a connection failed, and whether that is temporary. None when none of the errors gives the reason.

    `errors`: an exception and its causes. `setting`: the setting with the address; `tls`: an example of it with TLS.
    `seconds`: the timeout.
    """
    errors = list(errors)
    for error in errors:
        if isinstance(error, ssl.SSLCertVerificationError):
            return _explain_certificate(error, setting)
    for error in errors:
        if isinstance(error, ssl.SSLError):
            reason = f"the server does not use TLS on this port ({error.reason})"
            return f"{reason}: check {setting} = {tls} and the port", True
        if isinstance(error, socket.gaierror):
            # Such as homeassistant.local, which routers do not resolve.
            return f"cannot resolve the name in {setting} ({error.strerror}): correct it, or use the IP address", True
        if isinstance(error, TimeoutError):
            return f"no answer within {seconds:g} s: check {setting}, and whether a firewall blocks the way", True
    for error in errors:
        if isinstance(error, OSError) and error.strerror:
            return f"cannot be reached ({error.strerror}): check {setting}, and that the server is running", True
    return None


def _explain_certificate(error: ssl.SSLCertVerificationError, setting: str) -> tuple[str, bool]:
    if error.verify_code == _NOT_YET_VALID:
        return "the server's certificate is not valid yet: check this system's clock", True
    if error.verify_code == _EXPIRED:
        return "the server's certificate has expired: renew it, or correct this system's clock", False
    if error.verify_code in _WRONG_NAME:
        return f"the server's certificate is for another name: set {setting} to a name in the certificate", False
    reason = f"the server's certificate is not trusted ({error.verify_message})"
    return f"{reason}: set verify to the file of its CA certificate", False
