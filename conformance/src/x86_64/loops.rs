//! Loops without an end whose speed and code are measured: what those for riscv64 do, and repeated string instructions.

/// Loops without an end, by what they are made of: machine code, an instruction a line.
pub const LOOPS: [(&str, &[&[u8]]); 6] = [
    (
        "integer",
        &[
            &[0xb8, 0x00, 0x50, 0x34, 0x12], // 0: mov eax,0x12345000
            &[0x48, 0x89, 0xc2],             // 5: mov rdx,rax
            &[0x48, 0xc1, 0xe2, 0x0d],       // 8: shl rdx,0xd
            &[0x48, 0x31, 0xd0],             // c: xor rax,rdx
            &[0x48, 0x89, 0xc2],             // f: mov rdx,rax
            &[0x48, 0xc1, 0xea, 0x07],       // 12: shr rdx,0x7
            &[0x48, 0x31, 0xd0],             // 16: xor rax,rdx
            &[0x48, 0x89, 0xc2],             // 19: mov rdx,rax
            &[0x48, 0xc1, 0xe2, 0x11],       // 1c: shl rdx,0x11
            &[0x48, 0x31, 0xd0],             // 20: xor rax,rdx
            &[0x48, 0x01, 0xc3],             // 23: add rbx,rax
            &[0x48, 0x83, 0xc1, 0x01],       // 26: add rcx,0x1
            &[0x75, 0xd9],                   // 2a: jne 0x5
        ],
    ),
    (
        // Bytes of a table are counted by value.
        "memory",
        &[
            &[0x48, 0x8d, 0x35, 0x00, 0x00, 0x10, 0x00], // 0: lea rsi,[rip+0x100000]
            &[0x48, 0x81, 0xe6, 0x00, 0xf0, 0xff, 0xff], // 7: and rsi,0xfffffffffffff000
            &[0xb9, 0x00, 0x04, 0x00, 0x00],             // e: mov ecx,0x400
            &[0x48, 0x89, 0xf7],                         // 13: mov rdi,rsi
            &[0x0f, 0xb6, 0x07],                         // 16: movzx eax,BYTE PTR [rdi]
            &[0x48, 0x8b, 0x94, 0xc6, 0x00, 0x04, 0x00, 0x00], // 19: mov rdx,QWORD PTR [rsi+rax*8+0x400]
            &[0x48, 0x83, 0xc2, 0x01],                   // 21: add rdx,0x1
            &[0x48, 0x89, 0x94, 0xc6, 0x00, 0x04, 0x00, 0x00], // 25: mov QWORD PTR [rsi+rax*8+0x400],rdx
            &[0x88, 0x17],                               // 2d: mov BYTE PTR [rdi],dl
            &[0xf6, 0xc2, 0x04],                         // 2f: test dl,0x4
            &[0x74, 0x04],                               // 32: je 0x38
            &[0x49, 0x83, 0xc0, 0x01],                   // 34: add r8,0x1
            &[0x48, 0x83, 0xc7, 0x01],                   // 38: add rdi,0x1
            &[0x83, 0xe9, 0x01],                         // 3c: sub ecx,0x1
            &[0x75, 0xd5],                               // 3f: jne 0x16
            &[0xeb, 0xcb],                               // 41: jmp 0xe
        ],
    ),
    (
        "calls",
        &[
            &[0x48, 0x8d, 0x25, 0x00, 0x00, 0x10, 0x00], // 0: lea rsp,[rip+0x100000]
            &[0x48, 0x81, 0xe4, 0x00, 0xf0, 0xff, 0xff], // 7: and rsp,0xfffffffffffff000
            &[0xe8, 0x0b, 0x00, 0x00, 0x00],             // e: call 0x1e
            &[0x48, 0x83, 0xc0, 0x01],                   // 13: add rax,0x1
            &[0xe8, 0x02, 0x00, 0x00, 0x00],             // 17: call 0x1e
            &[0xeb, 0xf0],                               // 1c: jmp 0xe
            &[0x53],                                     // 1e: push rbx
            &[0x55],                                     // 1f: push rbp
            &[0x48, 0x8d, 0x68, 0x03],                   // 20: lea rbp,[rax+0x3]
            &[0x48, 0x01, 0xe9],                         // 24: add rcx,rbp
            &[0x5d],                                     // 27: pop rbp
            &[0x5b],                                     // 28: pop rbx
            &[0xc3],                                     // 29: ret
        ],
    ),
    (
        "multiply_divide",
        &[
            &[0xbe, 0xe8, 0x03, 0x00, 0x00], // 0: mov esi,0x3e8
            &[0xbf, 0x07, 0x00, 0x00, 0x00], // 5: mov edi,0x7
            &[0x48, 0x89, 0xf0],             // a: mov rax,rsi
            &[0x48, 0x0f, 0xaf, 0xc7],       // d: imul rax,rdi
            &[0x48, 0x89, 0xc3],             // 11: mov rbx,rax
            &[0x48, 0xf7, 0xe0],             // 14: mul rax
            &[0x48, 0x89, 0xd8],             // 17: mov rax,rbx
            &[0x48, 0x83, 0xc0, 0x0d],       // 1a: add rax,0xd
            &[0x31, 0xd2],                   // 1e: xor edx,edx
            &[0x48, 0xf7, 0xf7],             // 20: div rdi
            &[0x31, 0xd2],                   // 23: xor edx,edx
            &[0x48, 0x89, 0xd8],             // 25: mov rax,rbx
            &[0x48, 0xf7, 0xf6],             // 28: div rsi
            &[0x83, 0xc6, 0x01],             // 2b: add esi,0x1
            &[0x75, 0xda],                   // 2e: jne 0xa
        ],
    ),
    (
        "double",
        &[
            &[0x48, 0xb8, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0xf8, 0x3f], // 0: movabs rax,0x3ff8000000000000
            &[0x66, 0x48, 0x0f, 0x6e, 0xc8],                               // a: movq xmm1,rax
            &[0x48, 0xb8, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0xe8, 0x3f], // f: movabs rax,0x3fe8000000000000
            &[0x66, 0x48, 0x0f, 0x6e, 0xd0],                               // 19: movq xmm2,rax
            &[0x66, 0x0f, 0x28, 0xd9],                                     // 1e: movapd xmm3,xmm1
            &[0xf2, 0x0f, 0x59, 0xda],                                     // 22: mulsd xmm3,xmm2
            &[0xf2, 0x0f, 0x58, 0xc3],                                     // 26: addsd xmm0,xmm3
            &[0x66, 0x0f, 0x28, 0xe3],                                     // 2a: movapd xmm4,xmm3
            &[0xf2, 0x0f, 0x58, 0xe2],                                     // 2e: addsd xmm4,xmm2
            &[0xf2, 0x0f, 0x5c, 0xe1],                                     // 32: subsd xmm4,xmm1
            &[0x66, 0x0f, 0x2e, 0xcc],                                     // 36: ucomisd xmm1,xmm4
            &[0x0f, 0x97, 0xc0],                                           // 3a: seta al
            &[0x48, 0x83, 0xc1, 0x01],                                     // 3d: add rcx,0x1
            &[0x75, 0xdb],                                                 // 41: jne 0x1e
        ],
    ),
    (
        // A page is cleared and a few bytes are copied; each repeated instruction is one.
        "strings",
        &[
            &[0x4c, 0x8d, 0x05, 0x00, 0x00, 0x10, 0x00], // 0: lea r8,[rip+0x100000]
            &[0x49, 0x81, 0xe0, 0x00, 0xf0, 0xff, 0xff], // 7: and r8,0xfffffffffffff000
            &[0x4d, 0x8d, 0x88, 0x00, 0x80, 0x00, 0x00], // e: lea r9,[r8+0x8000]
            &[0x4c, 0x89, 0xc7],                         // 15: mov rdi,r8
            &[0xb9, 0x00, 0x10, 0x00, 0x00],             // 18: mov ecx,0x1000
            &[0x31, 0xc0],                               // 1d: xor eax,eax
            &[0xf3, 0xaa],                               // 1f: rep stos BYTE PTR es:[rdi],al
            &[0x4c, 0x89, 0xc6],                         // 21: mov rsi,r8
            &[0x4c, 0x89, 0xcf],                         // 24: mov rdi,r9
            &[0xb9, 0x40, 0x00, 0x00, 0x00],             // 27: mov ecx,0x40
            &[0xf3, 0xa4],                               // 2c: rep movs BYTE PTR es:[rdi],BYTE PTR ds:[rsi]
            &[0xeb, 0xe5],                               // 2e: jmp 0x15
        ],
    ),
];
