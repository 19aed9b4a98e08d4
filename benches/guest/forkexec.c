// Starts itself and waits for the end: fork, execve, a process's start and end.
#include "bench.h"
#include <sys/wait.h>
#include <unistd.h>

static uint64_t work(uint64_t repeats) {
    char *arguments[] = {"forkexec", "0", 0}, *environment[] = {0};
    uint64_t sum = 0;
    for (uint64_t r = 0; r < repeats; r++) {
        pid_t child = fork();
        check(child >= 0, "fork");
        if (child == 0) {
            execve("/proc/self/exe", arguments, environment);
            _exit(1);
        }
        int status;
        check(waitpid(child, &status, 0) == child, "waitpid");
        check(WIFEXITED(status) && WEXITSTATUS(status) == 7, "the child's status");
        sum = mix(sum, WEXITSTATUS(status));
    }
    return sum;
}
