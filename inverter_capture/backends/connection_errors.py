"""Error messages for failed connections and unusable certificate files, for every kind of server."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Iterable, Iterator, Mapping

from inverter_capture.config.schema import SectionConfig
from inverter_capture.config.values import SettingError
from inverter_capture.text import printable

# OpenSSL's verification codes.
_NOT_YET_VALID = 9
_EXPIRED = 10
_WRONG_NAME = (62, 64)


def certificate_files(section: SectionConfig) -> dict[str, str]:
    """The paths of a section's certificate files, by their settings."""
    paths = {setting: getattr(section, setting, "") for setting in ("verify", "certificate", "key")}
    return {setting: path for setting, path in paths.items() if isinstance(path, str) and path}


def certificate_problems(files: Mapping[str, str]) -> Iterator[SettingError]:
    """What is wrong with certificate files. `files`: their paths by their settings."""
    unreadable = set()
    for setting, path in files.items():
        try:
            if not os.path.isdir(path):
                with open(path, "rb"):
                    pass
        except OSError as error:
            unreadable.add(setting)
            remedy = "check the path, and who may read the file"
            yield SettingError(f"cannot be read ({error.strerror})", remedy, setting=setting)
    if not files:
        # A context takes 0.4 MB, which is not returned.
        return
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority, certificate, key = files.get("verify", ""), files.get("certificate", ""), files.get("key")
    if authority and "verify" not in unreadable and not os.path.isdir(authority):
        try:
            context.load_verify_locations(authority)
        except OSError:
            remedy = "give the file of the server's CA certificate"
            yield SettingError("contains no certificate in PEM format", remedy, setting="verify")
    if certificate and not unreadable & {"certificate", "key"}:
        try:
            # Without a password argument, OpenSSL would ask for one on the terminal.
            context.load_cert_chain(certificate, key, password="")
        except (OSError, ValueError):
            reason = "not the key of this certificate, or one of the two is not in PEM format or encrypted"
            remedy = "give the certificate's own key" if key else "set key to the file of the certificate's key"
            yield SettingError(reason, remedy, setting="key" if key else "certificate")


def certificate_problem(files: Mapping[str, str]) -> str:
    """The first thing that is wrong with certificate files, with the setting and the remedy; empty if nothing is."""
    for error in certificate_problems(files):
        return f'{error.setting} = "{printable(files[error.setting])}": {error.reason}: {error.remedy}'
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
