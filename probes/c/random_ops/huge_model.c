// SPDX-License-Identifier: GPL-2.0-only
/* What the operations do to the machine: pages, reservations and the pool. No system call is made here. */
#include <string.h>

#include "huge.h"

struct machine *machine;
struct rules rules;

struct folio *folio_of(const struct place *place)
{
	return place->folio == NONE ? NULL : &machine->folios[place->folio];
}

struct folio *cached_of(const struct place *place)
{
	int cached = place->file == ANON ? NONE : machine->cache[place->file][place->offset];

	return cached == NONE ? NULL : &machine->folios[cached];
}

static int number_of(const struct folio *folio)
{
	return (int)(folio - machine->folios);
}

/*
 * A mount with a minimum has that much reserved. Each page that is reserved or in use
 * there is taken from it first; both return what the pool must reserve, or may release.
 */
static long charge_mount(int file)
{
	if (file != MOUNTED || machine->subpool == 0)
		return 1;
	machine->subpool--;
	return 0;
}

static long uncharge_mount(int file)
{
	if (file != MOUNTED || machine->subpool == MINIMUM)
		return 1;
	machine->subpool++;
	return 0;
}

static void lose_surplus(void)
{
	machine->pool.total--;
	machine->pool.surplus--;
}

/* Surplus pages go when nothing is reserved for them. */
static void release(long reserved)
{
	machine->pool.reserved -= reserved;
	for (; reserved && machine->pool.surplus && machine->pool.free; reserved--) {
		lose_surplus();
		machine->pool.free--;
	}
}

static struct folio *new_folio(int file)
{
	struct folio *folio = machine->folios;

	while (folio->used)
		folio++;
	*folio = (struct folio){ .used = true, .file = file };
	machine->pool.free--;
	return folio;
}

/*
 * HAS_RESERVATION: in the mapping's or the file's reservation map. USES_MOUNT: what a
 * mount has reserved may be used too.
 */
static struct folio *take(int file, bool has_reservation, bool uses_mount)
{
	struct pool *pool = &machine->pool;
	bool reserved = has_reservation || charge_mount(file) == 0;

	/*
	 * Left out of the model, as kernels up to 6.14 lose count of the mount's reservation
	 * there: a page in a mount that cannot be had (min-size-reservation-underflows), or
	 * by a mapping without a reservation; and pages of a mount while there is surplus, which
	 * are given up when they are freed and stay reserved.
	 */
	if (file == MOUNTED && (pool->surplus || (reserved && !has_reservation && !uses_mount) ||
				(!reserved && pool->free == pool->reserved)))
		machine->unsure = true;
	if (!reserved && pool->free == pool->reserved)
		return NULL;
	if (reserved)
		pool->reserved--;
	return new_folio(file);
}

struct folio *allocate_in_file(int file, size_t offset)
{
	struct folio *folio = take(file, machine->reserved[file][offset], true);

	if (!folio)
		return NULL;
	machine->reserved[file][offset] = true;
	machine->cache[file][offset] = number_of(folio);
	folio->cached = true;
	return folio;
}

struct folio *allocate(struct place *place, bool cow_from_owner)
{
	struct folio *folio;

	if (place->shared)
		return allocate_in_file(place->file, place->offset);
	folio = take(place->file, place->owner && !place->consumed && !cow_from_owner,
		     place->owner);
	if (!folio)
		return NULL;
	folio->anon = true;
	place->consumed = place->owner;
	return folio;
}

void map_folio(struct place *place, struct folio *folio)
{
	place->folio = number_of(folio);
	folio->mapped++;
}

void clear_place(struct place *place, bool keep_mark)
{
	struct folio *folio = folio_of(place);

	place->marked &= keep_mark;
	if (!folio)
		return;
	place->folio = NONE;
	folio->mapped--;
	if (!rules.restores || !place->owner || !folio->anon || folio->mapped)
		return;
	/* It depends on the order of the pages whether there is surplus at the last of them. */
	if (machine->pool.surplus)
		machine->unsure = true;
	folio->restores = true;
	place->consumed = false;
}

static void free_folio(struct folio *folio)
{
	folio->used = false;
	if (folio->restores || uncharge_mount(folio->file) == 0)
		machine->pool.reserved++;
	if (machine->pool.surplus)
		lose_surplus();
	else
		machine->pool.free++;
}

void settle(void)
{
	for (size_t i = 0; i < FOLIOS; i++) {
		struct folio *folio = &machine->folios[i];

		if (folio->used && !folio->mapped && !folio->cached)
			free_folio(folio);
	}
}

void end_mapping(struct place *place)
{
	if (place->owner && !place->consumed)
		release(uncharge_mount(place->file));
	*place = (struct place){ .folio = NONE };
}

