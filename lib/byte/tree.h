/* SPDX-License-Identifier: MIT */
/*
 * Nodes in order of their positions: a treap (R. Seidel and C. Aragon, "Randomized Search Trees",
 * 1996) through link[], whose priorities are the scattered indices and take no memory. O(log n)
 * expected. A node's position may change while it is in the tree as long as the order stays.
 */
#ifndef ALLOT_BYTE_TREE_H
#define ALLOT_BYTE_TREE_H

#include <stdint.h>

#include "nodes.h"

void tree_insert(struct node *at, uint32_t *root, uint32_t i);
/* `i` is in the tree. */
void tree_remove(struct node *at, uint32_t *root, uint32_t i);
/* The last node at or before `pos`; 0 if there is none. */
uint32_t tree_floor(const struct node *at, uint32_t root, uint64_t pos);
/* The first node at or after `pos`; 0 if there is none. */
uint32_t tree_ceiling(const struct node *at, uint32_t root, uint64_t pos);
/* Recounts order and priorities below `root`: how many nodes, or UINT32_MAX where it is broken. */
uint32_t tree_count(const struct node *at, uint32_t root);

#endif
