# Replaces LuCI's luci.mk for ipk.py. With LUCI_LANGUAGE, the package is the app's translation to this language.

PKG_NAME:=$(lastword $(notdir $(CURDIR)))
LUCI_BASENAME:=$(patsubst luci-app-%,%,$(PKG_NAME))
LUCI_TRANSLATION:=luci-i18n-$(LUCI_BASENAME)-$(LUCI_LANGUAGE)
LUCI_LIBRARYDIR:=/usr/lib/lua/luci
LUCI_LANG.de:=Deutsch (German)

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

define Package/$(LUCI_TRANSLATION)
  SECTION:=luci
  URL:=$(LUCI_URL)
  DEPENDS:=$(PKG_NAME)
  PKGARCH:=all
endef

Package/$(LUCI_TRANSLATION)/description=Translation for $(PKG_NAME) - $(LUCI_LANG.$(LUCI_LANGUAGE))

define Py3Package/$(LUCI_TRANSLATION)/install
	$(INSTALL_DIR) $(1)/etc/uci-defaults $(1)$(LUCI_LIBRARYDIR)/i18n
	echo "uci set luci.languages.$(LUCI_LANGUAGE)='$(LUCI_LANG.$(LUCI_LANGUAGE))'; uci commit luci" > $(1)/etc/uci-defaults/$(LUCI_TRANSLATION)
	'$(HOST_PYTHON3_BIN)' ../tools/po2lmo.py po/$(LUCI_LANGUAGE)/$(LUCI_BASENAME).po $(1)$(LUCI_LIBRARYDIR)/i18n/$(LUCI_BASENAME).$(LUCI_LANGUAGE).lmo
endef

$(eval $(call BuildPackage,$(if $(LUCI_LANGUAGE),$(LUCI_TRANSLATION),$(PKG_NAME))))
