/* A plugin of QEMU: counts the instructions that the emulated program executes, and models the caches of a core.
 *
 * Arguments: `output=FILE`, and `caches=BYTES:WAYS+BYTES:WAYS...` for a model of data caches from the first level to the
 * last. Each system call whose first argument is MARK writes a line with the counts so far, in this order: instructions,
 * vector arithmetic, multiply-adds among it, vector loads and stores, other loads and stores; with caches also bytes
 * loaded, bytes stored, lines written back to memory, and the misses of each level.
 *
 * The caches are those of one core: set-associative, least recently used out first, written back, allocated on stores,
 * without prefetching, and empty at the first mark. Declarations are those of QEMU's plugin interface
 * (docs/devel/tcg-plugins), whose header Debian 12 does not ship.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORTED __attribute__((visibility("default")))
#define MARK 0x5EEDC0Du
#define MOST_PROCESSORS 4096
#define MOST_LEVELS 4
#define LINE_BITS 6 /* 64 bytes, as in all cores of the measurements */
#define DIRTY 1u
#define VALID 2u

typedef uint64_t plugin_id;
struct info;
struct block;
struct instruction;
enum register_access { NO_REGISTERS };
enum memory_access { LOADS = 1, STORES, LOADS_AND_STORES };

size_t qemu_plugin_tb_n_insns(const struct block *);
struct instruction *qemu_plugin_tb_get_insn(const struct block *, size_t);
/* Until interface 2 this takes the first argument alone and returns the address of the code; since interface 3 it copies
 * the code and returns its length. With all arguments both work. */
uintptr_t qemu_plugin_insn_data(const struct instruction *, void *, size_t);
void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id, void (*)(plugin_id, struct block *));
void qemu_plugin_register_vcpu_tb_exec_cb(struct block *, void (*)(unsigned, void *), enum register_access, void *);
void qemu_plugin_register_vcpu_mem_cb(struct instruction *, void (*)(unsigned, uint32_t, uint64_t, void *),
                                      enum register_access, enum memory_access, void *);
unsigned qemu_plugin_mem_size_shift(uint32_t);
bool qemu_plugin_mem_is_store(uint32_t);
void qemu_plugin_register_vcpu_syscall_cb(plugin_id, void (*)(plugin_id, unsigned, int64_t, uint64_t, uint64_t, uint64_t,
                                                              uint64_t, uint64_t, uint64_t, uint64_t, uint64_t));

EXPORTED int qemu_plugin_version = PLUGIN_VERSION;

enum kind { INSTRUCTIONS, VECTOR, MULTIPLY_ADDS, VECTOR_MEMORY, OTHER_MEMORY, KINDS };

struct counts {
    uint64_t of[KINDS];
};

struct cache {
    uint64_t *lines; /* for each set its ways, most recently used first: the line's number, then VALID and DIRTY */
    uint64_t sets, ways, misses;
};

static struct counts counts[MOST_PROCESSORS]; /* one for each thread, so that none waits for another */
static struct cache caches[MOST_LEVELS];
static unsigned levels;
static uint64_t loaded, stored, written_back;
static bool running;             /* the caches begin with the first mark */
static volatile char cache_lock; /* one model for all threads */
static FILE *output;

/* Field of an A64 instruction, bits `high` to `low`. */
static unsigned field(uint32_t code, unsigned high, unsigned low)
{
    return code >> low & ((1u << (high - low + 1)) - 1);
}

/* Whether a vector instruction multiplies and adds: FMLA, FMLS, FMLAL, MLA, MLS, SMLAL, SDOT, SMMLA and the like.
 * Source: Arm Architecture Reference Manual, "Data Processing -- Scalar Floating-Point and Advanced SIMD". */
static bool multiplies_and_adds(uint32_t code)
{
    unsigned operation = field(code, 15, 11);
    if (field(code, 31, 31))
        return false;
    if (field(code, 28, 24) == 0x0F && !field(code, 10, 10)) { /* by element */
        unsigned by_element = field(code, 15, 12);
        return by_element <= 2 || (by_element >= 4 && by_element <= 6) || by_element >= 14 ||
               (by_element == 8 && field(code, 29, 29));
    }
    if (field(code, 28, 24) != 0x0E)
        return false;
    if (field(code, 21, 21) && field(code, 10, 10)) /* three of the same type */
        return operation == 0x19 || operation == 0x12 || (operation == 0x1D && !field(code, 29, 29));
    if (field(code, 22, 21) == 2 && field(code, 15, 14) == 0 && field(code, 10, 10)) /* the same in half precision */
        return field(code, 13, 11) == 1;
    if (field(code, 21, 21) && field(code, 11, 10) == 0) /* three of different types */
        return field(code, 15, 12) == 8 || field(code, 15, 12) == 10;
    if (!field(code, 21, 21) && field(code, 15, 15) && field(code, 10, 10)) /* dot products and matrices */
        return (field(code, 14, 11) >= 2 && field(code, 14, 11) <= 5) || field(code, 14, 11) == 13 ||
               field(code, 14, 11) == 15;
    return false;
}

static void add_kind(struct counts *sum, uint32_t code)
{
    unsigned group = field(code, 28, 25);
    sum->of[INSTRUCTIONS]++;
    if ((group & 5) == 4)
        sum->of[field(code, 26, 26) ? VECTOR_MEMORY : OTHER_MEMORY]++;
    else if ((group & 7) == 7) {
        sum->of[VECTOR]++;
        sum->of[MULTIPLY_ADDS] += multiplies_and_adds(code);
    }
}

