# SPDX-License-Identifier: GPL-3.0-or-later
#
# Variables of all packages of this feed. Set the maintainer and the URL of the project here.

PKG_MAINTAINER:=inverter-capture maintainers <inverter-capture@example.org>
PROJECT_URL:=https://example.org/inverter-capture

# Bytecode runs on the one minor version of Python that it was compiled for. The value is for EXTRA_DEPENDS.
# To opkg `<` means `<=`, to apk it means `<`; no version of python3-light is just 3.12.
PYTHON3_OF_BYTECODE=python3-light (>=$(PYTHON3_VERSION)), \
	python3-light (<$(PYTHON3_VERSION_MAJOR).$(shell expr $(PYTHON3_VERSION_MINOR) + 1))

# Bytecode without column numbers is a sixth smaller. Tracebacks need them only to mark source lines, which are not installed.
export PYTHONNODEBUGRANGES:=1
