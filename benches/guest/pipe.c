// A word goes to another process and comes back: two pipes, two switches a time.
#include "bench.h"
#include <sys/wait.h>
#include <unistd.h>

static uint64_t work(uint64_t repeats) {
    int there[2], back[2];
    check(pipe(there) == 0 && pipe(back) == 0, "pipe");
    pid_t child = fork();
    check(child >= 0, "fork");
    uint64_t word = 1;
    if (child == 0) {
        close(there[1]);
        while (read(there[0], &word, sizeof word) == sizeof word) {
            word = mix(word, 41);
            if (write(back[1], &word, sizeof word) != sizeof word)
                break;
        }
        _exit(0);
    }
    for (uint64_t r = 0; r < repeats * 100; r++) {
        check(write(there[1], &word, sizeof word) == sizeof word, "write");
        check(read(back[0], &word, sizeof word) == sizeof word, "read");
    }
    close(there[1]);
    check(waitpid(child, 0, 0) == child, "waitpid");
    return word;
}
