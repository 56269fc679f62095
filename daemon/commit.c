/* SPDX-License-Identifier: MIT */
/*
 * Committing memory beside the loop. In pieces, so that one that is not wanted any more ends soon.
 *
 * Locks: none; a piece touches nothing that the loop does meanwhile.
 */
#include "commit.h"

#include <assert.h>

#include "region.h"

/* Memory committed in a row by a thread of the pool: about 2 ms. */
#define COMMIT_PIECE (16ull << 20)

static void commit_piece(uv_work_t *work)
{
    struct commit *c = work->data;
    uint64_t left = c->operation.commit_size - c->done;
    uint64_t piece = left < COMMIT_PIECE ? left : COMMIT_PIECE;

    c->rc = region_commit(c->pool->fd, c->operation.commit_offset + c->done, piece);
    c->done += piece;
}

static void on_piece(uv_work_t *work, int status)
{
    struct commit *c = work->data;

    if (status)
        c->rc = status;
    if (!c->stop && !c->rc && c->done < c->operation.commit_size) {
        uv_queue_work(work->loop, work, commit_piece, on_piece);
        return;
    }
    c->running = false;
    c->finished(c);
}

void commit_start(struct commit *c, uv_loop_t *loop, struct pool *pool,
                  const struct pool_operation *operation)
{
    assert(!c->running);
    c->running = true;
    c->pool = pool;
    c->operation = *operation;
    c->done = 0;
    c->work.data = c;
    uv_queue_work(loop, &c->work, commit_piece, on_piece);
}
