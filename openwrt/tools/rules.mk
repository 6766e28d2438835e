# Replaces OpenWrt's build system for ipk.py. Included by the Makefiles of the packages of this feed, and defines only what
# they use. Targets: print the control data without size and description, the conffiles, the description, the postrm
# script, and the requirement for PyPI; prepare the source in PKG_BUILD_DIR; install the package's own files in ROOT;
# compile the modules there as in OpenWrt's python3-package.mk.

INCLUDE_DIR:=$(TOPDIR)
PKG_BUILD_DIR:=$(TOPDIR)/build
PKG_INSTALL_DIR:=$(TOPDIR)/installed
PYTHON3_VERSION_MAJOR:=$(basename $(PYTHON3_VERSION))
PYTHON3_VERSION_MINOR:=$(patsubst .%,%,$(suffix $(PYTHON3_VERSION)))
CP:=cp -fpR
INSTALL_DIR:=install -d -m0755
INSTALL_BIN:=install -m0755
INSTALL_CONF:=install -m0600
INSTALL_DATA:=install -m0644

define Py3Package
endef

define BuildPackage
  $(if $(filter %-src,$(1)),,$(eval PACKAGE:=$(1))$(eval $(Package/$(1))))
endef

empty:=
comma:=,
space:=$(empty) $(empty)

.PHONY: control conffiles description postrm pypi prepare install compile

control:
	$(info Package: $(PACKAGE))
	$(info Version: $(PKG_VERSION)-r$(PKG_RELEASE))
	$(info Depends: $(if $(EXTRA_DEPENDS),$(EXTRA_DEPENDS)$(comma) )libc$(comma) $(subst $(space),$(comma)$(space),$(strip $(subst +,,$(DEPENDS)))))
	$(info License: $(PKG_LICENSE))
	$(info Section: $(SECTION))
	$(if $(USERID),$(info Require-User: $(USERID)))
	$(info URL: $(URL))
	$(info Maintainer: $(PKG_MAINTAINER))
	$(info Architecture: $(or $(PKGARCH),$(ARCH_PACKAGES)))
	@:

conffiles description postrm:
	$(info $(Package/$(PACKAGE)/$@))
	@:

pypi:
	$(if $(PYPI_NAME),$(info $(PYPI_NAME)==$(PKG_VERSION)))
	@:

prepare:
	$(Build/Prepare)
	@:

install:
	mkdir '$(ROOT)'
	$(call Py3Package/$(PACKAGE)/install,$(ROOT))
	@:

compile:
	PYTHONHASHSEED=0 '$(HOST_PYTHON3_BIN)' -m compileall -q -b -r 20 -d / --invalidation-mode unchecked-hash '$(ROOT)'
