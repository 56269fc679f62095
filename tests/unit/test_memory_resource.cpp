/* SPDX-License-Identifier: MIT */
/*
 * The memory resources: containers of the standard library over each algorithm, whose contents must
 * be those that they have over operator new, and must leave nothing behind. The workloads are those
 * of the collection benchmarks of the allocator crate after which lib/ is made.
 */
#include <algorithm>
#include <array>
#include <csetjmp>
#include <csignal>
#include <cstdarg>
#include <cstdint>
#include <cstring>
#include <list>
#include <map>
#include <random>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include <sys/wait.h>
#include <unistd.h>

extern "C" {
#include <cmocka.h>
}

#include <allot/algorithm.h>
#include <allot/memory_resource.hpp>

namespace
{

using resource = std::pmr::memory_resource;

/* Those that are built in. */
std::vector<const allot_byte_ops *> find_algorithms()
{
    std::vector<const allot_byte_ops *> found;
    const allot_byte_ops *ops;

    for (const char *name : {"tlsf", "first-fit", "buddy", "slab"})
        if (!allot_byte_find(name, &ops))
            found.push_back(ops);
    return found;
}

const std::vector<const allot_byte_ops *> algorithms = find_algorithms();

/* FNV-1a, over whole words: what a container holds, in order. */
struct digest {
    std::uint64_t value = UINT64_C(0xcbf29ce484222325);

    void add(std::uint64_t word)
    {
        value = (value ^ word) * UINT64_C(0x100000001b3);
    }

    void add(const std::pmr::string &text)
    {
        for (char c : text)
            add(static_cast<unsigned char>(c));
        add(text.size());
    }
};

/* The workloads. */

std::uint64_t push_and_sort(resource *from)
{
    std::pmr::vector<std::uint64_t> v(from);
    std::mt19937_64 random;
    digest d;

    for (unsigned i = 0; i < 3000000; i++)
        v.push_back(random());
    std::sort(v.begin(), v.end());
    for (std::uint64_t word : v)
        d.add(word);
    return d.value;
}

template <std::size_t Count, std::size_t Words> std::uint64_t free_in_random_order(resource *from)
{
    std::pmr::vector<std::pmr::vector<std::uint64_t>> blocks(from);
    std::mt19937_64 random;
    digest d;

    for (std::size_t i = 0; i < Count; i++)
        blocks.emplace_back(Words, i);
    while (!blocks.empty()) {
        std::swap(blocks[random() % blocks.size()], blocks.back());
        for (std::uint64_t word : blocks.back())
            d.add(word);
        blocks.pop_back();
    }
    return d.value;
}

std::pmr::string key(std::uint64_t number, resource *from)
{
    std::pmr::string text(number % 40, 'k', from);

    return text += std::to_string(number);
}

template <class Map> std::uint64_t map_with_string_keys(resource *from)
{
    Map map(from);
    std::mt19937_64 random;
    digest d;

    for (unsigned i = 0; i < 50000; i++) {
        std::pmr::string name = key(random() % 20000, from);

        switch (random() % 4) {
        case 0:
            d.add(map.erase(name));
            break;
        case 1:
            d.add(map.count(name));
            break;
        default:
            map[name] = i;
        }
    }
    /* An unordered map's order is its own: the keys are asked for in another. */
    for (unsigned i = 0; i < 20000; i++) {
        auto at = map.find(key(i, from));

        d.add(at == map.end() ? i : at->second);
    }
    return d.value;
}

std::uint64_t list_of_strings(resource *from)
{
    std::pmr::list<std::pmr::string> a(from), b(from);
    std::mt19937_64 random;
    digest d;

    for (unsigned i = 0; i < 50000; i++)
        (i % 3 ? a : b).push_back(key(random(), from));
    a.sort();
    b.sort();
    a.merge(b);
    a.remove_if([](const std::pmr::string &s) { return s.size() % 5 == 0; });
    for (const auto &s : a)
        d.add(s);
    return d.value;
}

std::uint64_t string_edits(resource *from)
{
    std::pmr::string text(from);
    std::mt19937_64 random;
    digest d;

    for (unsigned i = 0; i < 5000; i++) {
        std::size_t at = random() % (text.size() + 1);

        if (i % 3)
            text.insert(at, random() % 200, static_cast<char>('a' + i % 26));
        else
            text.erase(at, 100);
        if (i % 1000 == 0)
            text.shrink_to_fit();
    }
    d.add(text);
    return d.value;
}

using workload = std::uint64_t(resource *);

const std::array<workload *, 7> workloads = {
    push_and_sort,
    free_in_random_order<30000, 64>,
    free_in_random_order<7500, 520>,
    map_with_string_keys<std::pmr::map<std::pmr::string, unsigned>>,
    map_with_string_keys<std::pmr::unordered_map<std::pmr::string, unsigned>>,
    list_of_strings,
    string_edits,
};

/* A heap over one algorithm. */
struct local {
    allot_local heap;
    allot::local_resource from{&heap};

