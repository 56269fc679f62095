/* SPDX-License-Identifier: MIT */
/*
 * Nodes in order of their positions. See tree.h. Nothing here recurses: a walk keeps the link that
 * it came by, and a successor is found from the root.
 */
#include "tree.h"

void tree_insert(struct node *at, uint32_t *root, uint32_t i)
{
    uint32_t priority = node_scatter(i), below, *less, *more;
    uint64_t pos = node_pos(&at[i]);

    while (*root && node_scatter(*root) > priority)
        root = &at[*root].link[pos > node_pos(&at[*root])];
    below = *root;
    *root = i;
    less = &at[i].link[0];
    more = &at[i].link[1];
    while (below) {
        if (node_pos(&at[below]) < pos) {
            *less = below;
            less = &at[below].link[1];
            below = *less;
        } else {
            *more = below;
            more = &at[below].link[0];
            below = *more;
        }
    }
    *less = 0;
    *more = 0;
}

void tree_remove(struct node *at, uint32_t *root, uint32_t i)
{
    uint32_t less = at[i].link[0], more = at[i].link[1];

    while (*root != i)
        root = &at[*root].link[at[i].pos > at[*root].pos];
    while (less && more) {
        if (node_scatter(less) > node_scatter(more)) {
            *root = less;
            root = &at[less].link[1];
            less = *root;
        } else {
            *root = more;
            root = &at[more].link[0];
            more = *root;
        }
    }
    *root = less ? less : more;
}

uint32_t tree_floor(const struct node *at, uint32_t root, uint64_t pos)
{
    uint32_t best = 0;

    while (root) {
        bool right = node_pos(&at[root]) <= pos;

        if (right)
            best = root;
        root = at[root].link[right];
    }
    return best;
}

uint32_t tree_ceiling(const struct node *at, uint32_t root, uint64_t pos)
{
    uint32_t best = 0;

    while (root) {
        bool right = node_pos(&at[root]) < pos;

        if (!right)
            best = root;
        root = at[root].link[right];
    }
    return best;
}

uint32_t tree_count(const struct node *at, uint32_t root)
{
    uint32_t count = 0;

    for (uint32_t i = tree_ceiling(at, root, 0); i; i = tree_ceiling(at, root, at[i].pos + 1)) {
        uint32_t priority = node_scatter(i), less = at[i].link[0], more = at[i].link[1];

        if (tree_floor(at, root, at[i].pos) != i)
            return UINT32_MAX;
        if (less && (node_scatter(less) > priority || at[less].pos >= at[i].pos))
            return UINT32_MAX;
        if (more && (node_scatter(more) > priority || at[more].pos <= at[i].pos))
            return UINT32_MAX;
        count++;
    }
    return count;
}
