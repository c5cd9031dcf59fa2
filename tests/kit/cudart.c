/* The calls of CUDA's runtime that the kit's program makes, on memory of this process; it counts what is not freed. */
#include <stdlib.h>
#include <string.h>

static int held = 0;

int cudaSetDevice(int device) { return device == 0 ? 0 : 101; }
int cudaMalloc(void **at, size_t size) { *at = malloc(size); held++; return *at ? 0 : 2; }
int cudaFree(void *at) { free(at); held--; return 0; }
int cudaMemcpy(void *target, const void *source, size_t size, int kind) {
    if (kind != 1 && kind != 2) return 21;
    memcpy(target, source, size);
    return 0;
}
int cudaStreamCreate(void **stream) { *stream = (void *)42; held++; return 0; }
int cudaStreamSynchronize(void *stream) { return stream == (void *)42 ? 0 : 400; }
int cudaStreamDestroy(void *stream) { held--; return stream == (void *)42 ? 0 : 400; }
int cudaHeld(void) { return held; }