    explicit local(const allot_byte_ops *ops, allot_grower *grower = &allot_grower_raw)
    {
        assert_int_equal(allot_local_init(&heap, ops, grower), 0);
    }
    local(const local &) = delete;

    ~local()
    {
        allot_local_deinit(&heap);
    }
};

void assert_sound(const allot_local *heap, std::uint64_t used)
{
    const allot_byte_ops *ops = heap->bytes->ops;

    assert_int_equal(ops->check(heap->bytes), 0);
    assert_int_equal(ops->used_bytes(heap->bytes), used);
}

void test_memory_resource__containers_are_as_over_new(void **)
{
    for (workload *run : workloads) {
        std::uint64_t expected = run(std::pmr::new_delete_resource());

        for (const allot_byte_ops *ops : algorithms) {
            local l(ops);

            assert_int_equal(run(&l.from), expected);
            assert_true(ops->total_bytes(l.heap.bytes) > 0); /* it was this heap that served */
            assert_sound(&l.heap, 0);
        }
    }
}

void test_memory_resource__gives_unique_blocks_for_nothing(void **)
{
    for (const allot_byte_ops *ops : algorithms) {
        local l(ops);
        void *a = l.from.allocate(0), *b = l.from.allocate(0, 1);

        assert_non_null(a);
        assert_ptr_not_equal(a, b);
        l.from.deallocate(a, 0);
        l.from.deallocate(b, 0, 1);
        assert_sound(&l.heap, 0);
    }
}

struct alignas(4096) page {
    std::uint64_t word;
};

void test_memory_resource__aligns(void **)
{
    for (const allot_byte_ops *ops : algorithms) {
        local l(ops);

        for (std::size_t align = 1; align <= std::size_t{1} << 26; align *= 2) {
            void *block = l.from.allocate(100, align);

            assert_int_equal(reinterpret_cast<std::uintptr_t>(block) % align, 0);
            std::memset(block, 1, 100);
            l.from.deallocate(block, 100, align);
        }
        {
            std::pmr::vector<page> pages(&l.from);

            for (std::uint64_t i = 0; i < 100; i++) {
                pages.push_back({i});
                assert_int_equal(reinterpret_cast<std::uintptr_t>(pages.data()) % 4096, 0);
            }
        }
        assert_sound(&l.heap, 0);
    }
}

bool is_refused(resource &from, std::size_t size, std::size_t align)
{
    try {
        from.deallocate(from.allocate(size, align), size, align);
    } catch (const std::bad_alloc &) {
        return true;
    }
    return false;
}

void test_memory_resource__throws_what_a_container_survives(void **)
{
    static std::array<unsigned char, 1 << 20> buffer;

    for (const allot_byte_ops *ops : algorithms) {
        allot_grower_fixed fixed;

        buffer.fill(0);
        allot_grower_fixed_init(&fixed, buffer.data(), buffer.size());
        local l(ops, &fixed.base);

        assert_true(is_refused(l.from, SIZE_MAX, 1));
        assert_true(is_refused(l.from, PTRDIFF_MAX, 16));
        assert_true(is_refused(l.from, buffer.size(), 16));
        assert_true(is_refused(l.from, 1, 3));
        assert_false(is_refused(l.from, 1000, 16));
        {
            std::pmr::list<unsigned> numbers(&l.from);
            unsigned n = 0;

            try {
                for (;; n++)
                    numbers.push_back(n);
            } catch (const std::bad_alloc &) {
            }
            assert_true(n > 1000);
            assert_int_equal(numbers.size(), n);
            for (unsigned i = 0; i < n; i++) {
                assert_int_equal(numbers.front(), i);
                numbers.pop_front();
            }
        }
        assert_sound(&l.heap, 0);
    }
}

/* Misuse: each does what ends the program. The last block of 100 bytes at a multiple of 16 is given
 * and is not the only one. */

void free_foreign(resource &from, unsigned char *)
{
    alignas(16) static unsigned char outside[100];

    from.deallocate(outside, 100);
}

void free_inside(resource &from, unsigned char *block)
{
    from.deallocate(block + 16, 84);
}

void free_twice(resource &from, unsigned char *)
{
    void *block = from.allocate(100);

    from.deallocate(block, 100);
    from.deallocate(block, 100);
}

void free_longer(resource &from, unsigned char *block)
{
    from.deallocate(block, 300);
}

void free_shorter(resource &from, unsigned char *block)
{
    from.deallocate(block, 10);
}

void free_misaligned(resource &from, unsigned char *block)
{
    from.deallocate(block, 100, std::size_t{1} << 40);
}

using misuse = void(resource &, unsigned char *);

local *misused;
std::uint64_t used_before;

extern "C" void aborted(int)
{
    const allot_byte_ops *ops = misused->heap.bytes->ops;

    _exit(ops->check(misused->heap.bytes) || ops->used_bytes(misused->heap.bytes) != used_before);
}

/* The status and the words of a child that misuses `l`. */
int status_of(misuse *act, local &l, unsigned char *block, std::string &said)
{
    std::array<char, 1000> text;
    std::array<int, 2> pipe_ends;
    ssize_t length;
    int status;

    assert_int_equal(pipe(pipe_ends.data()), 0);
    pid_t pid = fork();
    if (!pid) {
        dup2(pipe_ends[1], STDERR_FILENO);
        std::signal(SIGABRT, aborted);
        act(l.from, block);
        _exit(2);
    }
    close(pipe_ends[1]);
    said.clear();
    while ((length = read(pipe_ends[0], text.data(), text.size())) > 0)
        said.append(text.data(), static_cast<std::size_t>(length));
    close(pipe_ends[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

void test_memory_resource__misuse_aborts_before_any_damage(void **)
{
    const std::array<misuse *, 6> acts = {free_foreign, free_inside,  free_twice,
                                          free_longer,  free_shorter, free_misaligned};
    std::string said;

    for (const allot_byte_ops *ops : algorithms) {
        local l(ops);
        void *first = l.from.allocate(100), *block = l.from.allocate(100);

        misused = &l;
        used_before = ops->used_bytes(l.heap.bytes);
        for (misuse *act : acts) {
            assert_int_equal(status_of(act, l, static_cast<unsigned char *>(block), said), 0);
            assert_int_equal(said.find("allot: deallocate(): not allocated: 0x"), 0);
        }
        l.from.deallocate(block, 100);
        l.from.deallocate(first, 100);
    }
}

/* A grower that counts what is out. */
struct counting : allot_grower {
    std::uint64_t out = 0;

    counting();
};

int counting_grow(allot_grower *g, std::uint64_t size, std::uint64_t align, std::uint64_t *ret)
{
    int err = allot_grower_raw.ops->grow(&allot_grower_raw, size, align, ret);

    static_cast<counting *>(g)->out += err ? 0 : size;
    return err;
}

int counting_shrink(allot_grower *g, std::uint64_t start, std::uint64_t size)
{
    int err = allot_grower_raw.ops->shrink(&allot_grower_raw, start, size);

    static_cast<counting *>(g)->out -= err ? 0 : size;
    return err;
}

const allot_grower_ops counting_ops = {
    "counting", ALLOT_GROWER_GRANULE, counting_grow, counting_shrink, nullptr, nullptr};

counting::counting() : allot_grower{&counting_ops}
{
}

void test_memory_resource__is_equal_by_heap(void **)
{
    local a(algorithms[0]), b(algorithms[0]);
    allot::local_resource again(&a.heap);
    allot::handle_resource handle(*algorithms[0]), copy(handle), other(*algorithms[0]);
    allot::locked_resource same(handle.heap());

    assert_true(a.from == again);
    assert_true(a.from != b.from);
    assert_true(a.from != handle && handle != a.from);
    assert_true(a.from != *std::pmr::new_delete_resource());
    assert_true(handle == copy && handle == same && same == handle);
    assert_true(handle != other);

    std::pmr::string long_text(1000, 'x', &handle), taken(std::move(long_text), &copy);
    assert_int_equal(taken.size(), 1000);
    assert_true(long_text.empty()); /* moved, not copied: so they are equal */
}

void test_memory_resource__heap_ends_with_its_last_handle(void **)
{
    for (const allot_byte_ops *ops : algorithms) {
        counting grower;
        {
            allot::handle_resource kept(*ops);
            {
                allot::handle_resource first(*ops, grower);

                kept = first;
                kept = *&kept;
            }
            assert_true(grower.out > 0);
            std::pmr::vector<unsigned> v(100000, 7, &kept);
            assert_int_equal(std::count(v.begin(), v.end(), 7), 100000);
            assert_true(grower.out > 100000 * sizeof(unsigned));

            allot_local_handle *handle;
            assert_int_equal(allot_local_handle_new(ops, &grower, &handle), 0);
            allot::handle_resource taken_over(handle);
            assert_ptr_equal(taken_over.heap(), allot_local_handle_heap(handle));
            assert_non_null(taken_over.allocate(100)); /* ends with its heap */
        }
        assert_int_equal(grower.out, 0);
    }
}

void test_memory_resource__serves_threads(void **)
{
    constexpr std::size_t n_threads = 4;
    using strings = std::pmr::vector<std::pmr::string>;
    workload *run = map_with_string_keys<std::pmr::map<std::pmr::string, unsigned>>;
    std::uint64_t expected = run(std::pmr::new_delete_resource());

    for (const allot_byte_ops *ops : algorithms) {
        allot::handle_resource shared(*ops);
        std::array<std::uint64_t, n_threads> seen{};
        std::vector<strings> made(n_threads, strings(&shared));
        std::vector<std::thread> threads;

        for (std::size_t i = 0; i < n_threads; i++) {
            threads.emplace_back([&, i, own = shared]() mutable {
                seen[i] = run(&own);
                for (unsigned n = 0; n < 5000; n++)
                    made[i].push_back(key(n, &shared));
            });
        }
        for (std::thread &thread : threads)
            thread.join();
        for (std::size_t i = 0; i < n_threads; i++) {
            assert_int_equal(seen[i], expected);
            assert_true(made[i] == made[0]);
        }
        made.clear(); /* what others allocated is freed here */
        assert_sound(&shared.heap()->heap, 0);
    }
}

} // namespace

int main(int argc, char **argv)
{
    const CMUnitTest tests[] = {
        cmocka_unit_test(test_memory_resource__containers_are_as_over_new),
        cmocka_unit_test(test_memory_resource__gives_unique_blocks_for_nothing),
        cmocka_unit_test(test_memory_resource__aligns),
        cmocka_unit_test(test_memory_resource__throws_what_a_container_survives),
        cmocka_unit_test(test_memory_resource__misuse_aborts_before_any_damage),
        cmocka_unit_test(test_memory_resource__is_equal_by_heap),
        cmocka_unit_test(test_memory_resource__heap_ends_with_its_last_handle),
        cmocka_unit_test(test_memory_resource__serves_threads),
    };

    cmocka_set_test_filter(argc > 1 ? argv[1] : nullptr); /* a pattern of names */
    return cmocka_run_group_tests(tests, nullptr, nullptr);
}
