#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# Does this run again with the kernel and the probes that lie here, and says whether every probe ends
# as it did. HGM names the `hgm` of a checkout where it is not in PATH; options go to `hgm replay`.
here=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd) || exit 3
exec "${HGM:-hgm}" replay "$here" "$@"
