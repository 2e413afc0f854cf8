// SPDX-License-Identifier: GPL-2.0-only
/*
 * move_pages() and mbind() of huge pages between two nodes. A huge page that one
 * entry maps moves; one that is partly mapped moves or is refused with EBUSY
 * (mbind: EIO), and keeps its contents in both cases.
 */
#include <linux/mempolicy.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "hgm_probe.h"

#define FILLING 1
#define PAGES 16UL

static bool is_split;

/* The node of a mapped page, or -errno. */
static int node_of(char *page)
{
	void *pages[] = { page };
	int status = -1;

	assert_that(syscall(SYS_move_pages, 0, 1UL, pages, NULL, &status, 0) == 0, "move_pages: %s",
	       error_name(errno));
	return status;
}

static void assert_node(char *page, int node)
{
	int seen = node_of(page);

	assert_that(seen == node, "move_pages shows the page on node %d, expected %d", seen, node);
}

/*
 * The page's status after a request to move it. A page that fails late has no
 * status: the result counts it, and it is taken for EBUSY.
 */
static int move_to(char *page, int node)
{
	void *pages[] = { page };
	int status = -EBUSY;
	long refused = syscall(SYS_move_pages, 0, 1UL, pages, &node, &status, MPOL_MF_MOVE_ALL);

	assert_that(refused == 0 || refused == 1, "move_pages: %s", error_name(errno));
	return status;
}

static void assert_moved(int status, int node)
{
	assert_that(status == node, "move_pages: expected node %d, got %s %d", node,
		    status < 0 ? "error" : "node", status < 0 ? -status : status);
}

static int bind_to(char *start, int node)
{
	unsigned long mask = 1UL << node;

	return syscall(SYS_mbind, start, huge_size(), MPOL_BIND, &mask, 8 * sizeof(mask),
		       MPOL_MF_MOVE_ALL | MPOL_MF_STRICT) == 0 ? 0 : errno;
}

static void whole_page(void)
{
	int fd = huge_memfd(1), from, to;
	char *start = map_shared(fd, huge_size(), UNRESERVED);

	fill_pages(start, 0, PAGES, FILLING);
	from = node_of(start);
	assert_that(from == 0 || from == 1, "the huge page is on node %d, expected 0 or 1", from);
	to = 1 - from;
	assert_moved(move_to(start, to), to);
	assert_node(start, to);
	assert_node(start + huge_size() - BASE_PAGE, to);
	check_pages(start, 0, PAGES, FILLING);
	check_zero(start, PAGES, 16);
	assert_error(bind_to(start, from), 0);
	assert_node(start, from);
	check_pages(start, 0, PAGES, FILLING);
}

/* Whether the page was moved or not, both mappings must show it on one node, unchanged. */
static void assert_intact(char *primary, char *alias, int uffd)
{
	check_pages(primary, 0, PAGES / 2, FILLING);
	check_pages(alias, 0, PAGES, FILLING);
	assert_mapped(primary, 0, 0, PAGES / 2 * BASE_PAGE);
	assert_that(node_of(primary) == node_of(alias),
		    "one mapping shows the huge page on node %d, the other on node %d",
		    node_of(primary), node_of(alias));
	assert_continue(uffd, primary + PAGES / 2 * BASE_PAGE, BASE_PAGE, 0, BASE_PAGE);
	check_pages(primary, PAGES / 2, 1, FILLING);
}

static void half_filled(void)
{
	int fd = huge_memfd(1), uffd, from, moved;
	char *alias = map_shared(fd, huge_size(), UNRESERVED), *primary;

	fill_pages(alias, 0, PAGES, FILLING);
	primary = map_split(fd, 0, 0, &uffd);
	assert_continue(uffd, primary, PAGES / 2 * BASE_PAGE, 0, PAGES / 2 * BASE_PAGE);
	from = node_of(primary);
	moved = move_to(primary, 1 - from);
	assert_that(moved == 1 - from || moved == -EBUSY,
		    "move_pages: status %d, expected node %d or -EBUSY (%d)", moved, 1 - from,
		    -EBUSY);
	assert_intact(primary, alias, uffd);
}

static void half_filled_mbind(void)
{
	int fd = huge_memfd(1), uffd, error;
	char *alias = map_shared(fd, huge_size(), UNRESERVED), *primary;

	fill_pages(alias, 0, PAGES, FILLING);
	primary = map_split(fd, 0, 0, &uffd);
	assert_continue(uffd, primary, PAGES / 2 * BASE_PAGE, 0, PAGES / 2 * BASE_PAGE);
	error = bind_to(primary, 1 - node_of(primary));
	assert_that(error == 0 || error == EIO,
		    "mbind: expected success or EIO, got %s", error_name(error));
	/* mbind() may have split the VMA, which is allowed. */
	assert_intact(primary, alias, uffd);
}

static void collapsed(void)
{
	int fd = huge_memfd(1), uffd, from;
	char *alias = map_shared(fd, huge_size(), UNRESERVED), *primary;

	fill_pages(alias, 0, PAGES, FILLING);
	primary = map_split(fd, 0, 0, &uffd);
	assert_continue(uffd, primary, BASE_PAGE, 0, BASE_PAGE);
	collapse(primary, huge_size());
	from = node_of(primary);
	assert_moved(move_to(primary, 1 - from), 1 - from);
	assert_node(alias, 1 - from);
	check_pages(primary, 0, PAGES, FILLING);
	assert_whole(primary, huge_size());
}

static void need_two_nodes_and_moves(void)
{
	if (access("/sys/devices/system/node/node1", F_OK) != 0)
		probe_skip("/sys/devices/system/node/node1: %s", error_name(errno));
	if (syscall(SYS_move_pages, 0, 0UL, NULL, NULL, NULL, 0) != 0 && errno == ENOSYS)
		probe_skip("move_pages: %s", error_name(errno));
}

int main(int argc, char **argv)
{
	static const struct probe_test whole[] = {
		{ "move_pages and mbind move a huge page to another node with its contents",
		  whole_page },
	};
	static const struct probe_test split_ones[] = {
		{ "move_pages of a partly mapped huge page moves it or is EBUSY; its contents stay",
		  half_filled },
		{ "mbind of a partly mapped huge page moves it or is EIO; its contents stay",
		  half_filled_mbind },
		{ "move_pages moves a collapsed huge page to another node with its contents",
		  collapsed },
	};
	static const struct probe_argument arguments[] = {
		{ "--mapping", "whole|split", "how the huge pages are mapped; whole by default" },
		{ 0 },
	};
	const char *mapping = probe_option(argc, argv, "--mapping");

	is_split = mapping && strcmp(mapping, "split") == 0;
	return probe_main(argc, argv, &(struct probe){
		.tests = is_split ? split_ones : whole,
		.count = is_split ? COUNT_OF(split_ones) : COUNT_OF(whole),
		.pages = 2,
		.arguments = arguments,
		.needs_hgm = is_split,
		.setup = need_two_nodes_and_moves,
		.test_ms = 100000, /* a page of 1 GiB is copied twice, slowly under emulation */
	});
}
