#!/bin/sh
# shellcheck shell=dash
# Stands in for OpenWrt's /lib/functions.sh: what reads settings, and users.

# As OpenWrt's, it takes what can be read of a damaged file, and changes that wait for a commit.
config_load() {
	eval "$(uci -S -q export "$1")"
}

package() { :; }
list() { :; }

config() { # TYPE NAME
	config_section=$2
}

option() { # NAME VALUE
	if [ -n "$config_section" ]; then
		eval "config_${config_section}_$1=\$2"
	fi
}

config_get() { # VARIABLE SECTION OPTION [DEFAULT]
	eval "$1=\${config_$2_$3:-\$4}"
}

config_get_bool() {
	local text
	config_get text "$2" "$3" "$4"
	case $text in
	1 | on | true | yes | enabled) text=1 ;;
	0 | off | false | no | disabled) text=0 ;;
	*) text=$4 ;;
	esac
	eval "$1=\$text"
}

user_exists() {
	grep -q "^$1:" /etc/passwd
}
