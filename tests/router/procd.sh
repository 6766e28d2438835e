#!/bin/sh
# shellcheck shell=dash
# Stands in for OpenWrt's functions around procd: a call is a line in /tmp/procd, its words separated by tabs.

record() {
	local word line=
	for word; do
		line="$line$word	"
	done
	echo "${line%	}" >>/tmp/procd
}

procd_open_service() { record open_service "$@"; }
procd_close_service() { record close_service; }
procd_open_instance() { record open_instance "$@"; }
procd_close_instance() { record close_instance; }
procd_set_param() { record set_param "$@"; }
procd_append_param() { record append_param "$@"; }
procd_add_jail() { record add_jail "$@"; }
procd_add_jail_mount() { record add_jail_mount "$@"; }
procd_add_jail_mount_rw() { record add_jail_mount_rw "$@"; }
procd_add_reload_trigger() { record add_reload_trigger "$@"; }
procd_add_interface_trigger() { record add_interface_trigger "$@"; }
procd_kill() { record kill "$@"; }
