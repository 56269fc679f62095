/* SPDX-License-Identifier: MIT */
/*
 * Sizes as people write and read them: powers of 1024, K to E.
 *
 * What is printed is rounded to three digits for reading; exact numbers are what --json is for.
 */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "allotctl.h"

static const char suffixes[] = "KMGTPE";

/* The number at the start of `text`, decimal or 0x…, and what follows it; NULL where there is none.
 * strtoull alone would take a sign and leading spaces. */
static const char *parse_digits(const char *text, uint64_t *ret)
{
    char *end;

    if (!isdigit((unsigned char)*text))
        return NULL;
    errno = 0;
    bool hex = text[0] == '0' && (text[1] == 'x' || text[1] == 'X');
    unsigned long long value = strtoull(text, &end, hex ? 16 : 10);
    if (errno)
        return NULL;
    *ret = value;
    return end;
}

bool number_parse(const char *text, uint64_t *ret)
{
    uint64_t value;
    const char *end = parse_digits(text, &value);

    if (!end || *end)
        return false;
    *ret = value;
    return true;
}

bool size_parse(const char *text, uint64_t *ret)
{
    uint64_t value;
    const char *end = parse_digits(text, &value);

    if (!end)
        return false;
    if (*end) {
        const char *suffix = strchr(suffixes, toupper((unsigned char)*end));
        if (!suffix)
            return false;
        unsigned shift = 10u * (unsigned)(suffix - suffixes + 1);
        if (value > UINT64_MAX >> shift)
            return false;
        value <<= shift;
        end++;
        if (!strcmp(end, "iB") || !strcmp(end, "B"))
            end += strlen(end);
    }
    if (*end)
        return false;
    *ret = value;
    return true;
}

const char *size_text(uint64_t bytes, char *buffer)
{
    double value = (double)bytes;
    int unit = -1;

    /* 999.5 and more would be printed as 1000 or with four digits. */
    while (value >= 999.5 && unit < (int)strlen(suffixes) - 1) {
        value /= 1024;
        unit++;
    }
    if (unit < 0)
        snprintf(buffer, SIZE_TEXT, "%" PRIu64 " B", bytes);
    else
        snprintf(buffer, SIZE_TEXT, "%.*f %ciB",
                 value < 9.995   ? 2
                 : value < 99.95 ? 1
                                 : 0,
                 value, suffixes[unit]);
    return buffer;
}
