#!/bin/sh
# shellcheck shell=dash
# Stands in for OpenWrt's /lib/functions.sh: what the init script uses of it.

user_exists() {
	grep -q "^$1:" /etc/passwd
}
