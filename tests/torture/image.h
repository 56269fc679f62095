/* SPDX-License-Identifier: MIT */
/*
 * The image of a ledger: the parts of its file that the stepped tests ever change, as one row of
 * bytes. It has all of the first pool and of two sessions.
 */
#ifndef ALLOT_TEST_IMAGE_H
#define ALLOT_TEST_IMAGE_H

#include "ledger.h"

enum { SLOT = 3, OTHER }; /* the session under test, and one beside it */

#define IMAGE_HEAD 4096u
#define IMAGE_JOURNAL                                                                              \
    (CODEC_INFLIGHT_MAX * sizeof(struct ledger_entry) +                                            \
     LEDGER_WATCHES * sizeof(struct ledger_watch))
#define IMAGE_RECORDS 64u /* and references */
#define IMAGE_PARCELS 8u
#define IMAGE_NAMES   8u
#define IMAGE_SIZE                                                                                 \
    (IMAGE_HEAD + POOLS_MAX * sizeof(struct ledger_pool) +                                         \
     2 * (sizeof(struct ledger_session) + IMAGE_JOURNAL) +                                         \
     IMAGE_RECORDS * (sizeof(struct ledger_record) + sizeof(ledger_reference)) +                   \
     IMAGE_PARCELS * sizeof(struct ledger_parcel) + IMAGE_NAMES * sizeof(struct ledger_name))

void image_take(const struct ledger *ledger, unsigned char *image);
void image_load(const struct ledger *ledger, const unsigned char *image);

/* A ledger that any image can be loaded into. */
void image_ledger(struct ledger *ledger);

#endif
