// Unpopulated pages: guest-physical addresses without RAM, for frames of others that are mapped for a while.
//
// Where they come from is chosen once, by unpopulated_init(): the extended regions that the hypervisor keeps free, or
// else space of which the guest believes that nothing is there. The way of an allocation is the same ever after: from
// a free list, which grows by whole sections; and there is none behind it. With UNPOPULATED_BALLOON the pages are RAM
// that is given back instead, one by one, as before there were such pages.
#pragma once

#include "guest.h"
#include "xen.h"

enum { PAGE = 4096 };

struct gfn_range {
  word first, count;
};

struct unpopulated_counts {
  unsigned sections;  // that the free list has grown by
  word pages, free;   // in all of them, and not allocated
  word ram_given_up;
};

// Takes the ranges, in their order, as the only place where pages come from.
void unpopulated_init(const struct gfn_range *ranges, unsigned count);

// Gives `count` gfns, or -ENOMEM: then none.
long unpopulated_alloc(unsigned count, word *gfns);

// Takes them back. Nothing may stand there any more.
void unpopulated_free(unsigned count, const word *gfns);

struct unpopulated_counts unpopulated_counts(void);

// Pages of RAM behind the image, one after the other; they are never given back. Fails when there are no more.
void *ram_pages(word count);
