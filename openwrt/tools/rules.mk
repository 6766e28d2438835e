# Stands in for OpenWrt's build system, for ipk.py: of a feed package's Makefile this gives the control data, as text on
# standard output, and the installed files. It knows what the Makefiles of this feed use, and no more.

INCLUDE_DIR:=$(TOPDIR)
PKG_BUILD_DIR:=$(TOPDIR)/build
CP:=cp -fpR

define Python3/Run
	$(3) '$(PYTHON)' $(2)
endef

define Py3Package
endef

define BuildPackage
  $(if $(filter %-src,$(1)),,$(eval PACKAGE:=$(1))$(eval $(Package/$(1))))
endef

empty:=
comma:=,
space:=$(empty) $(empty)

.PHONY: control conffiles description pypi install

control:
	$(info Package: $(PACKAGE))
	$(info Version: $(PKG_VERSION)-r$(PKG_RELEASE))
	$(info Depends: libc$(comma) $(subst $(space),$(comma)$(space),$(strip $(subst +,,$(DEPENDS)))))
	$(info License: $(PKG_LICENSE))
	$(info Section: $(SECTION))
	$(if $(URL),$(info URL: $(URL)))
	$(if $(USERID),$(info Require-User: $(USERID)))
	$(info Architecture: $(PKGARCH))
	@:

conffiles description:
	$(info $(Package/$(PACKAGE)/$@))
	@:

pypi:
	$(if $(PYPI_NAME),$(info $(PYPI_NAME) $(PKG_VERSION)))
	@:

install:
	mkdir '$(PKG_BUILD_DIR)' '$(ROOT)'
	$(Build/Prepare)
	$(call Package/$(PACKAGE)/install,$(ROOT))
