#!/bin/sh
# Tests the installed package: test.sh PACKAGE VERSION

[ "$1" = luci-app-inverter-capture ] || exit 0

/usr/libexec/rpcd/inverter-capture list | grep -q '"state"' || exit 1
echo '{}' | /usr/libexec/rpcd/inverter-capture call progress | grep -q '"running": false'
