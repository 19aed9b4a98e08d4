/* What the programs about page tables share. */
#include "suite.h"

/* Bits of a page table entry. */
#define V 1
#define R 2
#define W 4
#define X 8
#define U 16
#define A 64
#define D 128

/* Makes `root` the page table with an address space identifier; MODE is 8 for Sv39 and 9 for Sv48. */
.macro SPACE root, asid
        la      t5, \root
        srli    t5, t5, 12
        li      t6, MODE << 60 | (\asid) << 44
        or      t5, t5, t6
        csrw    satp, t5
.endm
