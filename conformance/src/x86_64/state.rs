//! What user code sees of a processor: general registers, flags, x87 and vector registers; and how an instruction ends.

/// The x87 state. Registers are those of the register file (R0 to R7), not of the stack.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct X87 {
    /// Control word.
    pub control: u16,
    /// Status word.
    pub status: u16,
    /// Bit n: Rn is not empty.
    pub tags: u8,
    /// Opcode of the last instruction.
    pub opcode: u16,
    /// Its address.
    pub ip: u64,
    /// Address of its memory operand.
    pub dp: u64,
    /// Significand, and sign with exponent.
    pub registers: [(u64, u16); 8],
}

/// A user-mode state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// General registers, by number.
    pub gpr: [u64; 16],
    /// Instruction pointer.
    pub rip: u64,
    /// RFLAGS.
    pub rflags: u64,
    /// Base of FS.
    pub fs_base: u64,
    /// Base of GS.
    pub gs_base: u64,
    /// x87 and MMX.
    pub x87: X87,
    /// SSE control and status.
    pub mxcsr: u32,
    /// Vector registers, low half first.
    pub xmm: [[u64; 2]; 16],
}

/// Bytes of an FXSAVE image.
pub const FXSAVE_BYTES: usize = 512;

impl State {
    /// The 64-bit FXSAVE image of the x87 and vector registers (SDM 1 10.5).
    pub fn fxsave(&self) -> [u8; FXSAVE_BYTES] {
        let mut image = [0; FXSAVE_BYTES];
        let mut put = |at: usize, bytes: &[u8]| image[at..at + bytes.len()].copy_from_slice(bytes);
        let x87 = &self.x87;
        put(0, &x87.control.to_le_bytes());
        put(2, &x87.status.to_le_bytes());
        put(4, &[x87.tags]);
        put(6, &x87.opcode.to_le_bytes());
        put(8, &x87.ip.to_le_bytes());
        put(16, &x87.dp.to_le_bytes());
        put(24, &self.mxcsr.to_le_bytes());
        for i in 0..8 {
            let (significand, exponent) = x87.registers[x87.physical(i)];
            put(32 + 16 * i, &significand.to_le_bytes());
            put(40 + 16 * i, &exponent.to_le_bytes());
        }
        for (i, halves) in self.xmm.iter().enumerate() {
            put(160 + 16 * i, &halves[0].to_le_bytes());
            put(168 + 16 * i, &halves[1].to_le_bytes());
        }
        image
    }

    /// Takes the x87 and vector registers from such an image.
    pub fn set_fxsave(&mut self, image: &[u8; FXSAVE_BYTES]) {
        let number = |at: usize, bytes: usize| {
            let mut wide = [0; 8];
            wide[..bytes].copy_from_slice(&image[at..at + bytes]);
            u64::from_le_bytes(wide)
        };
        let x87 = &mut self.x87;
        x87.control = number(0, 2) as u16;
        x87.status = number(2, 2) as u16;
        x87.tags = image[4];
        x87.opcode = number(6, 2) as u16;
        x87.ip = number(8, 8);
        x87.dp = number(16, 8);
        for i in 0..8 {
            x87.registers[x87.physical(i)] = (number(32 + 16 * i, 8), number(40 + 16 * i, 2) as u16);
        }
        self.mxcsr = number(24, 4) as u32;
        for (i, halves) in self.xmm.iter_mut().enumerate() {
            *halves = [number(160 + 16 * i, 8), number(168 + 16 * i, 8)];
        }
    }
}

impl X87 {
    /// Number in the register file of ST(i).
    pub fn physical(&self, i: usize) -> usize {
        (usize::from(self.status >> 11) + i) & 7
    }
}

/// How an instruction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// It ran to its end, and code at the next instruction pointer can be fetched.
    Done,
    /// An exception; of the instruction if the state's instruction pointer is where it was, of fetching the next one if
    /// not.
    Exception {
        /// Vector.
        vector: u8,
        /// Error code, for those that have one.
        error: Option<u16>,
        /// CR2 of a page fault.
        address: Option<u64>,
    },
}

/// An end with its state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// How it ended.
    pub event: Event,
    /// In which state.
    pub state: State,
}

/// Whether an exception pushes an error code (SDM 3A 6.15).
pub fn has_error_code(vector: u8) -> bool {
    matches!(vector, 8 | 10..=14 | 17 | 21)
}
