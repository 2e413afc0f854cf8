// SPDX-License-Identifier: GPL-2.0-only
/*
 * Linked into each of the kernel's own tests: what it prints is there when it hangs or is killed,
 * and is not printed twice by a child that inherits a full buffer. kselftest's runner does the same
 * with stdbuf(1), which a static program does not notice.
 */
#include <stdio.h>

static void __attribute__((constructor)) buffer_lines(void)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
}
