/* SPDX-License-Identifier: MIT */
/* The image of a ledger. */
#include "image.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static void copy(const struct ledger *ledger, unsigned char *image, bool load)
{
    struct {
        void *at;
        size_t size;
    } parts[] = {
        {ledger->base, IMAGE_HEAD},
        {ledger->pools, POOLS_MAX * sizeof(struct ledger_pool)},
        {&ledger->sessions[SLOT], 2 * sizeof(struct ledger_session)},
        {ledger_entry(ledger, SLOT, 0), 2 * IMAGE_JOURNAL},
        {ledger_records(ledger, 0), IMAGE_RECORDS * sizeof(struct ledger_record)},
        {ledger_references(ledger, 0), IMAGE_RECORDS * sizeof(ledger_reference)},
        {ledger_parcels(ledger, 0), IMAGE_PARCELS * sizeof(struct ledger_parcel)},
        {ledger_names(ledger, 0), IMAGE_NAMES * sizeof(struct ledger_name)},
    };

    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        if (load)
            memcpy(parts[i].at, image, parts[i].size);
        else
            memcpy(image, parts[i].at, parts[i].size);
        image += parts[i].size;
    }
}

void image_take(const struct ledger *ledger, unsigned char *image)
{
    copy(ledger, image, false);
}

void image_load(const struct ledger *ledger, const unsigned char *image)
{
    copy(ledger, (unsigned char *)(uintptr_t)image, true);
}

void image_ledger(struct ledger *ledger)
{
    uint64_t id;

    assert_int_equal(ledger_create(ledger), 0);
    for (unsigned slot = SLOT; slot <= OTHER; slot++)
        assert_int_equal(ledger_session_open(ledger, slot, 1, 1000, 1000, 1, &id), 0);
    assert_int_equal(ledger_commit_part(ledger, 0, 0, IMAGE_RECORDS), 0);
    assert_int_equal(ledger_commit_parcels(ledger, 0), 0);
    assert_int_equal(ledger_commit_names(ledger, 0, 0, IMAGE_NAMES), 0);
}
