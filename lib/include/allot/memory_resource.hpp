/* SPDX-License-Identifier: MIT */
/*
 * std::pmr::memory_resource over the local heap (local.h), and so over any byte allocator:
 *
 *   allot::local_resource   over an allot_local of the caller's, for one thread at a time
 *   allot::locked_resource  over an allot_local_locked of the caller's
 *   allot::handle_resource  holds a reference to a heap of its own, which is locked
 *
 * allocate() honours every alignment that is a power of two, gives size 0 a block of its own, and
 * throws std::bad_alloc where the heap refuses. Two resources are equal if their heap is the same.
 *
 * deallocate() cannot report. A pointer that is not allocated, or a size or an alignment that is
 * another block's than the one there, is a defect of the program that would damage it further: it
 * ends by a message and std::abort(). The heap has not changed then.
 */
#ifndef ALLOT_MEMORY_RESOURCE_HPP
#define ALLOT_MEMORY_RESOURCE_HPP

#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <memory_resource>
#include <new>
#include <utility>

#include <allot/local.h>

namespace allot
{

/* `Alloc` and `Free` are the heap's functions. The heap outlives the resource. */
template <class Heap, int (*Alloc)(Heap *, std::size_t, std::size_t, void **),
          int (*Free)(Heap *, void *, std::size_t, std::size_t)>
class heap_resource : public std::pmr::memory_resource
{
  public:
    explicit heap_resource(Heap *heap) noexcept : heap_(heap)
    {
    }

    Heap *heap() const noexcept
    {
        return heap_;
    }

  protected:
    void *do_allocate(std::size_t size, std::size_t align) override
    {
        void *block;

        if (Alloc(heap_, size, align, &block))
            throw std::bad_alloc();
        return block;
    }

    void do_deallocate(void *block, std::size_t size, std::size_t align) override
    {
        if (Free(heap_, block, size, align)) {
            std::fprintf(stderr, "allot: deallocate(): not allocated: %p, %zu bytes\n", block,
                         size);
            std::abort();
        }
    }

    bool do_is_equal(const std::pmr::memory_resource &other) const noexcept override
    {
        const auto *same = dynamic_cast<const heap_resource *>(&other);

        return same && same->heap_ == heap_;
    }

    Heap *heap_;
};

using local_resource = heap_resource<allot_local, allot_local_alloc, allot_local_free_sized>;
using locked_resource =
    heap_resource<allot_local_locked, allot_local_locked_alloc, allot_local_locked_free_sized>;

/* Copies share the heap, which ends with the last of them, and with it every block. As everywhere
 * in std::pmr, a container does not keep its resource: that copy must outlive it. */
class handle_resource : public locked_resource
{
  public:
    explicit handle_resource(const allot_byte_ops &algorithm,
                             allot_grower &grower = allot_grower_raw)
        : handle_resource(create(algorithm, grower))
    {
    }

    /* Takes over a reference of the caller's. */
    explicit handle_resource(allot_local_handle *handle) noexcept
        : locked_resource(allot_local_handle_heap(handle)), handle_(handle)
    {
    }

    handle_resource(const handle_resource &other) noexcept
        : handle_resource(allot_local_handle_ref(other.handle_))
    {
    }

    handle_resource &operator=(handle_resource other) noexcept
    {
        std::swap(handle_, other.handle_);
        std::swap(heap_, other.heap_);
        return *this;
    }

    ~handle_resource() override
    {
        allot_local_handle_unref(handle_);
    }

  private:
    static allot_local_handle *create(const allot_byte_ops &algorithm, allot_grower &grower)
    {
        allot_local_handle *handle;

        if (allot_local_handle_new(&algorithm, &grower, &handle))
            throw std::bad_alloc();
        return handle;
    }

    allot_local_handle *handle_;
};

} // namespace allot

#endif
