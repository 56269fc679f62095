/* SPDX-License-Identifier: MIT */
/*
 * Kill anywhere in one operation of a pool: it is single-stepped, and after each instruction that
 * has changed the ledger a copy of it is recovered as a restarted daemon would.
 *
 * After each recovery: the pool opens, allocators and ledger agree (pool_check), the operation has
 * happened wholly or not at all, the journal says which, and the same request, sent again, makes it
 * happen exactly once, or be refused again, also where another session has had its turn in between.
 * Who watches names knows those that there are. Recovery is itself stepped and recovered again, for
 * kills while recovering.
 *
 * Instructions that change nothing in the ledger need no recovery of their own: the state is one
 * that was recovered already.
 */
#ifndef ALLOT_TEST_SCENARIO_H
#define ALLOT_TEST_SCENARIO_H

#include "world.h"

void scenario_run(struct scenario s);

#endif
