// An interpreter of stack machine code with computed goto: an indirect jump every few instructions. Its program counts
// the steps of Collatz's sequences.
#include "bench.h"

enum op { PUSH, LOAD, STORE, ADD, MUL, SHR, AND, SUB, JZ, JMP, HALT };

static const int32_t program[] = {
    // variables: 0 = n, 1 = x, 2 = steps; n comes from outside
    PUSH, 0, STORE, 2,                                    //  0
    LOAD, 0, JZ, 47,                                      //  4
    LOAD, 0, STORE, 1,                                    //  8
    LOAD, 1, PUSH, 1, SUB, JZ, 40,                        // 12: until x = 1
    LOAD, 2, PUSH, 1, ADD, STORE, 2,                      // 19
    LOAD, 1, PUSH, 1, AND, JZ, 48,                        // 26
    LOAD, 1, PUSH, 3, MUL, JMP, 58,                       // 33: x is odd
    LOAD, 0, PUSH, 1, SUB, JMP, 66,                       // 40: the next n
    HALT,                                                 // 47
    LOAD, 1, PUSH, 1, SHR, STORE, 1, JMP, 12, HALT,       // 48: x is even
    PUSH, 1, ADD, STORE, 1, JMP, 12, HALT,                // 58
    STORE, 0, JMP, 4,                                     // 66
};

static uint64_t run(uint64_t n) {
    static const void *const label[] = {&&push, &&load, &&store, &&add, &&mul, &&shr, &&and, &&sub, &&jz, &&jmp, &&halt};
    uint64_t stack[16], *top = stack, variable[3] = {n};
    const int32_t *pc = program;
#define NEXT goto *label[*pc++]
    NEXT;
push:
    *top++ = *pc++;
    NEXT;
load:
    *top++ = variable[*pc++];
    NEXT;
store:
    variable[*pc++] = *--top;
    NEXT;
add:
    top--, top[-1] += top[0];
    NEXT;
mul:
    top--, top[-1] *= top[0];
    NEXT;
shr:
    top--, top[-1] >>= top[0];
    NEXT;
and:
    top--, top[-1] &= top[0];
    NEXT;
sub:
    top--, top[-1] -= top[0];
    NEXT;
jz:
    pc = *--top == 0 ? program + *pc : pc + 1;
    NEXT;
jmp:
    pc = program + *pc;
    NEXT;
halt:
    return variable[2];
}

static uint64_t work(uint64_t repeats) {
    uint64_t sum = 0;
    for (uint64_t r = 0; r < repeats; r++)
        sum = mix(sum, run(300 + r % 64));
    return sum;
}
