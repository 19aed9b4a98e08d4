//! What decoding resolves for helpers of instructions on the x87 stack, packed into one word.

/// Where the value that comes from outside of ST(0) is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Source {
    /// In ST(index).
    Stack = 0,
    /// In memory, a 32-bit number.
    Single,
    /// In memory, a 64-bit number.
    Double,
    /// In memory, an 80-bit number.
    Extended,
    /// In memory, a 16-bit integer.
    Int16,
    /// In memory, a 32-bit integer.
    Int32,
    /// In memory, a 64-bit integer.
    Int64,
    /// In memory, 18 decimal digits and a sign.
    Decimal,
}

impl Source {
    const ALL: [Self; 8] = [
        Self::Stack,
        Self::Single,
        Self::Double,
        Self::Extended,
        Self::Int16,
        Self::Int32,
        Self::Int64,
        Self::Decimal,
    ];

    /// Bytes in memory.
    pub const fn len_bytes(self) -> u64 {
        match self {
            Self::Stack => 0,
            Self::Int16 => 2,
            Self::Single | Self::Int32 => 4,
            Self::Double | Self::Int64 => 8,
            Self::Extended | Self::Decimal => 10,
        }
    }
}

/// Operands of an instruction on the stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operands {
    /// Number of the operation in its class.
    pub operation: u8,
    /// What the other operand is; for stores, what memory gets.
    pub source: Source,
    /// Which stack register, if the other operand is one.
    pub index: u8,
    /// The result goes to ST(index) rather than ST(0).
    pub into_index: bool,
    /// How many registers are popped in the end.
    pub pops: u8,
}

impl Operands {
    /// The word.
    pub const fn bits(self) -> u64 {
        self.operation as u64
            | (self.source as u64) << 8
            | (self.index as u64 & 7) << 12
            | (self.into_index as u64) << 15
            | (self.pops as u64) << 16
    }

    /// The operands in a word.
    pub const fn of(bits: u64) -> Self {
        Self {
            operation: bits as u8,
            source: Source::ALL[(bits >> 8 & 7) as usize],
            index: (bits >> 12 & 7) as u8,
            into_index: bits >> 15 & 1 != 0,
            pops: (bits >> 16 & 3) as u8,
        }
    }
}
