/* A plugin of QEMU: counts the instructions that the emulated program executes.
 *
 * At each system call whose first argument is MARK the count so far is written to the file of the argument `output`.
 * Declarations are those of QEMU's plugin interface (docs/devel/tcg-plugins), whose header Debian 12 does not ship.
 */

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define EXPORTED __attribute__((visibility("default")))
#define MARK 0x5EEDC0Du
#define MOST_PROCESSORS 4096

typedef uint64_t plugin_id;
struct info;
struct block;
enum register_access { NO_REGISTERS };

size_t qemu_plugin_tb_n_insns(const struct block *);
void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id, void (*)(plugin_id, struct block *));
void qemu_plugin_register_vcpu_tb_exec_cb(struct block *, void (*)(unsigned, void *), enum register_access, void *);
void qemu_plugin_register_vcpu_syscall_cb(plugin_id, void (*)(plugin_id, unsigned, int64_t, uint64_t, uint64_t, uint64_t,
                                                              uint64_t, uint64_t, uint64_t, uint64_t, uint64_t));

EXPORTED int qemu_plugin_version = PLUGIN_VERSION;

static uint64_t counts[MOST_PROCESSORS]; /* one for each thread, so that none waits for another */
static FILE *output;

static void on_block(unsigned processor, void *instructions)
{
    counts[processor % MOST_PROCESSORS] += (uintptr_t)instructions;
}

static void on_translation(plugin_id id, struct block *block)
{
    void *instructions = (void *)(uintptr_t)qemu_plugin_tb_n_insns(block);
    (void)id;
    qemu_plugin_register_vcpu_tb_exec_cb(block, on_block, NO_REGISTERS, instructions);
}

static void on_system_call(plugin_id id, unsigned processor, int64_t number, uint64_t first, uint64_t a2, uint64_t a3,
                           uint64_t a4, uint64_t a5, uint64_t a6, uint64_t a7, uint64_t a8)
{
    uint64_t sum = 0;
    (void)id, (void)processor, (void)number, (void)a2, (void)a3, (void)a4, (void)a5, (void)a6, (void)a7, (void)a8;
    if ((uint32_t)first != MARK)
        return;
    for (int i = 0; i < MOST_PROCESSORS; i++)
        sum += counts[i];
    fprintf(output, "%llu\n", (unsigned long long)sum);
    fflush(output);
}

EXPORTED int qemu_plugin_install(plugin_id id, const struct info *info, int argc, char **argv)
{
    (void)info;
    for (int i = 0; i < argc; i++)
        if (strncmp(argv[i], "output=", 7) == 0)
            output = fopen(argv[i] + 7, "w");
    if (!output) {
        fprintf(stderr, "instructions: output=FILE is missing or cannot be written\n");
        return 1;
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
    qemu_plugin_register_vcpu_syscall_cb(id, on_system_call);
    return 0;
}