int reserve_mapping(struct place *places, size_t count)
{
	long needed = 0;

	for (size_t i = 0; i < count; i++) {
		bool *reserved = &machine->reserved[places[i].file][places[i].offset];

		if (!places[i].reserves || (places[i].shared && *reserved))
			continue;
		places[i].owner = !places[i].shared;
		if (places[i].shared)
			*reserved = true;
		needed += charge_mount(places[i].file);
	}
	machine->pool.reserved += needed;
	if (!needed || machine->pool.reserved <= machine->pool.free)
		return 0;
	if (places[0].file == MOUNTED) /* min-size-reservation-underflows */
		machine->unsure = true;
	return ENOMEM;
}

/*
 * Which of the processes that share a private page loses it last depends on the order
 * in which the kernel finds their mappings, and on that whether a reservation comes back.
 */
static bool is_shared_private(const struct place *place)
{
	const struct folio *folio = folio_of(place);

	return rules.restores && folio && folio->anon && folio->mapped > 1;
}

static void clear_everywhere(int file, size_t offset, bool keep_marks)
{
	for (size_t i = 0; i < PROCESSES * PLACES; i++) {
		struct place *place = &machine->processes[i / PLACES].places[i % PLACES];

		if (!place->is_mapped || place->file != file || place->offset != offset)
			continue;
		machine->unsure |= is_shared_private(place);
		clear_place(place, keep_marks);
	}
}

void remove_pages(int file, size_t from, size_t end, bool truncated)
{
	/* The kernel unmaps the whole range first. */
	for (size_t offset = from; offset < end; offset++)
		clear_everywhere(file, offset, !truncated);
	settle();
	for (size_t offset = from; offset < end; offset++) {
		int cached = machine->cache[file][offset];

		if (cached == NONE)
			continue;
		machine->folios[cached].cached = false;
		machine->cache[file][offset] = NONE;
		machine->reserved[file][offset] = false;
	}
	settle();
}

void unreserve_page(int file, size_t offset)
{
	if (machine->reserved[file][offset])
		release(uncharge_mount(file));
	machine->reserved[file][offset] = false;
}

static bool is_exclusive(const struct folio *folio)
{
	return folio->anon && folio->mapped == 1;
}

bool copy_on_write(struct place *place)
{
	struct folio *old = folio_of(place), *copy;
	bool from_owner = place->owner && old->anon;

	if (is_exclusive(old))
		return true;
	copy = allocate(place, from_owner);
	if (!copy) {
		/* The kernel takes the page away from the children, whose mapping is unusable then. */
		machine->unsure |= from_owner;
		return false;
	}
	copy->value = old->value;
	old->mapped--;
	map_folio(place, copy);
	settle();
	return true;
}

struct outcome access_place(struct place *place, bool write)
{
	struct outcome outcome = { .sigbus = false };
	struct folio *folio = folio_of(place);

	if (!folio) {
		folio = cached_of(place);
		outcome.minor = folio && place->modes & UFFDIO_REGISTER_MODE_MINOR;
		outcome.missing = !folio && place->modes & UFFDIO_REGISTER_MODE_MISSING;
		if (!folio)
			folio = allocate(place, false);
		if (!folio) {
			/* UFFDIO_COPY in answer to the message would fail. */
			machine->unsure |= outcome.missing;
			outcome.sigbus = true;
			return outcome;
		}
		map_folio(place, folio);
		/* UFFDIO_COPY and _CONTINUE, in answer to the messages, drop the mark. */
		place->marked &= !outcome.minor && !outcome.missing;
	}
	if (write && place->marked) {
		outcome.protected = !(place->modes & MODE_ASYNC);
		place->marked = false;
	}
	if (write && !place->shared)
		outcome.sigbus = !copy_on_write(place);
	/* The thread that answers the messages would not see the signal. */
	machine->unsure |= outcome.sigbus && (outcome.minor || outcome.protected);
	return outcome;
}

void resize_pool(long total)
{
	struct pool *pool = &machine->pool;
	long persistent = pool->total - pool->surplus, needed;

	while (pool->surplus && persistent < total) {
		pool->surplus--;
		persistent++;
	}
	while (persistent < total) {
		pool->total++;
		pool->free++;
		persistent++;
	}
	needed = pool->reserved + pool->total - pool->free;
	while (persistent > total && persistent > needed) {
		pool->total--;
		pool->free--;
		persistent--;
	}
	if (persistent > total) {
		pool->surplus += persistent - total;
		/* See take(). */
		for (size_t i = 0; i < FOLIOS; i++)
			machine->unsure |= machine->folios[i].used && machine->folios[i].file == MOUNTED;
	}
}
