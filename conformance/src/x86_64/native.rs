//! Runs instructions on the processor of the test machine, between loads and stores of all registers.
//!
//! Code, registers and data lie in one mapping below 2 GiB, so that the frame around the instructions reaches the
//! registers by absolute addresses. Instructions under test only access the mapping: their operands are chosen so.

use super::State;
use c2w_decoders::x86_64::flags::ARITHMETIC;
use std::io;

/// Bytes of the mapping: code, registers, then data.
pub const LEN_BYTES: usize = 16 * 4096;
/// Offset of the data that instructions may access.
pub const DATA: usize = 8 * 4096;
const REGISTERS: usize = 4096;
/// Offsets in the registers' page.
const FLAGS: usize = REGISTERS + 16 * 8;
const HOST_STACK: usize = FLAGS + 8;

/// The mapping.
pub struct Native {
    base: *mut u8,
}

impl Native {
    /// An empty mapping.
    ///
    /// # Errors
    /// The system gives no memory that is writable and executable.
    pub fn new() -> io::Result<Self> {
        let rights = libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_32BIT;
        // SAFETY: a new anonymous mapping touches no memory that exists.
        let base = unsafe { libc::mmap(std::ptr::null_mut(), LEN_BYTES, rights, flags, -1, 0) };
        if base == libc::MAP_FAILED {
            Err(io::Error::last_os_error())
        } else {
            Ok(Self { base: base.cast() })
        }
    }

    /// Address of the first byte.
    pub fn base(&self) -> u64 {
        self.base as u64
    }

    /// All bytes.
    pub fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: the mapping is that long and owned by `self`.
        unsafe { std::slice::from_raw_parts_mut(self.base, LEN_BYTES) }
    }

    /// Writes the frame with these instructions in it; the offsets of their start and end.
    pub fn install(&mut self, insns: &[u8]) -> (u64, u64) {
        let base = self.base() as u32;
        // An instruction `opcode reg, [absolute address]`.
        let absolute = |prefix: &[u8], reg: usize, offset: usize| {
            let mut code = prefix.to_vec();
            code.extend([(reg as u8 & 7) << 3 | 4, 0x25]);
            code.extend((base + offset as u32).to_le_bytes());
            code
        };
        let mov = |opcode: u8, reg: usize, offset: usize| {
            absolute(&[0x48 | (reg as u8 >> 3) << 2, opcode], reg, offset)
        };
        const LOAD: u8 = 0x8b;
        const STORE: u8 = 0x89;
        const RSP: usize = 4;
        let mut code = vec![0x53, 0x55, 0x41, 0x54, 0x41, 0x55, 0x41, 0x56, 0x41, 0x57]; // push rbx, rbp, r12..r15
        code.extend(mov(STORE, RSP, HOST_STACK));
        code.extend(absolute(&[0xff], 6, FLAGS)); // push [flags]
        code.push(0x9d); // popfq
        for reg in 0..16 {
            code.extend(mov(LOAD, reg, REGISTERS + 8 * reg));
        }
        let start = code.len();
        code.extend(insns);
        let end = code.len();
        for reg in 0..16 {
            code.extend(mov(STORE, reg, REGISTERS + 8 * reg));
        }
        code.extend(mov(LOAD, RSP, HOST_STACK));
        code.push(0x9c); // pushfq
        code.extend(absolute(&[0x8f], 0, FLAGS)); // pop [flags]
        code.extend([0x41, 0x5f, 0x41, 0x5e, 0x41, 0x5d, 0x41, 0x5c, 0x5d, 0x5b, 0xc3]); // pop ..., ret
        assert!(code.len() <= REGISTERS, "the code fits its page");
        self.bytes()[..code.len()].copy_from_slice(&code);
        (start as u64, end as u64)
    }

    /// Runs what was installed.
    ///
    /// # Safety
    /// The instructions between must run to their end from this state, access nothing but the data of this mapping, and
    /// keep the direction flag.
    pub unsafe fn run(&mut self, state: &State) -> State {
        // Bit 1 of RFLAGS is always set, and interrupts stay enabled.
        const FIXED: u64 = 0x202;
        for (index, value) in state.gpr.iter().chain([&(state.flags | FIXED)]).enumerate() {
            let at = REGISTERS + 8 * index;
            self.bytes()[at..at + 8].copy_from_slice(&value.to_le_bytes());
        }
        // SAFETY: `install` wrote a function that saves and restores what the ABI asks for; the rest is promised by
        // the caller.
        unsafe { std::mem::transmute::<*mut u8, extern "sysv64" fn()>(self.base)() };
        let mut after = State::default();
        for (index, value) in after.gpr.iter_mut().chain([&mut after.flags]).enumerate() {
            let mut word = [0; 8];
            word.copy_from_slice(&self.bytes()[REGISTERS + 8 * index..][..8]);
            *value = u64::from_le_bytes(word);
        }
        after.flags &= ARITHMETIC;
        after
    }
}

impl Drop for Native {
    fn drop(&mut self) {
        // SAFETY: mapped in `new` with this length; nothing refers to it any more.
        unsafe { libc::munmap(self.base.cast(), LEN_BYTES) };
    }
}
