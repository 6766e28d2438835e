# Replaces LuCI's luci.mk for ipk.py. Without translations: they are separate packages, which need LuCI's po2lmo.

PKG_NAME:=$(lastword $(notdir $(CURDIR)))

define Package/$(PKG_NAME)
  SECTION:=luci
  TITLE:=$(LUCI_TITLE)
  URL:=$(LUCI_URL)
  DEPENDS:=$(LUCI_DEPENDS)
  PKGARCH:=all
endef

Package/$(PKG_NAME)/description=$(LUCI_DESCRIPTION)

define Py3Package/$(PKG_NAME)/install
	$(INSTALL_DIR) $(1)/www
	$(CP) htdocs/* $(1)/www/
	$(CP) root/* $(1)/
endef

$(eval $(call BuildPackage,$(PKG_NAME)))