static uint32_t code_of(const struct instruction *instruction)
{
    uint32_t code = 0;
    uintptr_t found = qemu_plugin_insn_data(instruction, &code, sizeof code);
    if (found != sizeof code)
        memcpy(&code, (const void *)found, sizeof code);
    return code;
}

static void access_line(unsigned level, uint64_t line, bool is_store, bool is_demand)
{
    struct cache *cache = &caches[level];
    uint64_t *ways, wanted = line << 2 | VALID, first, way;
    if (level == levels) {
        written_back += is_store;
        return;
    }
    ways = cache->lines + (line & (cache->sets - 1)) * cache->ways;
    for (way = 0; way < cache->ways && (ways[way] & ~(uint64_t)DIRTY) != wanted; way++)
        ;
    if (way < cache->ways)
        first = ways[way];
    else {
        uint64_t victim = ways[--way];
        first = wanted;
        cache->misses += is_demand;
        if (is_demand)
            access_line(level + 1, line, false, true);
        if (victim & DIRTY)
            access_line(level + 1, victim >> 2, true, false);
    }
    memmove(ways + 1, ways, way * sizeof *ways);
    ways[0] = first | (is_store ? DIRTY : 0);
}

static void on_access(unsigned processor, uint32_t access, uint64_t address, void *unused)
{
    uint64_t size = 1u << qemu_plugin_mem_size_shift(access), line;
    bool is_store = qemu_plugin_mem_is_store(access);
    (void)processor, (void)unused;
    if (!running)
        return;
    while (__atomic_test_and_set(&cache_lock, __ATOMIC_ACQUIRE))
        ;
    *(is_store ? &stored : &loaded) += size;
    for (line = address >> LINE_BITS; line <= (address + size - 1) >> LINE_BITS; line++)
        access_line(0, line, is_store, true);
    __atomic_clear(&cache_lock, __ATOMIC_RELEASE);
}

static void on_block(unsigned processor, void *of_block)
{
    const struct counts *added = of_block;
    for (int kind = 0; kind < KINDS; kind++)
        counts[processor % MOST_PROCESSORS].of[kind] += added->of[kind];
}

static void on_translation(plugin_id id, struct block *block)
{
    struct counts *of_block = calloc(1, sizeof *of_block); /* QEMU keeps no record of when it drops a block */
    size_t number = qemu_plugin_tb_n_insns(block);
    (void)id;
    if (!of_block)
        abort();
    for (size_t i = 0; i < number; i++) {
        struct instruction *instruction = qemu_plugin_tb_get_insn(block, i);
        add_kind(of_block, code_of(instruction));
        if (levels)
            qemu_plugin_register_vcpu_mem_cb(instruction, on_access, NO_REGISTERS, LOADS_AND_STORES, NULL);
    }
    qemu_plugin_register_vcpu_tb_exec_cb(block, on_block, NO_REGISTERS, of_block);
}

static void on_system_call(plugin_id id, unsigned processor, int64_t number, uint64_t first, uint64_t a2, uint64_t a3,
                           uint64_t a4, uint64_t a5, uint64_t a6, uint64_t a7, uint64_t a8)
{
    (void)id, (void)processor, (void)number, (void)a2, (void)a3, (void)a4, (void)a5, (void)a6, (void)a7, (void)a8;
    if ((uint32_t)first != MARK)
        return;
    for (int kind = 0; kind < KINDS; kind++) {
        uint64_t sum = 0;
        for (int i = 0; i < MOST_PROCESSORS; i++)
            sum += counts[i].of[kind];
        fprintf(output, "%s%llu", kind ? " " : "", (unsigned long long)sum);
    }
    if (levels) {
        fprintf(output, " %llu %llu %llu", (unsigned long long)loaded, (unsigned long long)stored,
                (unsigned long long)written_back);
        for (unsigned level = 0; level < levels; level++)
            fprintf(output, " %llu", (unsigned long long)caches[level].misses);
    }
    fprintf(output, "\n");
    fflush(output);
    running = true;
}

static bool add_caches(const char *text)
{
    unsigned long long bytes, ways;
    int length;
    while (levels < MOST_LEVELS && sscanf(text, "%llu:%llu%n", &bytes, &ways, &length) == 2) {
        struct cache *cache = &caches[levels++];
        uint64_t sets = ways ? (bytes >> LINE_BITS) / ways : 0;
        if (!sets || (sets & (sets - 1)) || sets * ways << LINE_BITS != bytes)
            return false;
        *cache = (struct cache){calloc(sets * ways, sizeof(uint64_t)), sets, ways, 0};
        if (!cache->lines)
            return false;
        text += length;
        if (*text == '+')
            text++;
    }
    return levels && !*text;
}

EXPORTED int qemu_plugin_install(plugin_id id, const struct info *info, int argc, char **argv)
{
    (void)info;
    for (int i = 0; i < argc; i++) {
        if (strncmp(argv[i], "output=", 7) == 0)
            output = fopen(argv[i] + 7, "w");
        if (strncmp(argv[i], "caches=", 7) == 0 && !add_caches(argv[i] + 7)) {
            fprintf(stderr, "instructions: expected caches=BYTES:WAYS+BYTES:WAYS..., got %s\n", argv[i]);
            return 1;
        }
    }
    if (!output) {
        fprintf(stderr, "instructions: output=FILE is missing or cannot be written\n");
        return 1;
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
    qemu_plugin_register_vcpu_syscall_cb(id, on_system_call);
    return 0;
}
