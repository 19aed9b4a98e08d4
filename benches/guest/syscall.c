// The cheapest system call, again and again.
#define _GNU_SOURCE
#include "bench.h"
#include <sys/syscall.h>
#include <unistd.h>

static uint64_t work(uint64_t repeats) {
    long parent = syscall(SYS_getppid);
    uint64_t same = 0;
    for (uint64_t r = 0; r < repeats; r++)
        for (int i = 0; i < 1000; i++)
            same += syscall(SYS_getppid) == parent;
    return mix(1, same);
}
